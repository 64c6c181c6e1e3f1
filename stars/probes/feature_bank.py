"""A bank of features: several random crops of every training sequence, each encoded once.

A classifier that draws one of them in every epoch comes near to fresh crops through the frozen encoder, at the price of
a few passes over the data instead of one an epoch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from stars.data.batches import Clips, View
from stars.data.dataset import split
from stars.data.packed import Packed
from stars.encoders import load_encoder
from stars.pretrain import DTYPES
from stars.probes.features import Features, Part, encoded, write_features
from stars.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class FeatureBank(Features):
    """Pooled features of several crops of every training sequence, and of one centre crop of what is measured on.

    The training part's file holds crop after crop: all samples in the protocol's order as the first crop shows them,
    then all as the second does, each with its row.

    Attributes:
        encoder, data, precision: see `Features`.
        crop: that of the part that is measured on.
        view: how a training sequence is cropped and rotated.
        num_crops: how often each training sequence is looked at.
        seed: of crops and rotations.
    """

    view: View
    num_crops: int
    seed: int

    def check(self) -> None:
        """Refuse also a view that is the same every time or does not fit the encoder."""
        super().check()
        if self.num_crops < 1:
            raise ValueError(f"FeatureBank.num_crops is {self.num_crops}; allowed: 1 or more")
        if self.seed < 0:
            raise ValueError(f"FeatureBank.seed is {self.seed}; allowed: 0 or more")
        if not self.view.is_random:
            raise ValueError(f"FeatureBank.view is {self.view}; allowed: a random one, otherwise all crops are one")
        frames = self.encoder.encoder_shape().frames
        if self.view.frames != frames:
            raise ValueError(f"FeatureBank.view.frames is {self.view.frames}; allowed: the encoder's {frames}")

    def feature_name(self) -> str:
        """Pooled, of so many crops."""
        return f"pooled of {self.num_crops} crops"

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `features.safetensors`, as `Features` does."""
        packed = Packed.open(inputs["data"])
        parts = split(self.data, packed)
        dtype, shape = DTYPES[self.precision], self.encoder.encoder_shape()
        encoder = load_encoder(inputs["encoder"], shape, runtime.device, dtype).eval()
        clips = Clips(packed, runtime.device, dtype, **self.data.filling())
        train, measured = (torch.from_numpy(rows) for rows in (parts.train, parts.measured))
        crops = [
            encoded(encoder, clips, train, self.view, seed=self.seed, purpose=f"crop {number}")
            for number in range(self.num_crops)
        ]
        # What is measured on is looked at as the training part is, but for chance.
        centre = View(frames=shape.frames, crop=(self.crop,), stream=self.view.stream)
        found = {
            "train": Part(features=torch.cat(crops), rows=train.repeat(self.num_crops)),
            parts.measured_name: Part(features=encoded(encoder, clips, measured, centre), rows=measured),
        }
        if runtime.rank == 0:
            write_features(out, found, self.feature_name())
