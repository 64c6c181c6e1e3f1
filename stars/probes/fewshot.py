"""Few-shot evaluation on frozen features: a handful of exemplars of each class, and their nearest (paper Table 5).

The paper pretrains on NTU-60 and recognises the other sixty actions of NTU-120 by "n labeled sequences for each class"
and the n nearest of them; its released code draws no exemplars. So there are two protocols here, under two names:
`FewShot` draws them, several times; `NovelKNN` is what the released program computes on a file of the novel classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Int
from scipy import special
from torch import Tensor

from stars import draws
from stars.data.dataset import Data, Split, split
from stars.data.packed import Packed
from stars.neighbours import nearest, plain_vote
from stars.probes.features import FeatureStage, Part, read_both
from stars.probes.knn import KNN, PlainVote
from stars.probes.predictions import write_predictions
from stars.results import Number, write_numbers
from stars.runtime import Runtime
from stars.stage import Stage, children, upstream

MIN_DRAWS = 10
HALF_WIDTH = "accuracy_half_width"
_CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class FewShot(Stage):
    """n exemplars of each class from the training part; of all of them, the n nearest vote.

    Every n gives a row with the mean over the draws (`accuracy`), one with half the width of its 95 % interval by
    Student's t (`accuracy_half_width`), and one for each draw (`accuracy_of_draw`); `k` is n. The exemplars of a draw
    are nested: those of a smaller n are among those of a larger.

    Attributes:
        features: of the training part (the exemplars come from it) and of the part that is measured on.
        data: gives the labels. Same recordings and protocol as the features'; novel classes are named by its actions.
        shots: numbers n of exemplars of each class.
        exemplars: drawn: by chance. first: the first ones of each class in the protocol's order, which is one draw.
        draws: how often exemplars are drawn, at least 10; 1 with the first ones.
        seed: of the draws.
        vote: plain: ties go to the smallest label. distance: to the class whose nearest exemplar is nearest, so that
            two shots, where every disagreement is a tie, are one.
    """

    features: FeatureStage
    data: Data
    shots: tuple[int, ...] = (1, 2, 5)
    exemplars: Literal["drawn", "first"] = "drawn"
    draws: int = MIN_DRAWS
    seed: int = 0
    vote: PlainVote = "plain"

    def check(self) -> None:
        """Refuse impossible shots, too few draws for an interval, and features of other data."""
        if not self.shots or min(self.shots) < 1 or len(set(self.shots)) != len(self.shots):
            raise ValueError(f"FewShot.shots is {self.shots}; allowed: one or more different numbers from 1")
        drawn = self.exemplars == "drawn"
        if (drawn and self.draws < MIN_DRAWS) or (not drawn and self.draws != 1):
            allowed = f"{MIN_DRAWS} or more, or 1 with the first exemplars"
            raise ValueError(f"FewShot.draws is {self.draws}; allowed: {allowed}")
        if self.seed < 0 or (self.seed and not drawn):
            raise ValueError(f"FewShot.seed is {self.seed}; allowed: 0 or more, and 0 with the first exemplars")
        self.features.check_data("FewShot", self.data)

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `numbers.json` and `predictions.parquet`, with a column for each n and draw.

        Raises:
            ValueError: a class with fewer exemplars than shots, or features of other samples than the data's, or of
                several crops of one sample.
        """
        parts = split(self.data, Packed.open(inputs["data"]))
        train, other = read_both(inputs["features"], parts)
        labels = torch.from_numpy(parts.labels)
        train = in_order(train, parts)
        refuse_scarce(labels[train.rows], max(self.shots), parts)
        wanted = labels[other.rows]
        train_features, queries = train.features.to(runtime.device), other.features.to(runtime.device)
        predictions: dict[tuple[int, int], Tensor] = {}
        for number in range(self.draws):
            order = self.order(number, labels[train.rows])
            for shot in self.shots:
                chosen = first_of_each(order, labels[train.rows], shot)
                _, indices = nearest(queries, train_features[chosen.to(runtime.device)], shot)
                voters = labels[train.rows[chosen]][indices.cpu()]
                ties: Literal["nearest", "smallest"] = "nearest" if self.vote == "distance" else "smallest"
                predictions[shot, number] = plain_vote(voters, (shot,), ties)[shot]
        if runtime.rank == 0:
            hits = {at: float((found == wanted).double().mean()) for at, found in predictions.items()}
            write_numbers(out, self._numbers(hits, parts.measured_name, len(wanted)))
            columns = {f"shot{shot}_draw{number}": found for (shot, number), found in predictions.items()}
            write_predictions(out, other.rows, wanted, columns, class_names=parts.class_names)

    def order(self, number: int, labels: Int[Tensor, " sample"]) -> Int[Tensor, " sample"]:
        """In which order a draw takes training samples, by their positions.

        Args:
            number: of the draw.
            labels: of the training samples, in the protocol's order.
        """
        if self.exemplars == "first":
            return torch.arange(len(labels))
        return torch.randperm(len(labels), generator=draws.generator(self.seed, number, "exemplars"))

    def _numbers(self, hits: Mapping[tuple[int, int], float], part: Literal["val", "test"], count: int) -> list[Number]:
        variant = "ties to the nearest" if self.vote == "distance" else None
        found = []
        for shot in self.shots:
            values = [hits[shot, number] for number in range(self.draws)]
            mean = Number(
                split=part,
                probe="fewshot" if self.exemplars == "drawn" else "fewshot_first",
                feature=self.features.feature_name(),
                k=shot,
                metric="accuracy",
                value=float(np.mean(values)),
                count=count,
                variant=variant,
            )
            found.append(mean)
            if self.draws > 1:
                found.append(replace(mean, metric=HALF_WIDTH, value=half_width(values)))
                found += [
                    replace(mean, metric="accuracy_of_draw", value=value, draw=number)
                    for number, value in enumerate(values)
                ]
        return found


