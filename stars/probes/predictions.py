"""What a probe predicted, sample by sample: `predictions.parquet`, in one form for every probe.

Columns: `row` (of the packed store), `label` (class from 0), then one column of predicted classes for each variant of
the probe (`predicted`, or `k1`, `k10`, …) and, where the probe has them, `scores` (one float32 a class). The schema's
metadata hold the class names as JSON (`classes`) and what the scores are (`scores`).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int
from torch import Tensor

from stars.parquet import to_bytes
from stars.results import PREDICTIONS


@dataclass(frozen=True, eq=False)
class Scores:
    """What a probe gives every class.

    Attributes:
        meaning: `logits` are not normalised; `vote shares` add up to 1.
        values: one a class.
    """

    meaning: Literal["logits", "vote shares"]
    values: Float[Tensor, "sample class"]


def write_predictions(
    folder: Path,
    rows: Int[Tensor, " sample"],
    labels: Int[Tensor, " sample"],
    predicted: Mapping[str, Int[Tensor, " sample"]],
    *,
    class_names: Sequence[str],
    scores: Scores | None = None,
) -> None:
    """Leave a probe's predictions in its output folder.

    Args:
        folder: of the output.
        rows: of the samples in the packed store.
        labels: their classes, from 0.
        predicted: predicted classes by the variant's name.
        class_names: of all classes, in order.
        scores: of the only variant; None where there are none, or several variants.

    Raises:
        ValueError: no variant, a variant named like another column, columns of different lengths, a class without a
            name, or scores that are not one a class.
    """
    columns = {"row": rows, "label": labels, **predicted}
    if not predicted or {"row", "label", "scores"} & set(predicted):
        raise ValueError(f"predicted names {list(predicted)}; allowed: one name or more, not row, label or scores")
    for name, column in columns.items():
        if column.shape != rows.shape:
            raise ValueError(f"{name} has {len(column)} entries; allowed: as many as there are rows, {len(rows)}")
        classes = range(len(class_names))
        if name != "row" and len(column) and not (int(column.min()) in classes and int(column.max()) in classes):
            raise ValueError(f"{name} holds {int(column.min())} to {int(column.max())}; allowed: below {len(classes)}")
    arrays = {name: pa.array(column.cpu().numpy()) for name, column in columns.items()}
    metadata = {"classes": json.dumps(list(class_names))}
    if scores is not None:
        if scores.values.shape != (len(rows), len(class_names)):
            wanted = (len(rows), len(class_names))
            raise ValueError(f"scores have shape {tuple(scores.values.shape)}; allowed: {wanted}, one a class")
        metadata["scores"] = scores.meaning
        arrays["scores"] = _lists(scores.values)
    (folder / PREDICTIONS).write_bytes(to_bytes(pa.table(arrays).replace_schema_metadata(metadata)))


def _lists(values: Float[Tensor, "sample class"]) -> pa.ListArray:
    """One list a sample, without a Python object for each number."""
    num_samples, num_classes = values.shape
    offsets = np.arange(num_samples + 1, dtype=np.int32) * np.int32(num_classes)
    return pa.ListArray.from_arrays(offsets, values.float().cpu().numpy().ravel())
