"""What finished steps left in the store: single files of their outputs, checked against their record."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float, Int
from safetensors.numpy import load_file

from stars.outcome import Outcome, StoreError, verify
from stars.store import Store

CURVE = "curve.parquet"
FEATURES = "features.safetensors"


def output_file(store: Store, step: str, outcome: Outcome, name: str) -> Path:
    """One file of a finished step, checked against size and hash.

    Args:
        store: where.
        step: `kind/fingerprint`.
        outcome: of the step.
        name: of the file, below the output folder.

    Raises:
        StoreError: the step has no such file, or the file is damaged.
    """
    folder = store.location / step / "attempts" / outcome.attempt / "output"
    for file in outcome.files:
        if file.path == name:
            verify(folder, file)
            return folder / name
    held = ", ".join(file.path for file in outcome.files) or "none"
    raise StoreError(f"{folder}: no file {name}; its outcome records {held}")


def losses(path: Path) -> Float[npt.NDArray[np.float64], " epoch"]:
    """The mean loss of every epoch, from a `curve.parquet`. Raises StoreError naming a damaged file."""
    try:
        curve = pq.read_table(path, columns=["epoch", "loss"]).to_pandas()
    except (OSError, pa.ArrowException) as problem:
        raise StoreError(f"{path}: damaged, or not a learning curve ({problem})") from problem
    return np.asarray(curve.groupby("epoch")["loss"].mean(), dtype=np.float64)


def test_features(path: Path) -> tuple[Int[npt.NDArray[np.int64], " sample"], Float[npt.NDArray[np.float32], "s w"]]:
    """Rows of the packed store and feature vectors of the part that is measured on, from a `features.safetensors`.

    Raises:
        StoreError: the file does not hold rows and one feature of the test part, or of the validation part.
    """
    state = load_file(path)
    for part in ("test", "val"):
        held = {key.partition("/")[2]: array for key, array in state.items() if key.partition("/")[0] == part}
        rows = held.pop("rows", None)
        if rows is not None and len(held) == 1:
            return rows.astype(np.int64), next(iter(held.values()))
    raise StoreError(f"{path}: holds {sorted(state)}; rows and one feature of a measured part are needed")


def predictions(store: Store, fingerprint: str) -> pd.DataFrame:
    """What a probe predicted: `row`, `label` and a column of classes for each variant; `attrs["classes"]` names them.

    Raises:
        StoreError: none are published for it, the file is damaged, or it does not name its classes.
    """
    path = store.location / "predictions" / f"{fingerprint}.parquet"
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        table = file.read(columns=[name for name in file.schema_arrow.names if name != "scores"])
    except (OSError, pa.ArrowException) as problem:
        raise StoreError(f"{path}: not there, damaged, or not predictions ({problem})") from problem
    named = (table.schema.metadata or {}).get(b"classes")
    if named is None:
        raise StoreError(f"{path}: does not name its classes; it was written by an older version")
    frame: pd.DataFrame = table.to_pandas()
    frame.attrs["classes"] = tuple(json.loads(named))
    return frame


def predicted_column(names: Sequence[object], k: int | None) -> str:
    """The column of predictions with k neighbours, or the only one.

    Raises:
        ValueError: there is none for k, or several to choose from.
    """
    variants = [str(name) for name in names if name not in ("row", "label", "scores")]
    if f"k{k}" in variants:
        return f"k{k}"
    if len(variants) == 1:
        return variants[0]
    raise ValueError(f"k is {k}; predictions hold {', '.join(variants) or 'none'}")
