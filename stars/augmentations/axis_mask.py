"""One coordinate hidden: the body seen as its shadow on a wall or on the floor."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stars.augmentations.augmentation import Occasional


@dataclass(frozen=True, kw_only=True)
class AxisMask(Occasional):
    """Set one of the three coordinates, drawn for each sample, to 0 everywhere (published code, augmentation 5).

    Attributes:
        probability: that a sample loses a coordinate, from 0 to 1.
    """

    def draw_change(
        self,
        batch_size: int,
        frames: int,
        generator: torch.Generator,
    ) -> Mapping[str, Tensor]:
        """`axis`, (batch,): which coordinate, 0 to 2."""
        return {"axis": torch.randint(3, (batch_size,), generator=generator)}

    def change(
        self, x: Float[Tensor, "batch body time joint 3"], draws: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch body time joint 3"]:
        """Every sample without its axis."""
        hidden = draws["axis"].to(x.device)[:, None] == torch.arange(3, device=x.device)
        return x.masked_fill(hidden[:, None, None, None, :], 0)
