"""What a tuning strategy is: a value, and the head and loss that it builds."""

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stars.stage import Value


class Objective(Protocol):
    """Head, loss and whatever they remember; a module, called once a step on the global batch."""

    head: nn.Module

    def __call__(
        self,
        pooled: tuple[Float[Tensor, "batch width"], ...],
        sample_ids: Int[Tensor, " batch"],
        dice: Int[Tensor, "2 batch"] | None = None,
        /,
    ) -> Float[Tensor, ""]:
        """The loss, from each view's pooled features; only the first view carries gradient."""


@dataclass(frozen=True, kw_only=True)
class Strategy(Value):
    """Base of all strategies. A strategy is one file beside this one; `Tune.strategy` takes any."""

    def views(self) -> int:
        """How many views of a sample the objective wants."""
        raise NotImplementedError(type(self).__name__)

    def build(self, width: int, generator: torch.Generator) -> nn.Module:
        """The objective (an `Objective`) at its start, every draw from `generator`."""
        raise NotImplementedError(type(self).__name__)

    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "2 batch"] | None:
        """What the objective needs by chance, for the global batch; None where nothing is."""
        raise NotImplementedError(type(self).__name__)
