"""The golden vectors: what the published implementation computed for fixed inputs.

`STARS_VECTORS` names another folder of the same files, made with other sizes and seeds; the tests take every size,
file list and hyperparameter from the files themselves.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

DIRECTORY = Path(os.environ.get("STARS_VECTORS", Path(__file__).parents[1] / "vectors"))


def load(name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of `name` (without `.npz`) and its description: what, hyperparameters, tolerance."""
    with np.load(DIRECTORY / f"{name}.npz") as stored:
        arrays = {key: stored[key] for key in stored.files}
    return arrays, json.loads(str(arrays.pop("meta")))
