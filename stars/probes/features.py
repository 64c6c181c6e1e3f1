"""Features: the pooled vector of every sequence, once per checkpoint and data set."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor

from stars.data.batches import Clips, View, draw, views
from stars.data.dataset import Data, split
from stars.data.packed import Packed
from stars.encoders import EncoderStage, load_encoder, save_tensors
from stars.pretrain import DTYPES
from stars.runtime import Runtime
from stars.stage import Stage

FEATURES_FILE = "features.safetensors"
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class Features(Stage):
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

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `features.safetensors`: features and rows of both parts. Labels are the reading probe's business."""
        packed = Packed.open(inputs["data"])
        parts = split(self.data, packed)
        dtype = DTYPES[self.precision]
        encoder = load_encoder(inputs["encoder"], self.encoder.encoder_shape(), runtime.device, dtype).eval()
        clips = Clips(packed, runtime.device, dtype, **self.data.filling())
        view = View(frames=self.encoder.encoder_shape().frames, crop=(self.crop,))
        state = {}
        for part, numbers in parts.parts().items():
            rows = torch.from_numpy(numbers)
            state[f"{part}/rows"] = rows
            pooled = []
            with torch.inference_mode():
                for some in torch.split(rows, _BATCH):
                    x = views(clips, some, view, draw(view, clips.valid[some], None))
                    pooled.append(encoder(x).cpu())
            state[f"{part}/pooled"] = torch.cat(pooled)
        if runtime.rank == 0:
            save_tensors(out / FEATURES_FILE, state)


@dataclass(frozen=True)
class Part:
    """Features of one part of a data set, in the protocol's row order."""

    features: Float[Tensor, "sample width"]
    rows: Int[Tensor, " sample"]


def read_features(folder: Path, part: Literal["train", "val", "test"]) -> Part:
    """What a `Features` stage wrote."""
    state = load_file(folder / FEATURES_FILE)
    return Part(features=state[f"{part}/pooled"], rows=state[f"{part}/rows"])
