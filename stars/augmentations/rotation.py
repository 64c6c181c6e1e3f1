"""A turn about the origin, large about one axis and small about the others."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stars.augmentations.augmentation import Augmentation
from stars.data.batches import rotate


@dataclass(frozen=True, kw_only=True)
class Rotation(Augmentation):
    """Turn every sample by angles drawn uniformly, about x, then y, then z (published code, augmentation 2).

    One of the three axes, drawn for each sample, is the main one. `View.rotation` is the other rotation of the
    published code: the same limit about all axes, both signs.

    Attributes:
        largest: limit of the angle about the main axis in radians, from 0 to pi; published: 30 degrees.
        other: limit of the angles about the two other axes in radians, from 0 to pi; published: 1 degree.
        both_signs: draw from both sides of zero; the published code draws no negative angle.
    """

    largest: float = math.radians(30)
    other: float = math.radians(1)
    both_signs: bool = False

    def check(self) -> None:
        """Refuse what is no angle."""
        for name, limit in (("largest", self.largest), ("other", self.other)):
            if not 0 <= limit <= math.pi:
                raise ValueError(f"Rotation.{name} is {limit}; allowed: from 0 to pi")

    def draw(self, batch_size: int, frames: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """`angles`, (batch, 3): about x, y and z in radians, double precision."""
        main = torch.randint(3, (batch_size, 1), generator=generator)
        part = torch.rand(batch_size, 3, generator=generator, dtype=torch.float64)
        if self.both_signs:
            part = 2 * part - 1
        limits = torch.full((batch_size, 3), self.other, dtype=torch.float64).scatter_(1, main, self.largest)
        return {"angles": part * limits}

    def apply(
        self, x: Float[Tensor, "batch body time joint 3"], draws: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch body time joint 3"]:
        """Every sample turned, by the same angles in all its frames and for both bodies."""
        return rotate(x, draws["angles"])
