"""The predictions' file: what was given comes back, with class names and the meaning of scores; nonsense is refused."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from stars.probes.predictions import Scores, write_predictions

GIVEN: dict[str, Any] = {
    "rows": torch.tensor([7, 3, 5]),
    "labels": torch.tensor([0, 1, 1]),
    "predicted": {"k1": torch.tensor([0, 0, 1]), "k5": torch.tensor([1, 1, 1])},
    "class_names": ("A001", "A007"),
}
LOGITS = torch.tensor([[1.5, -2.0], [0.25, 0.0], [-1.0, 3.0]], dtype=torch.float64)


def test_columns_and_metadata(tmp_path: Path) -> None:
    write_predictions(tmp_path, **GIVEN, scores=Scores("logits", LOGITS))
    table = pq.read_table(tmp_path / "predictions.parquet")
    assert table.to_pydict() == {
        "row": [7, 3, 5],
        "label": [0, 1, 1],
        "k1": [0, 0, 1],
        "k5": [1, 1, 1],
        "scores": LOGITS.tolist(),
    }
    assert table.schema.field("scores").type == pa.list_(pa.float32())
    metadata = {key.decode(): content.decode() for key, content in table.schema.metadata.items()}
    assert json.loads(metadata["classes"]) == ["A001", "A007"]
    assert metadata["scores"] == "logits"


def test_without_scores_there_is_neither_column_nor_meaning(tmp_path: Path) -> None:
    write_predictions(tmp_path, **GIVEN)
    schema = pq.read_schema(tmp_path / "predictions.parquet")
    assert schema.names == ["row", "label", "k1", "k5"]
    assert set(schema.metadata) == {b"classes"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"predicted": {}}, r"predicted names \[\]; allowed: one name or more, not row, label or scores"),
        ({"predicted": {"label": torch.zeros(3, dtype=torch.int64)}}, r"predicted names \['label'\]; allowed"),
        ({"predicted": {"k1": torch.tensor([0, 1])}}, "k1 has 2 entries; allowed: as many as there are rows, 3"),
        ({"labels": torch.tensor([0, 2, 1])}, "label holds 0 to 2; allowed: below 2"),
        ({"labels": torch.tensor([-1, 0, 1])}, "label holds -1 to 1; allowed: below 2"),
        ({"predicted": {"k1": torch.tensor([5, 0, 0])}}, "k1 holds 0 to 5; allowed: below 2"),
        ({"scores": Scores("logits", LOGITS.T)}, r"scores have shape \(2, 3\); allowed: \(3, 2\), one a class"),
    ],
)
def test_nonsense_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        write_predictions(tmp_path, **{**GIVEN, **change})
    assert not list(tmp_path.iterdir())
