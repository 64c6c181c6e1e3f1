"""The linear probe: a linear classifier on features of a frozen encoder (paper section 4.3; published code)."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from stars.curve import write_curve
from stars.data import subsets
from stars.data.batches import Clips, View
from stars.data.dataset import Data, Split, split
from stars.data.packed import Packed
from stars.encoders import EncoderStage, load_encoder, save_tensors
from stars.fit import fit
from stars.pretrain import DTYPES
from stars.probes.features import FeatureStage, encoded, read_both
from stars.probes.linear_sources import FreshCrops, StoredFeatures, entries
from stars.probes.linear_training import LinearClassifiers, LinearTraining, Look, Source
from stars.probes.predictions import Scores, write_predictions
from stars.results import Number, write_numbers
from stars.runtime import Runtime
from stars.stage import Stage

CLASSIFIERS_FILE = "classifiers.safetensors"


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Stage):
    """Base of the linear probes: what is trained, and how often.

    Every combination of learning rate, weight decay, seed and subset gives one classifier and its rows, named in their
    `variant` where there are several. All are trained in one pass, and each as it would be alone; if one diverges, the
    stage has. A number is that of the last epoch; beside it stands that of the best epoch, which the samples that it is
    measured on have chosen (as published).

    Attributes:
        data: gives the labels; trained on its training part, measured on its other part.
        epochs: passes over the training part.
        batch_size: sequences in a batch of all workers together.
        learning_rates: of SGD, each falling from there to 0 along half a cosine, step by step.
        weight_decays: per unit of learning rate, on weights and biases.
        momentum: of SGD, in [0, 1).
        seeds: of start, order and crops.
        label_fraction: part of the training part that is trained on, in (0, 1].
        subset: how this part is chosen. published: shuffled and cut. balanced: equally many of each class, one at
            least.
        subset_seeds: of this choice; one where the part is the whole.
    """

    data: Data
    epochs: int
    batch_size: int
    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...] = (0.0,)
    momentum: float = 0.9
    seeds: tuple[int, ...] = (0,)
    label_fraction: float = 1.0
    subset: Literal["published", "balanced"] = "published"
    subset_seeds: tuple[int, ...] = (0,)

    def check(self) -> None:
        """Refuse impossible schedules and empty or repeating axes."""
        name = type(self).__name__
        for axis, lowest, words in (
            ("learning_rates", math.ulp(0.0), "above 0"),
            ("weight_decays", 0, "from 0"),
            ("seeds", 0, "from 0"),
            ("subset_seeds", 0, "from 0"),
        ):
            entries = getattr(self, axis)
            if not entries or min(entries) < lowest or len(set(entries)) != len(entries):
                raise ValueError(f"{name}.{axis} is {entries}; allowed: one or more different numbers {words}")
        if self.epochs < 1:
            raise ValueError(f"{name}.epochs is {self.epochs}; allowed: 1 or more")
        if self.batch_size < 2:
            raise ValueError(f"{name}.batch_size is {self.batch_size}; allowed: 2 or more (BatchNorm)")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"{name}.momentum is {self.momentum}; allowed: in [0, 1)")
        if not 0 < self.label_fraction <= 1:
            raise ValueError(f"{name}.label_fraction is {self.label_fraction}; allowed: in (0, 1]")
        if self.label_fraction == 1 and self.subset_seeds != (0,):
            raise ValueError(f"{name}.subset_seeds is {self.subset_seeds}; allowed: (0,) with a label_fraction of 1")
        if self.label_fraction == 1 and self.subset != "published":
            raise ValueError(f"{name}.subset is {self.subset!r}; allowed: 'published' with a label_fraction of 1")

    def settings(self) -> list[tuple[float, float]]:
        """Learning rate and weight decay of each classifier of a look."""
        return list(itertools.product(self.learning_rates, self.weight_decays))

    def looks(self, labels: Int64[np.ndarray, " sample"]) -> list[Look]:
        """Seeds and samples of each look at a training part with these labels."""
        return [
            Look(seed=seed, samples=torch.from_numpy(self._labelled(labels, subset_seed)))
            for seed, subset_seed in itertools.product(self.seeds, self.subset_seeds)
        ]

    def _labelled(self, labels: Int64[np.ndarray, " sample"], seed: int) -> Int64[np.ndarray, " chosen"]:
        """Positions in the training part that are trained on."""
        if self.label_fraction == 1:
            return np.arange(len(labels))
        if self.subset == "balanced":
            return subsets.balanced(labels, self.label_fraction, seed)
        return subsets.shuffled(len(labels), self.label_fraction, seed)

    def variants(self) -> list[list[str]]:
        """What tells each classifier from the others, by look and setting; '' where there is one alone."""
        names = ("seed", "subset_seed", "learning_rate", "weight_decay")
        axes = (self.seeds, self.subset_seeds, self.learning_rates, self.weight_decays)
        labels = [
            [f"{name}={entry!r}" if len(axis) > 1 else "" for entry in axis]
            for name, axis in zip(names, axes, strict=True)
        ]
        settings = list(itertools.product(*labels[2:]))
        return [
            [" ".join(filter(None, look + setting)) for setting in settings] for look in itertools.product(*labels[:2])
        ]

    def train(
        self, source: Source, measured: Float[Tensor, "measured width"], parts: Split, runtime: Runtime
    ) -> tuple[LinearTraining, list[float]]:
        """Train all classifiers on a source of features. Returns the task at its end, and the losses.

        Args:
            source: features of the training part.
            measured: features of the part that is measured on, in its order.
            parts: both parts and their labels.
            runtime: this worker's.
        """
        device, labels = runtime.device, torch.from_numpy(parts.labels)
        looks, settings = self.looks(parts.labels[parts.train]), self.settings()
        classifiers = LinearClassifiers(len(looks), len(settings), measured.shape[1], parts.num_classes)
        classifiers.to(device=device, dtype=measured.dtype).start(looks)
        task = LinearTraining(
            classifiers=classifiers,
            source=source,
            labels=labels[parts.train].to(device),
            looks=looks,
            settings=settings,
            epochs=self.epochs,
            batch_size=self.batch_size,
            world_size=runtime.world_size,
            momentum=self.momentum,
            measured=measured.to(device),
            measured_labels=labels[parts.measured].to(device),
        )
        losses = fit(task, runtime)
        task.tally.hits[-1] = task.correct()
        return task, losses

    def write(self, task: LinearTraining, losses: Sequence[float], parts: Split, feature: str, out: Path) -> None:
        """Leave numbers, predictions, classifiers and curve.

        Args:
            task: at its end.
            losses: of every step.
            parts: both parts and their labels.
            feature: as the rows call it.
            out: the output folder.
        """
        variants = list(itertools.chain.from_iterable(self.variants()))
        write_numbers(out, self._numbers(task.tally.hits.flatten(1), variants, parts, feature))
        logits = task.logits().transpose(1, 2).flatten(0, 1).cpu()
        alone = len(variants) == 1
        write_predictions(
            out,
            torch.from_numpy(parts.measured),
            torch.from_numpy(parts.labels[parts.measured]),
            {variant or "predicted": said.argmax(dim=1) for variant, said in zip(variants, logits, strict=True)},
            class_names=parts.class_names,
            scores=Scores("logits", logits[0]) if alone else None,
        )
        save_tensors(out / CLASSIFIERS_FILE, task.classifiers.state_dict())
        write_curve(out, losses, task.steps_per_epoch)

    def _numbers(
        self, hits: Int64[Tensor, "epoch classifier"], variants: Sequence[str], parts: Split, feature: str
    ) -> list[Number]:
        """The last epoch's of every classifier, then the best epoch's; the first of several equally good ones."""
        count = len(parts.measured)
        last = [
            Number(
                split=parts.measured_name,
                probe="linear",
                feature=feature,
                k=None,
                metric="accuracy",
                value=int(hits[-1, number]) / count,
                count=count,
                epoch=self.epochs,
                variant=variant or None,
            )
            for number, variant in enumerate(variants)
        ]
        best = hits.cpu().numpy().argmax(axis=0).tolist()
        chosen = [
            replace(number, selected_on=parts.measured_name, epoch=epoch + 1, value=int(hits[epoch, position]) / count)
            for position, (number, epoch) in enumerate(zip(last, best, strict=True))
        ]
        return last + chosen


@dataclass(frozen=True, kw_only=True)
class Linear(LinearProbe):
    """The linear probe on fresh crops: in every epoch each sequence goes through the frozen encoder again (published).

    Classifiers that share a seed and a subset share its crops, so that further learning rates and weight decays cost no
    pass through the encoder.

    Attributes:
        encoder: whose pooled output is classified; in evaluation mode.
        view: crop and rotation of a training sequence.
        crop: length of the centre crop of what is measured on, as a fraction of the valid frames, in (0, 1].
        precision: of the arithmetic.
        data, epochs, batch_size, learning_rates, weight_decays, momentum, seeds: see `LinearProbe`.
        label_fraction, subset, subset_seeds: see `LinearProbe`.
    """

    encoder: EncoderStage
    view: View
    crop: float
    precision: Literal["float32", "float64"] = "float32"

    def check(self) -> None:
        """Refuse also an impossible crop, and views and data that do not fit the encoder."""
        super().check()
        shape = self.encoder.encoder_shape()
        if not 0 < self.crop <= 1:
            raise ValueError(f"Linear.crop is {self.crop}; allowed: in (0, 1]")
        if self.view.frames != shape.frames:
            raise ValueError(f"Linear.view.frames is {self.view.frames}; allowed: the encoder's {shape.frames}")
        if self.data.joints != shape.joints:
            raise ValueError(f"Linear.data has {self.data.joints} joints; allowed: the encoder's {shape.joints}")

    def trains(self) -> bool:
        """Several workers may share the encoder's work."""
        return True

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `numbers.json`, `predictions.parquet`, `classifiers.safetensors` and `curve.parquet`."""
        packed, dtype, shape = Packed.open(inputs["data"]), DTYPES[self.precision], self.encoder.encoder_shape()
        parts = split(self.data, packed)
        encoder = load_encoder(inputs["encoder"], shape, runtime.device, dtype).eval()
        clips = Clips(packed, runtime.device, dtype, **self.data.filling())
        centre = View(frames=shape.frames, crop=(self.crop,), stream=self.view.stream)
        measured = encoded(encoder, clips, torch.from_numpy(parts.measured), centre)
        source = FreshCrops(encoder, clips, torch.from_numpy(parts.train), self.view, runtime)
        task, losses = self.train(source, measured, parts, runtime)
        if runtime.rank == 0:
            self.write(task, losses, parts, "pooled of fresh crops", out)


@dataclass(frozen=True, kw_only=True)
class LinearOnFeatures(LinearProbe):
    """The linear probe on features that are there already: of one centre crop, or of several random ones.

    Where there are several crops of a sequence, one of them is drawn each time that it is seen.

    Attributes:
        features: of both parts of the data.
        data, epochs, batch_size, learning_rates, weight_decays, momentum, seeds: see `LinearProbe`.
        label_fraction, subset, subset_seeds: see `LinearProbe`.
    """

    features: FeatureStage

    def check(self) -> None:
        """Refuse also the features of other data. The label rule may be another."""
        super().check()
        self.features.check_data("LinearOnFeatures", self.data)

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `numbers.json`, `predictions.parquet`, `classifiers.safetensors` and `curve.parquet`.

        Raises:
            ValueError: features of other samples than the data's, or of more crops of one than of another.
        """
        parts = split(self.data, Packed.open(inputs["data"]))
        train, measured = read_both(inputs["features"], parts)
        order = entries(measured.rows, torch.from_numpy(parts.measured))[0]
        crops = entries(train.rows, torch.from_numpy(parts.train))
        source = StoredFeatures(train.features.to(runtime.device), crops)
        task, losses = self.train(source, measured.features[order], parts, runtime)
        if runtime.rank == 0:
            self.write(task, losses, parts, self.features.feature_name(), out)
