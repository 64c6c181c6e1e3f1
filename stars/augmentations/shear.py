"""A linear deformation: each coordinate leans by a part of the two others."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stars.augmentations.augmentation import Augmentation


@dataclass(frozen=True, kw_only=True)
class Shear(Augmentation):
    """Multiply every joint but one by a matrix with ones on its diagonal (published code, shear).

    With draws s and t, each of three numbers: x' = [[1, s0, t0], [s1, 1, t1], [s2, t2, 1]] x.

    The published code also sets `kept_joint` to 0 in its input, so that in a feeder of several views all but the first
    see it at the origin. That is no property of one view, and is not repeated here.

    Attributes:
        amplitude: limit of the six draws, which are uniform in both signs; 0 or more, without unit. 0 changes nothing.
        kept_joint: 0-based joint that stays where it is (published: 20, between the shoulders); None shears all.
    """

    amplitude: float = 0.5
    kept_joint: int | None = 20

    def check(self) -> None:
        """Refuse a negative amplitude or joint."""
        if self.amplitude < 0:
            raise ValueError(f"Shear.amplitude is {self.amplitude}; allowed: 0 or more")
        if self.kept_joint is not None and self.kept_joint < 0:
            raise ValueError(f"Shear.kept_joint is {self.kept_joint}; allowed: 0 or more, or None")

    def draw(self, batch_size: int, frames: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """`factors`, (batch, 2, 3): s and t, double precision."""
        uniform = torch.rand(batch_size, 2, 3, generator=generator, dtype=torch.float64)
        return {"factors": (2 * uniform - 1) * self.amplitude}

    def apply(
        self, x: Float[Tensor, "batch body time joint 3"], draws: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch body time joint 3"]:
        """Every sample sheared, by the same matrix in all its frames and for both bodies.

        Raises:
            ValueError: the batch has no joint of the number `kept_joint`.
        """
        if self.kept_joint is not None and self.kept_joint >= x.shape[3]:
            raise ValueError(f"Shear.kept_joint is {self.kept_joint}; allowed: below {x.shape[3]}, the batch's joints")
        (s0, s1, s2), (t0, t1, t2) = draws["factors"].double().permute(1, 2, 0)
        one = torch.ones_like(s0)
        matrix = torch.stack([one, s0, t0, s1, one, t1, s2, t2, one], dim=1).view(-1, 3, 3).to(x.device)
        # In double precision as published; a GPU may also make products of single precision in TF32.
        sheared = (x.flatten(1, 3).double() @ matrix.mT).to(x.dtype).view_as(x)
        if self.kept_joint is not None:
            sheared[:, :, :, self.kept_joint] = x[:, :, :, self.kept_joint]
        return sheared
