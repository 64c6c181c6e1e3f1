"""Jitter: every coordinate of every joint is moved a little, by itself."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from stars.augmentations.augmentation import Occasional

_BITS = 52  # with so many random bits, a half added to them is exact in double precision, and never makes 0 or 1


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Occasional):
    """Add independent normal noise to every coordinate (published code, augmentation 3).

    The published code adds noise to the absent body too; `augment` keeps that at zero.

    Attributes:
        probability: that a sample is disturbed, from 0 to 1.
        deviation: standard deviation in the unit of the coordinates (metres), 0 or more.
    """

    deviation: float = 0.01

    def check(self) -> None:
        """Refuse what is no probability and no deviation."""
        super().check()
        if self.deviation < 0:
            raise ValueError(f"GaussianNoise.deviation is {self.deviation}; allowed: 0 or more")

    def draw_change(
        self,
        batch_size: int,
        frames: int,
        generator: torch.Generator,
    ) -> Mapping[str, Tensor]:
        """`key`, (batch,): what the noise of a sample is computed from, 63 random bits.

        Drawing the noise itself would cost every worker the noise of all the others' samples, on the CPU.
        """
        return {"key": torch.randint(2**63 - 1, (batch_size,), generator=generator)}

    def change(
        self, x: Float[Tensor, "batch body time joint 3"], draws: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch body time joint 3"]:
        """Every sample disturbed."""
        noise = normal(draws["key"].to(x.device), x[0].numel()).view_as(x)
        return x + (self.deviation * noise).to(x.dtype)


def normal(keys: Int64[Tensor, " batch"], count: int) -> Float[Tensor, "batch count"]:
    """Standard normal numbers in double precision that depend on the key and the place alone.

    The quantile of 52 bits of SplitMix64 (Steele, Lea & Flood 2014) at position 1, 2, … of the stream that starts at
    the key.
    """
    position = torch.arange(1, count + 1, device=keys.device)
    bits = keys[:, None] + position * _signed(0x9E3779B97F4A7C15)
    bits = (bits ^ _shifted(bits, 30)) * _signed(0xBF58476D1CE4E5B9)
    bits = (bits ^ _shifted(bits, 27)) * _signed(0x94D049BB133111EB)
    bits = bits ^ _shifted(bits, 31)
    uniform = (_shifted(bits, 64 - _BITS).double() + 0.5) / 2**_BITS
    quantile: Tensor = torch.special.ndtri(uniform)
    return quantile


def _signed(unsigned: int) -> int:
    """The 64-bit number with the same bits: torch has no unsigned arithmetic, and its products wrap alike."""
    return unsigned - (unsigned >> 63 << 64)


def _shifted(bits: Int64[Tensor, "batch count"], by: int) -> Int64[Tensor, "batch count"]:
    """Shifted to the right with zeros coming in, not copies of the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
