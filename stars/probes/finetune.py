"""Fine-tuning: encoder and classifier trained together on labels (paper section 4.3; published code).

The same stage measures what the paper calls fine-tuned, semi-supervised (a small `label_fraction`), transferred (`data`
of another data set than the start's), and without pre-training (a `Pretrain` of no epochs as start, `layer_decay` 1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Int64
from safetensors.torch import load_file
from torch import Tensor

from stars import draws
from stars.curve import write_curve
from stars.data import subsets
from stars.data.batches import View
from stars.data.dataset import Data, Split, split
from stars.data.packed import Packed
from stars.encoders import ENCODER_FILE, EncoderStage, load_encoder, save_tensors
from stars.fit import fit
from stars.model.classifier import Classifier
from stars.model.encoder import Encoder, EncoderShape, resize_times
from stars.pretrain import DTYPES
from stars.probes.finetune_training import FineTuning
from stars.probes.predictions import Scores, write_predictions
from stars.results import Number, write_numbers
from stars.runtime import Runtime

CLASSIFIER_FILE = "classifier.safetensors"


@dataclass(frozen=True, kw_only=True)
class FineTune(EncoderStage):
    """Train a whole encoder, and a classifier on top of it, on the labels of a data set.

    The number is that of the last epoch; beside it stands that of the best epoch, which the samples that it is measured
    on have chosen (as published). The weights that are kept are those of the last epoch.

    Attributes:
        start: the encoder to begin with.
        data: gives sequences and labels; trained on its training part, measured on its other part. It may be another
            data set than the start's, of equally many joints.
        view: crop and rotation of a training sequence. Of another number of frames than the start's, the encoder's
            table of times is resized.
        crop: length of the centre crop of what is measured on, as a fraction of the valid frames, in (0, 1].
        epochs: passes over the samples that are trained on.
        warmup_epochs: epochs in which the learning rate rises from 0.
        batch_size: sequences in a batch of all workers together.
        learning_rate: its peak, of the classifier and the last norm.
        minimum_learning_rate: where the cosine ends.
        layer_decay: factor of the learning rate from each layer to the one below, in (0, 1]. Embeddings are one layer,
            each block is one, the last norm and the classifier are the last.
        weight_decay: of AdamW, on all but vectors (biases, norms).
        drop_path: rate at which the last block's branches are dropped for a body; it rises evenly from 0 in the first.
        dropout: rate at which features of tokens are dropped before the classifier.
        label_smoothing: share of the wanted distribution that is spread evenly over all classes, in [0, 1).
        hidden: width of the classifier's hidden layer.
        seed: of the classifier's start, order, crops and what is dropped.
        label_fraction: part of the training part that is trained on, in (0, 1].
        subset: how this part is chosen. published: shuffled and cut. balanced: equally many of each class, one at
            least.
        subset_seed: of this choice.
        measure_every: epochs from one measurement to the next, of which the best is reported; the last epoch is always
            measured.
        precision: of weights and arithmetic.
    """

    start: EncoderStage
    data: Data
    view: View
    crop: float
    epochs: int
    warmup_epochs: int
    batch_size: int
    learning_rate: float
    minimum_learning_rate: float
    layer_decay: float
    weight_decay: float
    drop_path: float
    dropout: float
    label_smoothing: float
    hidden: int
    seed: int
    label_fraction: float = 1.0
    subset: Literal["published", "balanced"] = "published"
    subset_seed: int = 0
    measure_every: int = 1
    precision: Literal["float32", "float64"] = "float32"

    def check(self) -> None:
        """Refuse impossible schedules and rates, and a view or data that do not fit the start."""
        positive = ("epochs", "hidden", "measure_every")
        for name in positive:
            self._allow(name, getattr(self, name) >= 1, "1 or more")
        for name in ("learning_rate", "minimum_learning_rate", "weight_decay", "seed", "subset_seed"):
            self._allow(name, getattr(self, name) >= 0, "0 or more")
        for name in ("drop_path", "dropout", "label_smoothing"):
            self._allow(name, 0 <= getattr(self, name) < 1, "in [0, 1)")
        for name in ("crop", "layer_decay", "label_fraction"):
            self._allow(name, 0 < getattr(self, name) <= 1, "in (0, 1]")
        self._allow("warmup_epochs", 0 <= self.warmup_epochs <= self.epochs, f"0 to {self.epochs}, the epochs")
        self._allow("batch_size", self.batch_size >= 2, "2 or more (BatchNorm)")
        whole = self.label_fraction == 1
        self._allow("subset", not whole or self.subset == "published", "'published' with a label_fraction of 1")
        self._allow("subset_seed", not whole or self.subset_seed == 0, "0 with a label_fraction of 1")
        joints = self.start.encoder_shape().joints
        if self.data.joints != joints:
            raise ValueError(f"FineTune.data has {self.data.joints} joints; allowed: the start's {joints}")
        patch = self.start.encoder_shape().patch
        fits = self.view.frames % patch == 0 and self.view.frames >= 2 * patch
        if not fits:
            allowed = f"a multiple of the start's patch of {patch}, at least twice it"
            raise ValueError(f"FineTune.view.frames is {self.view.frames}; allowed: {allowed}")

    def _allow(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise ValueError(f"FineTune.{name} is {getattr(self, name)!r}; allowed: {allowed}")

    def trains(self) -> bool:
        """Several workers may share it."""
        return True

    def encoder_shape(self) -> EncoderShape:
        """The start's sizes, at the view's number of frames."""
        return replace(self.start.encoder_shape(), frames=self.view.frames)

    def labelled(self, parts: Split) -> Int64[Tensor, " sample"]:
        """Rows of the store that are trained on."""
        if self.label_fraction == 1:
            return torch.from_numpy(parts.train)
        if self.subset == "balanced":
            chosen = subsets.balanced(parts.labels[parts.train], self.label_fraction, self.subset_seed)
        else:
            chosen = subsets.shuffled(len(parts.train), self.label_fraction, self.subset_seed)
        return torch.from_numpy(parts.train[chosen])

    def begin(self, folder: Path, device: torch.device) -> Encoder:
        """The start's encoder, its table of times resized to the view.

        Args:
            folder: the start's output.
            device: where it is to live.
        """
        start = load_encoder(folder, self.start.encoder_shape(), device, DTYPES[self.precision])
        shape = self.encoder_shape()
        if shape == start.shape:
            return start
        resized = Encoder(shape).to(device=device, dtype=DTYPES[self.precision])
        times = resize_times(start.temp_embed.detach(), shape.segments)
        resized.load_state_dict({**start.state_dict(), "temp_embed": times})
        return resized

    def classifier(self, num_classes: int) -> Classifier:
        """The classifier as it starts, in single precision on the CPU."""
        shape = self.encoder_shape()
        classifier = Classifier(shape.joints * shape.width, self.hidden, num_classes)
        classifier.start(draws.generator(self.seed, 0, "classifier"))
        return classifier

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves numbers, predictions with logits, `encoder.safetensors`, `classifier.safetensors`, `curve.parquet`.

        Raises:
            ValueError: fewer labelled samples than a batch, or a batch that the workers do not divide.
        """
        packed = Packed.open(inputs["data"])
        parts = split(self.data, packed)
        encoder = self.begin(inputs["start"], runtime.device)
        classifier = self.classifier(parts.num_classes).to(device=runtime.device, dtype=DTYPES[self.precision])
        task = FineTuning(self, encoder, classifier, parts, runtime)
        losses = fit(task, runtime)
        logits = task.conclude().cpu()
        if runtime.rank == 0:
            write_numbers(out, self._numbers(task.hits(), parts))
            write_predictions(
                out,
                torch.from_numpy(parts.measured),
                torch.from_numpy(parts.labels[parts.measured]),
                {"predicted": logits.argmax(dim=1)},
                class_names=parts.class_names,
                scores=Scores("logits", logits),
            )
            save_tensors(out / ENCODER_FILE, encoder.state_dict())
            save_tensors(out / CLASSIFIER_FILE, classifier.state_dict())
            write_curve(out, losses, task.steps_per_epoch)

    def _numbers(self, hits: Mapping[int, int], parts: Split) -> list[Number]:
        """The last epoch's, then the best epoch's: the first of several equally good ones.

        Args:
            hits: right answers by epoch, from 1.
            parts: what they are about.
        """
        count = len(parts.measured)
        last = Number(
            split=parts.measured_name,
            probe="finetune",
            feature="joint means",
            k=None,
            metric="accuracy",
            value=hits[self.epochs] / count,
            count=count,
            epoch=self.epochs,
        )
        best = max(hits, key=lambda epoch: (hits[epoch], -epoch))
        return [last, replace(last, selected_on=parts.measured_name, epoch=best, value=hits[best] / count)]


def load_classifier(folder: Path, device: torch.device, dtype: torch.dtype) -> Classifier:
    """The classifier that a `FineTune` left in its output folder, in evaluation mode; `FineTune.data` names classes."""
    state = load_file(folder / CLASSIFIER_FILE)
    hidden, joint_width = state["fc1.weight"].shape
    classifier = Classifier(joint_width, hidden, len(state["fc2.weight"])).to(device=device, dtype=dtype)
    classifier.load_state_dict(state)
    return classifier.eval()
