"""K nearest neighbours on frozen features (paper section 4.3, Table 2)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from stars.data.dataset import Data, split
from stars.data.packed import Packed
from stars.neighbours import nearest, plain_vote
from stars.probes.features import Features, read_features
from stars.results import PREDICTIONS, Number, write_numbers
from stars.runtime import Runtime
from stars.stage import Stage


@dataclass(frozen=True, kw_only=True)
class KNN(Stage):
    """Cosine similarity, uniform vote, ties to the smallest label: the rule of the paper's tables.

    Attributes:
        features: of the training part (the bank) and of the part that is measured on (the queries).
        data: gives the labels. Same recordings and protocol as the features'; the label rule may be another, so that
            one training serves every rule.
        k: numbers of neighbours, each giving one row.
    """

    features: Features
    data: Data
    k: tuple[int, ...]

    def check(self) -> None:
        """Refuse an empty or impossible list of k."""
        if not self.k or min(self.k) < 1 or len(set(self.k)) != len(self.k):
            raise ValueError(f"KNN.k is {self.k}; allowed: one or more different numbers from 1")
        wanted = replace(self.features.data, label_rule=self.data.label_rule)
        if self.data != wanted:
            raise ValueError(f"KNN.data is {self.data}; allowed: that of the features, {wanted}")

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `numbers.json` and `predictions.parquet`."""
        parts = split(self.data, Packed.open(inputs["data"]))
        train, other = (read_features(inputs["features"], part) for part in ("train", parts.measured_name))
        if max(self.k) > len(train.rows):
            raise ValueError(f"KNN.k is {self.k}; allowed: at most {len(train.rows)}, the training samples")
        labels = torch.from_numpy(parts.labels)
        bank, queries = train.features.to(runtime.device), other.features.to(runtime.device)
        _, indices = nearest(queries, bank, max(self.k))
        predictions = plain_vote(labels[train.rows][indices.cpu()], self.k)
        wanted = labels[other.rows]
        correct = {k: np.asarray(predicted == wanted) for k, predicted in predictions.items()}
        write_numbers(out, [_number(parts.measured_name, k, hits) for k, hits in correct.items()])
        columns = {"row": other.rows.numpy(), "label": wanted.numpy()}
        columns |= {f"k{k}": predicted.numpy() for k, predicted in predictions.items()}
        pq.write_table(pa.table(columns), out / PREDICTIONS)


def _number(part: Literal["val", "test"], k: int, hits: np.ndarray) -> Number:
    value = float(hits.mean())
    return Number(split=part, probe="knn", feature="pooled", k=k, metric="accuracy", value=value, count=len(hits))
