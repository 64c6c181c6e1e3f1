"""Left and right exchanged: the body in a mirror."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stars.augmentations.augmentation import Occasional
from stars.data.layouts import layout
from stars.data.packed import JOINT_LAYOUT


@dataclass(frozen=True, kw_only=True)
class SpatialFlip(Occasional):
    """Negate the first coordinate and exchange the joints of the two sides (published code, augmentation 1).

    The mirror is the plane x = 0 of the coordinates as they are: through the first spine joint after the published
    preprocessing, and not turned with the person.

    Attributes:
        probability: that a sample is mirrored, from 0 to 1.
        layout: name of the joint layout, which says what is left and what is right.
    """

    layout: str = JOINT_LAYOUT

    def check(self) -> None:
        """Refuse what is no probability and no layout."""
        super().check()
        layout(self.layout)

    def change(
        self,
        x: Float[Tensor, "batch body time joint 3"],
        draws: Mapping[str, Tensor],
    ) -> Float[Tensor, "batch body time joint 3"]:
        """Every sample in the mirror.

        Raises:
            ValueError: the batch has another number of joints than the layout.
        """
        mirrored = layout(self.layout).mirrored()
        if x.shape[3] != len(mirrored):
            raise ValueError(
                f"SpatialFlip.layout is {self.layout!r} ({len(mirrored)} joints); allowed: "
                f"a layout of {x.shape[3]} joints, as the batch has"
            )
        signs = torch.tensor([-1, 1, 1], dtype=x.dtype, device=x.device)
        return x.index_select(3, torch.tensor(mirrored, device=x.device)) * signs