@dataclass(frozen=True, kw_only=True)
class NovelKNN(KNN):
    """The published reading of few-shot: KNN with k = n over the whole training part of classes never seen before.

    What the released program computes when it is given a file of the novel classes: "n" is the number of neighbours,
    and every training sample is an exemplar. Its rows name it `knn_novel`.

    Attributes:
        features: see `KNN`.
        data: see `KNN`; its actions are the novel ones.
        k: the numbers n.
        vote: see `KNN`.
        temperature: see `KNN`.
    """

    probe: ClassVar[str] = "knn_novel"

    def check(self) -> None:
        """Refuse also data without a choice of actions, and actions of the same recordings that were trained on."""
        super().check()
        if not self.data.actions:
            raise ValueError("NovelKNN.data.actions is (); allowed: the novel actions, such as 61 to 120 of NTU-120")
        for stage in upstream(self.features):
            for seen in children(stage, Data).values() if stage.trains() else ():
                known = set(seen.actions or self.data.actions) & set(self.data.actions)
                if seen.content == self.data.content and known:
                    raise ValueError(
                        f"NovelKNN.data.actions names {min(known)}, which the encoder was trained on; allowed: others"
                    )


def in_order(train: Part, parts: Split) -> Part:
    """The training features in the protocol's order. Raises ValueError where a sample has several."""
    if len(train.rows) != len(parts.train):
        raise ValueError(
            f"FewShot.features has {len(train.rows)} entries of {len(parts.train)} training samples; allowed: one each"
        )
    place = torch.empty(len(parts.labels), dtype=torch.int64)
    place[train.rows] = torch.arange(len(train.rows))
    rows = torch.from_numpy(parts.train)
    return Part(features=train.features[place[rows]], rows=rows)


def refuse_scarce(labels: Int[Tensor, " sample"], num_exemplars: int, parts: Split) -> None:
    """Raises ValueError, naming it, when a class has fewer training samples than exemplars are wanted of it."""
    counts = torch.bincount(labels, minlength=parts.num_classes)
    scarce = (counts < num_exemplars).nonzero().squeeze(1).tolist()
    if scarce:
        shown = ", ".join(f"{parts.class_names[label]} ({int(counts[label])})" for label in scarce[:10])
        raise ValueError(
            f"FewShot.shots asks for {num_exemplars} exemplars; allowed: at most {int(counts.min())}, the training "
            f"samples of the rarest class. {len(scarce)} of {parts.num_classes} classes have fewer: {shown}"
        )


def first_of_each(
    order: Int[Tensor, " sample"], labels: Int[Tensor, " sample"], number: int
) -> Int[Tensor, " exemplar"]:
    """The first samples of each class in an order, by position, ascending.

    Args:
        order: positions of all samples.
        labels: of the samples, by position.
        number: how many of each class, at most.
    """
    by_class = order[labels[order].argsort(stable=True)]
    counts = torch.bincount(labels)
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(labels)) - starts[labels[by_class]]
    return by_class[rank < number].sort().values


def half_width(values: Sequence[float]) -> float:
    """Half of the 95 % interval of the mean, by Student's t over the values, two or more."""
    degrees = len(values) - 1
    quantile = float(special.stdtrit(degrees, (1 + _CONFIDENCE) / 2))
    return quantile * float(np.std(values, ddof=1)) / float(np.sqrt(len(values)))
