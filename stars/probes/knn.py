"""K nearest neighbours on frozen features (paper section 4.3, Table 2)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from stars.data.dataset import Data, split
from stars.data.packed import Packed
from stars.neighbours import nearest, plain_vote, weighted_vote
from stars.probes.features import FeatureStage, read_both
from stars.probes.predictions import write_predictions
from stars.results import Number, write_numbers
from stars.runtime import Runtime
from stars.stage import Stage, later

PlainVote = Literal["plain", "distance"]
"""Who wins among the classes with most votes: the smallest label, or the class of the nearest of their neighbours."""


@dataclass(frozen=True, kw_only=True)
class KNN(Stage):
    """Exact search by cosine similarity, and a vote: by default the rule of the paper's tables.

    Attributes:
        features: of the training part (the bank) and of the part that is measured on (the queries).
        data: gives the labels. Same recordings and protocol as the features'; the label rule may be another, so that
            one training serves every rule.
        k: numbers of neighbours, each giving one row; all in one pass.
        vote: plain: one vote each, ties to the smallest label (the paper's tables). distance: one vote each, ties to
            the class whose nearest neighbour is nearest. weighted: exp(similarity / temperature) each, as in the
            published monitor.
        temperature: with the weighted vote, above 0 (published: 0.1); None with the others.
    """

    probe: ClassVar[str] = "knn"

    features: FeatureStage
    data: Data
    k: tuple[int, ...]
    vote: Literal["plain", "distance", "weighted"] = later("plain")
    temperature: float | None = later(None)

    def check(self) -> None:
        """Refuse an empty or impossible list of k, features of other data, and a temperature that is no use."""
        name = type(self).__name__
        if not self.k or min(self.k) < 1 or len(set(self.k)) != len(self.k):
            raise ValueError(f"{name}.k is {self.k}; allowed: one or more different numbers from 1")
        self.features.check_data(name, self.data)
        is_used = self.temperature is not None and self.temperature > 0
        if is_used != (self.vote == "weighted") or (self.temperature is not None) != is_used:
            allowed = "above 0 with the weighted vote, None with another"
            raise ValueError(
                f"{name}.temperature is {self.temperature} with the vote {self.vote!r}; allowed: {allowed}"
            )

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `numbers.json` and `predictions.parquet`.

        Raises:
            ValueError: a k above the number of training samples, or features of other samples than the data's.
        """
        parts = split(self.data, Packed.open(inputs["data"]))
        train, other = read_both(inputs["features"], parts)
        if max(self.k) > len(train.rows):
            allowed = f"at most {len(train.rows)}, the training samples"
            raise ValueError(f"{type(self).__name__}.k is {self.k}; allowed: {allowed}")
        labels = torch.from_numpy(parts.labels)
        similarities, indices = nearest(
            other.features.to(runtime.device), train.features.to(runtime.device), max(self.k)
        )
        voters = labels[train.rows][indices.cpu()]
        wanted, predictions = labels[other.rows], self.elect(similarities.cpu(), voters, parts.num_classes)
        if runtime.rank == 0:
            numbers = [self._number(parts.measured_name, k, predictions[k] == wanted) for k in self.k]
            write_numbers(out, numbers)
            columns = {f"k{k}": predictions[k] for k in self.k}
            write_predictions(out, other.rows, wanted, columns, class_names=parts.class_names)

    def elect(
        self,
        similarities: Float[Tensor, "query neighbour"],
        voters: Int[Tensor, "query neighbour"],
        num_classes: int,
    ) -> dict[int, Int[Tensor, " query"]]:
        """The class that each k elects.

        Args:
            similarities: of the neighbours, the nearest first.
            voters: their labels.
            num_classes: number of classes.
        """
        if self.temperature is not None:
            return weighted_vote(similarities, voters, self.k, self.temperature, num_classes)
        return plain_vote(voters, self.k, "nearest" if self.vote == "distance" else "smallest")

    def _number(self, part: Literal["val", "test"], k: int, hits: Tensor) -> Number:
        return Number(
            split=part,
            probe=self.probe,
            feature=self.features.feature_name(),
            k=k,
            metric="accuracy",
            value=float(hits.double().mean()),
            count=len(hits),
            variant=self.described(),
        )

    def described(self) -> str | None:
        """The vote, where it is not that of the paper's tables."""
        if self.temperature is not None:
            return f"weighted vote, temperature {self.temperature:g}"
        return "ties to the nearest" if self.vote == "distance" else None
