"""What a tuning strategy is: a value that says how samples are looked at, and the head and loss that it builds.

A student is the encoder that is tuned, with its head. A teacher, where a strategy wants one, is a second encoder and
head that follow the student as a moving average and never see a gradient.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stars.data.batches import View
from stars.model.encoder import EncoderShape
from stars.stage import Value


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look at every sample of a batch. Two looks are drawn apart; two that draw nothing are one.

    Attributes:
        view: what is seen.
        student: whether the student encodes it, and whether its gradient flows back; None = it does not.
        teacher: whether the teacher encodes it.
    """

    view: View
    student: Literal["gradient", "constant"] | None = "gradient"
    teacher: bool = False


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When in a training a step is.

    Attributes:
        step: optimiser steps done before.
        steps_per_epoch: steps.
        epochs: of the whole schedule, whatever horizon cuts it.
    """

    step: int
    steps_per_epoch: int
    epochs: int

    @property
    def epoch(self) -> int:
        """The step's epoch, from 0."""
        return self.step // self.steps_per_epoch


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What an objective is given at a step; every worker is given the same.

    Attributes:
        student: pooled features of the global batch, of each look that the student encodes, in order.
        teacher: the same of each look that the teacher encodes.
        sample_ids: which sample each row is, at least 0.
        dice: what `Strategy.draw` returned.
        moment: when in the training.
    """

    student: tuple[Float[Tensor, "batch width"], ...]
    sample_ids: Int[Tensor, " batch"]
    moment: Moment
    teacher: tuple[Float[Tensor, "batch width"], ...] = ()
    dice: Int[Tensor, "2 batch"] | None = None


class Objective(nn.Module):
    """Head, loss and whatever they remember; called once a step, with a `Batch`, for its loss.

    Attributes:
        head: what is trained on top of the encoder.
        teacher_head: the teacher's; None without a teacher.
    """

    head: nn.Module
    teacher_head: nn.Module | None

    def __init__(self, head: nn.Module, teacher_head: nn.Module | None = None) -> None:
        """The teacher's head takes no gradient from now on."""
        super().__init__()
        self.head = head
        self.teacher_head = teacher_head.requires_grad_(False) if teacher_head is not None else None


@dataclass(frozen=True, kw_only=True)
class Strategy(Value):
    """Base of all strategies. A strategy is one file beside this one; `Tune.strategy` takes any."""

    def looks(self, view: View) -> tuple[Look, ...]:
        """How every sample is looked at, by a stage with this view."""
        raise NotImplementedError(type(self).__name__)

    def build(self, width: int, generator: torch.Generator) -> Objective:
        """The objective at its start, for features of this width, every draw from `generator`."""
        raise NotImplementedError(type(self).__name__)

    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "2 batch"] | None:  # noqa: ARG002
        """What the objective needs by chance, for the global batch; None where nothing is."""
        return None

    def shifts(self) -> tuple[str, ...]:
        """Tuned biases whose gradient is exactly zero: names in the encoder's state dict, the head's with "head."."""
        return ()

    def momentum_at(self, moment: Moment) -> float:
        """What the teacher keeps of itself at a step, from 0 to 1; only asked where a look names the teacher."""
        raise NotImplementedError(type(self).__name__)

    def check_tuning(self, shape: EncoderShape, batch_size: int) -> None:
        """Refuse an encoder or a global batch that the strategy cannot work on: ValueError, names as in `check`."""
