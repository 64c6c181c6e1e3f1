"""Motion smoothed in time."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stars.augmentations.augmentation import Occasional


@dataclass(frozen=True, kw_only=True)
class GaussianBlur(Occasional):
    """Convolve every coordinate in time with a Gaussian whose width is drawn (published code, augmentation 4).

    The published kernel exp(-d²/2σ²), d in frames, does not sum to one: it enlarges the body, up to fivefold at the
    largest width. Frames beyond the ends count as zeros. The published code runs on double precision only.

    Attributes:
        probability: that a sample is smoothed, from 0 to 1.
        kernel: width of the kernel in frames, odd.
        sigma: smallest and largest standard deviation σ in frames; drawn uniformly between them.
        normalised: divide by the sum of the weights that lie in the sequence: what rests stays in its place. The
            published kernel is not normalised.
    """

    kernel: int = 15
    sigma: tuple[float, float] = (0.1, 2.0)
    normalised: bool = False

    def check(self) -> None:
        """Refuse what is no probability, an even kernel, and widths that are not positive or do not ascend."""
        super().check()
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise ValueError(f"GaussianBlur.kernel is {self.kernel}; allowed: an odd number of frames")
        if not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"GaussianBlur.sigma is {self.sigma}; allowed: two positive numbers that ascend")

    def draw_change(
        self,
        batch_size: int,
        frames: int,
        generator: torch.Generator,
    ) -> Mapping[str, Tensor]:
        """`sigma`, (batch,): in frames, double precision."""
        low, high = self.sigma
        return {"sigma": torch.rand(batch_size, generator=generator, dtype=torch.float64) * (high - low) + low}

    def change(
        self, x: Float[Tensor, "batch body time joint 3"], draws: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch body time joint 3"]:
        """Every sample smoothed."""
        frame = torch.arange(x.shape[2], device=x.device)
        distance = (frame[:, None] - frame).abs()
        # One banded matrix per sample instead of a convolution: widths differ, and the ends need no padding.
        sigma = draws["sigma"].to(device=x.device, dtype=torch.float64)
        weights = torch.exp(-((distance / sigma[:, None, None]) ** 2) / 2) * (distance <= self.kernel // 2)
        if self.normalised:
            weights = weights / weights.sum(dim=2, keepdim=True)
        smooth = weights[:, None] @ x.flatten(3).double()
        return smooth.to(x.dtype).view_as(x)
