"""The frozen half's output: computed once per checkpoint and data set, shared by every tuning above it.

Where a tuning looks at whole sequences without chance, what enters its tuned blocks never changes. For NTU-60 at full
size it takes 37 GB; for data sets of hundreds of sequences a few megabytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from stars.data.batches import Clips, View, draw, views
from stars.data.dataset import Data, split
from stars.data.packed import Packed
from stars.encoders import EncoderStage, load_encoder
from stars.model.halves import Halfway, lower_half
from stars.pretrain import DTYPES
from stars.runtime import Runtime
from stars.stage import Stage

TOKENS_FILE, PLACES_FILE = "tokens.npy", "places.npy"
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class FrozenHalf(Stage):
    """What an encoder's lower blocks make of the training part of a data set.

    Attributes:
        start: whose blocks.
        data: of which sequences: the training part under the data's protocol.
        view: how they are looked at, without chance.
        blocks: how many blocks, from the first.
        precision: of the arithmetic and of what is stored.
    """

    start: EncoderStage
    data: Data
    view: View
    blocks: int
    precision: Literal["float32", "float64"] = "float32"

    def check(self) -> None:
        """Refuse a view of chance, and blocks that the encoder has not."""
        depth = self.start.encoder_shape().depth
        if self.view.is_random:
            raise ValueError(
                f"FrozenHalf.view is {self.view}; allowed: one without random crop, rotation, augmentation"
            )
        if not 1 <= self.blocks <= depth:
            raise ValueError(f"FrozenHalf.blocks is {self.blocks}; allowed: 1 to {depth}")

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `tokens.npy`, a row for every body and last one for all absent ones, and `places.npy`.

        `places.npy` says for every sample of the store which row is each of its bodies; -1 outside the training part.
        """
        packed = Packed.open(inputs["data"])
        shape, dtype = self.start.encoder_shape(), DTYPES[self.precision]
        encoder = load_encoder(inputs["start"], shape, runtime.device, dtype).eval()
        clips = Clips(packed, runtime.device, dtype, **self.data.filling())
        rows = torch.from_numpy(split(self.data, packed).train)
        places = np.full((packed.manifest.num_samples, 2), -1, np.int64)
        spans = clips.spans[rows.to(clips.spans.device)]
        num_bodies = int((spans[:, :, 1] > 0).sum())
        numbers = np.dtype(str(dtype).removeprefix("torch."))
        tokens = np.lib.format.open_memmap(
            out / TOKENS_FILE, mode="w+", dtype=numbers, shape=(num_bodies + 1, shape.tokens, shape.width)
        )
        filled = 0
        for some in torch.split(rows, _BATCH):
            x = views(clips, some, self.view, draw(self.view, clips.valid[some], None))
            halfway = lower_half(encoder, x, self.blocks)
            held = halfway.tokens[:-1].cpu().numpy()
            of_body = halfway.row_of_body.cpu().numpy()
            tokens[filled : filled + len(held)] = held
            places[some.numpy()] = np.where(of_body < len(held), filled + of_body, num_bodies)
            filled += len(held)
            tokens[num_bodies] = halfway.tokens[-1].cpu().numpy()
        tokens.flush()
        np.save(out / PLACES_FILE, places)


class StoredHalf:
    """A frozen half's output, mapped from its file."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Open what a `FrozenHalf` left."""
        # Torch insists on memory that it might write to; this is private to the process, and never written.
        self.tokens = torch.from_numpy(np.load(folder / TOKENS_FILE, mmap_mode="c"))
        self.places = torch.from_numpy(np.load(folder / PLACES_FILE))
        self.device = device

    def halfway(self, rows: Int64[Tensor, " batch"]) -> Halfway:
        """A batch between the halves, as `lower_half` gives it.

        Args:
            rows: of the samples in the packed store, all of the training part.

        Raises:
            ValueError: a sample outside it.
        """
        used, row_of_body = torch.unique(self.places[rows], return_inverse=True)
        if used[0] < 0:
            raise ValueError("a sample has no frozen half; allowed: samples of the training part that it was made from")
        return Halfway(self.tokens[used].to(self.device), row_of_body.to(self.device))
