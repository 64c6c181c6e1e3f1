"""The floor: always answer the training part's most frequent class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stars.data.dataset import Data, split
from stars.data.packed import Packed
from stars.results import Number, write_numbers
from stars.runtime import Runtime
from stars.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Chance(Stage):
    """Accuracy of the majority class, the smallest label among equals.

    Attributes:
        data: counted on its training part, measured on its other part.
    """

    data: Data

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:  # noqa: ARG002
        """Leaves `numbers.json`."""
        parts = split(self.data, Packed.open(inputs["data"]))
        answer = np.bincount(parts.labels[parts.train], minlength=parts.num_classes).argmax()
        value = float((parts.labels[parts.measured] == answer).mean())
        count, name = len(parts.measured), parts.measured_name
        number = Number(split=name, probe="chance", feature="", k=None, metric="accuracy", value=value, count=count)
        write_numbers(out, [number])
