"""Features: the pooled vector of every sequence, once per checkpoint and data set, for every probe that reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from safetensors.torch import load_file
from torch import Tensor

from stars import draws
from stars.data.batches import Clips, View, draw, views
from stars.data.dataset import Data, Split, split
from stars.data.packed import Packed
from stars.encoders import EncoderStage, load_encoder, save_tensors
from stars.model.encoder import Encoder, distinct_rows
from stars.outcome import StoreError
from stars.pretrain import DTYPES
from stars.runtime import Runtime
from stars.stage import Stage

FEATURES_FILE = "features.safetensors"
_ROWS = "rows"
# Samples that are encoded together, and drawn for together: of the latter the numbers depend.
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class FeatureStage(Stage):
    """A stage that leaves one vector for each sample of a data set: what most probes read, by `read_both`.

    Its output holds `features.safetensors`: the vectors, under the feature's name, and the samples' rows in the packed
    store; by part (`train`, and `test` or `val`), or of `all` samples. Labels are the reading probe's business.
    """

    def check_data(self, probe: str, data: Data) -> None:
        """Refuse the data that a probe takes its labels from, where these features are not of them.

        Args:
            probe: its class, for the message.
            data: what gives the labels. Their rule counts for nothing, so that one training serves every rule.

        Raises:
            ValueError: another data set, protocol or choice of samples.
        """
        raise NotImplementedError(type(self).__name__)

    def feature_name(self) -> str:
        """Which vector it is, as rows call it."""
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True, kw_only=True)
class Features(FeatureStage):
    """The encoder's pooled output for the training part of a data set and for the part that is measured on.

    Attributes:
        encoder: whose output.
        data: of which sequences.
        crop: length of the centre crop as a fraction of the valid frames, in (0, 1].
        precision: of the arithmetic.
    """

    encoder: EncoderStage
    data: Data
    crop: float
    precision: Literal["float32", "float64"] = "float32"

    def check(self) -> None:
        """Refuse an impossible crop."""
        if not 0 < self.crop <= 1:
            raise ValueError(f"Features.crop is {self.crop}; allowed: in (0, 1]")

    def check_data(self, probe: str, data: Data) -> None:
        """Refuse all but what is encoded."""
        wanted = replace(self.data, label_rule=data.label_rule)
        if data != wanted:
            raise ValueError(f"{probe}.data is {data}; allowed: that of the features, {wanted}")

    def feature_name(self) -> str:
        """Pooled."""
        return "pooled"

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `features.safetensors`."""
        packed = Packed.open(inputs["data"])
        parts = split(self.data, packed)
        dtype, shape = DTYPES[self.precision], self.encoder.encoder_shape()
        encoder = load_encoder(inputs["encoder"], shape, runtime.device, dtype).eval()
        clips = Clips(packed, runtime.device, dtype, **self.data.filling())
        view = View(frames=shape.frames, crop=(self.crop,))
        found = {}
        for name, numbers in parts.parts().items():
            rows = torch.from_numpy(numbers)
            found[name] = Part(features=encoded(encoder, clips, rows, view), rows=rows)
        if runtime.rank == 0:
            write_features(out, found, self.feature_name())


@dataclass(frozen=True, eq=False)
class Part:
    """Features of one part of a data set, and the rows of the packed store that they belong to."""

    features: Float[Tensor, "sample width"]
    rows: Int[Tensor, " sample"]


@torch.inference_mode()
def encoded(
    encoder: Encoder, clips: Clips, rows: Int64[Tensor, " sample"], view: View, *, seed: int = 0, purpose: str = ""
) -> Float[Tensor, "sample width"]:
    """Pooled features of samples, on the CPU.

    Args:
        encoder: in evaluation mode.
        clips: where sequences are cut from.
        rows: of the samples in the store.
        view: how they are looked at.
        seed: of what is random about it.
        purpose: distinguishes several draws from one seed.
    """
    found = []
    for number, some in enumerate(torch.split(rows, _BATCH)):
        generator = draws.generator(seed, number, purpose) if view.is_random else None
        found.append(_pooled(encoder, views(clips, some, view, draw(view, clips.valid[some], generator))).cpu())
    return torch.cat(found)


