"""What an augmentation is: a value that draws for the global batch and then changes a batch as one tensor operation.

An augmentation is one file beside this one. It never loops over samples, and a sample's change depends on nothing but
the sample and its own draws, so that neither the device nor the number of workers changes what a sample becomes.

Shapes: x is (batch, body 2, time, joint, 3), already cut and resampled; coordinates x, y, z in metres.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from stars.stage import Value

DICE = "dice"
"""Name of the draw that decides whether a sample is changed: uniform in [0, 1), changed where below `probability`."""


@dataclass(frozen=True, kw_only=True)
class Augmentation(Value):
    """Base of all augmentations; `View.augmentations` takes any, in the order in which they are applied."""

    def draw(self, batch_size: int, frames: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """What is random, for the global batch.

        Args:
            batch_size: samples of all workers together.
            frames: of the clips that will be changed.
            generator: on the CPU, whatever the device.

        Returns:
            Tensors on the CPU by name. The first dimension is the batch: a worker's share is a slice.
        """
        raise NotImplementedError(type(self).__name__)

    def apply(
        self, x: Float[Tensor, "batch body time joint 3"], draws: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch body time joint 3"]:
        """The changed batch, of the dtype and on the device of `x`.

        Products are to be made in double precision: autocast and TF32, which would err by centimetres and millimetres,
        leave it alone.

        Args:
            x: left as it is.
            draws: of these samples, as `draw` made them; on any device.
        """
        raise NotImplementedError(type(self).__name__)


@dataclass(frozen=True, kw_only=True)
class Occasional(Augmentation):
    """Base of the augmentations that change a sample or leave it, by a throw of the dice.

    Attributes:
        probability: that a sample is changed, from 0 to 1.
    """

    probability: float = 0.5

    def check(self) -> None:
        """Refuse what is no probability."""
        if not 0 <= self.probability <= 1:
            name = type(self).__name__
            raise ValueError(f"{name}.probability is {self.probability}; allowed: from 0 to 1")

    def draw(self, batch_size: int, frames: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """The dice of every sample, and what `draw_change` adds."""
        dice = torch.rand(batch_size, generator=generator, dtype=torch.float64)
        return {DICE: dice, **self.draw_change(batch_size, frames, generator)}

    def apply(
        self, x: Float[Tensor, "batch body time joint 3"], draws: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch body time joint 3"]:
        """Changed where the dice say so, exactly as it was elsewhere."""
        # All are changed and some are kept: a choice made on the host would wait for the device.
        chosen = draws[DICE].to(x.device) < self.probability
        return torch.where(chosen.view(-1, 1, 1, 1, 1), self.change(x, draws), x)

    def draw_change(
        self,
        batch_size: int,
        frames: int,
        generator: torch.Generator,
    ) -> Mapping[str, Tensor]:
        """What is random about the change itself; nothing, unless a class says otherwise."""
        return {}

    def change(
        self, x: Float[Tensor, "batch body time joint 3"], draws: Mapping[str, Tensor]
    ) -> Float[Tensor, "batch body time joint 3"]:
        """Every sample changed, whatever the dice say."""
        raise NotImplementedError(type(self).__name__)


def augment(
    x: Float[Tensor, "batch body time joint 3"],
    augmentations: Sequence[Augmentation],
    draws: Sequence[Mapping[str, Tensor]],
) -> Float[Tensor, "batch body time joint 3"]:
    """The batch after all augmentations, in order; a body that is all zero (absent) stays exactly zero.

    Args:
        x: coordinates in metres.
        augmentations: in the order in which they are applied.
        draws: what each of them drew for these samples.

    Raises:
        ValueError: not as many draws as augmentations.
    """
    if not augmentations and not draws:
        return x
    present = (x != 0).flatten(2).any(dim=2)
    for augmentation, drawn in zip(augmentations, draws, strict=True):
        x = augmentation.apply(x, drawn)
    return torch.where(present[:, :, None, None, None], x, 0)
