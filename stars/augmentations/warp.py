"""Time stretched here and skipped there, in waves."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from stars.augmentations.augmentation import Occasional


@dataclass(frozen=True, kw_only=True)
class TimeWarp(Occasional):
    """Repeat every frame in proportion to a rectified sine or cosine over time (published code, augmentation 7).

    Attributes:
        probability: that a sample is warped, from 0 to 1; the published code warps all.
        half_waves: fewest and most half waves over the sequence, 1 or more; drawn uniformly, both included.
    """

    probability: float = 1.0
    half_waves: tuple[int, int] = (1, 16)

    def check(self) -> None:
        """Refuse what is no probability, and numbers of waves that are not positive or do not ascend."""
        super().check()
        if not 1 <= self.half_waves[0] <= self.half_waves[1]:
            raise ValueError(f"TimeWarp.half_waves is {self.half_waves}; allowed: two whole numbers from 1 that ascend")

    def draw_change(self, batch_size: int, frames: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """`source`, (batch, frames): the frame that stands at every frame.

        Computed here, on the CPU: which way a count is rounded would depend on the device.
        """
        fewest, most = self.half_waves
        half_waves = torch.randint(fewest, most + 1, (batch_size,), generator=generator)
        cosine = torch.randint(2, (batch_size,), generator=generator).bool()
        lot = torch.rand(batch_size, frames, generator=generator, dtype=torch.float64)
        return {"source": warped(half_waves, cosine, lot)}

    def change(
        self, x: Float[Tensor, "batch body time joint 3"], draws: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch body time joint 3"]:
        """Every sample warped."""
        return torch.take_along_dim(x, draws["source"].to(x.device)[:, None, :, None, None], dim=2)


def warped(
    half_waves: Int64[Tensor, " batch"], cosine: Bool[Tensor, " batch"], lot: Float[Tensor, "batch time"]
) -> Int64[Tensor, "batch time"]:
    """Which frame stands at every frame of the warped sequence, ascending (published code).

    A frame is repeated as often as its share of the wave, rounded, says. Rounding may leave the total too large or too
    small: then as many frames as needed, chosen by lot, are repeated once less (of those that occur) or occur once (of
    those that do not; there are enough for any sequence of up to 300 frames and 32 half waves). One frame stays.

    Args:
        half_waves: over the sequence, from its first frame to its last.
        cosine: start at the crest of the wave instead of at its zero.
        lot: frames with the smallest are chosen first; from 0 to 1.
    """
    frames = lot.shape[1]
    if frames == 1:
        return torch.zeros_like(lot, dtype=torch.int64)
    # In numpy, as published: some shares lie midway between two counts, and the last bit decides.
    phase = np.ascontiguousarray(np.linspace(0, half_waves.numpy() * np.pi, frames, axis=1))
    wave = np.abs(np.where(cosine.numpy()[:, None], np.cos(phase), np.sin(phase)))
    counts = torch.from_numpy(np.round(wave / wave.sum(axis=1, keepdims=True) * frames)).long()
    missing = frames - counts.sum(dim=1, keepdim=True)
    eligible = torch.where(missing < 0, counts > 0, counts == 0)
    rank = (lot + torch.where(eligible, 0, 2)).argsort(dim=1).argsort(dim=1)
    counts += missing.sign() * (rank < missing.abs())
    # The frame at a place is the number of frames whose repetitions end at it or before.
    place = torch.arange(frames).expand(len(lot), -1).contiguous()
    return torch.searchsorted(counts.cumsum(dim=1), place, right=True)
