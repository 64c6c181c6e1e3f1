"""Time backwards."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from stars.augmentations.augmentation import Occasional


@dataclass(frozen=True, kw_only=True)
class TimeReversal(Occasional):
    """The last frame first (published code, augmentation 6).

    Attributes:
        probability: that a sample runs backwards, from 0 to 1.
    """

    def change(
        self,
        x: Float[Tensor, "batch body time joint 3"],
        draws: Mapping[str, Tensor],
    ) -> Float[Tensor, "batch body time joint 3"]:
        """Every sample backwards."""
        return x.flip(2)