def _pooled(encoder: Encoder, x: Float[Tensor, "batch body=2 time joint 3"]) -> Float[Tensor, "batch width"]:
    """What the encoder gives, where a second body that copies the first (NTU-120) is not encoded again."""
    is_copy = (x[:, 0] == x[:, 1]).flatten(1).all(dim=1)
    first, second = x.unbind(dim=1)
    rows, row_of_body = distinct_rows(torch.stack((first, second.masked_fill(is_copy[:, None, None, None], 0)), dim=1))
    row_of_body[is_copy, 1] = row_of_body[is_copy, 0]
    per_row = encoder.encode(encoder.embed(rows)).mean(dim=1)
    return per_row[row_of_body].mean(dim=1)


def write_features(folder: Path, parts: Mapping[str, Part], name: str) -> None:
    """Leave features in a stage's output folder.

    Args:
        folder: of the output.
        parts: `train`, and `test` or `val`; or `all`.
        name: of the feature, as `FeatureStage.feature_name` gives it.
    """
    state = {}
    for part, found in parts.items():
        state[f"{part}/{name}"], state[f"{part}/{_ROWS}"] = found.features, found.rows
    save_tensors(folder / FEATURES_FILE, state)


def read_parts(folder: Path) -> dict[str, Part]:
    """What a `FeatureStage` wrote, by part, whatever the feature is called.

    Raises:
        StoreError: a part is not rows and one feature.
    """
    state = load_file(folder / FEATURES_FILE)
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        part, _, name = key.partition("/")
        parts.setdefault(part, {})[name] = tensor
    found = {}
    for part, held in parts.items():
        rows = held.pop(_ROWS, None)
        if rows is None or len(held) != 1:
            raise StoreError(f"{folder / FEATURES_FILE}: holds {sorted(state)}; allowed: rows and one feature a part")
        found[part] = Part(features=next(iter(held.values())), rows=rows)
    return found


def read_features(folder: Path, part: Literal["train", "val", "test"]) -> Part:
    """One part of what a `FeatureStage` wrote. Raises StoreError when it is not there."""
    parts = read_parts(folder)
    if part not in parts:
        raise StoreError(f"{folder / FEATURES_FILE}: holds {', '.join(sorted(parts))}; {part} is needed")
    return parts[part]


def read_both(folder: Path, parts: Split) -> tuple[Part, Part]:
    """Features to learn from, and those to measure on.

    Args:
        folder: output of a `FeatureStage`.
        parts: of the data that the reading probe is about.

    Raises:
        ValueError: they are of other samples than the data's. Each must be there, in any order; several features of
            one training sample (of several crops) may be.
    """
    held = read_parts(folder)
    if "all" in held:
        held = {name: _chosen(folder, held["all"], rows, parts) for name, rows in parts.parts().items()}
    for name, rows in parts.parts().items():
        found = held[name].rows if name in held else torch.empty(0, dtype=torch.int64)
        once = torch.from_numpy(np.unique(found)) if name == "train" else found.sort().values
        if not torch.equal(once, torch.from_numpy(np.sort(rows))):
            raise ValueError(
                f"{folder / FEATURES_FILE} has the features of {len(once)} {name} samples, which are not the "
                f"{len(rows)} of {parts.data.name} under {parts.data.protocol}; allowed: features of exactly these"
            )
    return held["train"], held[parts.measured_name]


def _chosen(folder: Path, held: Part, rows: Int64[np.ndarray, " sample"], parts: Split) -> Part:
    """Of features of any samples those of some. Raises ValueError naming one that is not there."""
    place = torch.full((len(parts.labels),), -1, dtype=torch.int64)
    place[held.rows] = torch.arange(len(held.rows))
    wanted = torch.from_numpy(rows)
    absent = wanted[place[wanted] < 0].tolist()
    if absent:
        raise ValueError(
            f"{folder / FEATURES_FILE} has no features of {len(absent)} samples of {parts.data.name}, the first "
            f"{parts.packed.names[absent[0]]}; allowed: features of all {len(rows)}"
        )
    return Part(features=held.features[place[wanted]], rows=wanted)
