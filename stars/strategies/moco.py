"""Momentum contrast: the student's prediction of one view should name its teacher's of another among many earlier ones.

Source: He et al., "Momentum contrast for unsupervised visual representation learning", as the paper uses it (table 8);
details of the published code are named where they matter.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from stars.data.batches import View
from stars.model.encoder import EncoderShape
from stars.model.heads import CONTRASTIVE_SHIFTS, ContrastiveHead, contrastive_head
from stars.strategies.queue import advance, write_round
from stars.strategies.strategy import Batch, Look, Moment, Objective, Strategy


@dataclass(frozen=True, kw_only=True)
class MoCo(Strategy):
    """Momentum contrast.

    Attributes:
        queue_size: how many earlier keys are negatives, in samples.
        temperature: divisor of the similarities in the loss.
        momentum: what the teacher keeps of itself at every step, from 0 to 1.
        hidden: width of the predictor's hidden layer.
        same_start: the teacher's head starts as the student's; in the released code it starts from draws of its own.
        published_world: move the queue's pointer a second time, by one worker's share of the batch, as the released
            code does with so many workers: gaps of the queue then stay old for long. None = do not.
    """

    queue_size: int = 32768
    temperature: float = 0.07
    momentum: float = 0.999
    hidden: int = 4096
    same_start: bool = True
    published_world: int | None = None

    def check(self) -> None:
        """Refuse sizes below one, temperatures of 0 or below, and momenta that are no share."""
        for name in ("queue_size", "hidden", "published_world"):
            if (getattr(self, name) or 0) < 1 and getattr(self, name) is not None:
                raise ValueError(f"MoCo.{name} is {getattr(self, name)}; allowed: at least 1")
        if self.temperature <= 0:
            raise ValueError(f"MoCo.temperature is {self.temperature}; allowed: above 0")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"MoCo.momentum is {self.momentum}; allowed: from 0 to 1")

    def check_tuning(self, shape: EncoderShape, batch_size: int) -> None:  # noqa: ARG002
        """Refuse a batch that the published code's workers could not have shared."""
        if self.published_world is not None and batch_size % self.published_world:
            allowed = f"a divisor of the batch's {batch_size} samples, or None"
            raise ValueError(f"MoCo.published_world is {self.published_world}; allowed: {allowed}")

    def looks(self, view: View) -> tuple[Look, ...]:
        """One for the student, one for the teacher."""
        return Look(view=view), Look(view=view, student=None, teacher=True)

    def build(self, width: int, generator: torch.Generator) -> "MoCoObjective":
        """Heads and queue, drawn from `generator` in this order: student's head, teacher's if it differs, queue."""
        return MoCoObjective(self, width, generator)

    def shifts(self) -> tuple[str, ...]:
        """A constant shift of the features, or of the projections, is taken out by the batch norm that follows."""
        return CONTRASTIVE_SHIFTS

    def momentum_at(self, moment: Moment) -> float:  # noqa: ARG002
        """Constant."""
        return self.momentum


class MoCoObjective(Objective):
    """Heads, queue and loss of momentum contrast.

    Buffers: `queue` (width, queue_size), columns of length 1; `queue_ptr`, the column written next.
    """

    head: ContrastiveHead
    teacher_head: ContrastiveHead
    queue: Tensor
    queue_ptr: Tensor

    def __init__(self, settings: MoCo, width: int, generator: torch.Generator) -> None:
        """See `MoCo.build`."""
        head = contrastive_head(width, settings.hidden, generator)
        if settings.same_start:
            teacher_head = ContrastiveHead(width, settings.hidden)
            teacher_head.load_state_dict(head.state_dict())
        else:
            teacher_head = contrastive_head(width, settings.hidden, generator)
        super().__init__(head, teacher_head)
        self.settings = settings
        queue = torch.randn(width, settings.queue_size, generator=generator)
        self.register_buffer("queue", functional.normalize(queue, dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.int64))

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        """Loss of one global batch; in training mode its keys then enter the queue.

        Args:
            batch: pooled features of the student's view and of the teacher's.
        """
        (pooled_q,), (pooled_k,) = batch.student, batch.teacher
        query = functional.normalize(self.head(pooled_q)[1], dim=1)
        key = self.keys(pooled_k)
        logits = self.logits(query, key)
        if self.training:
            self.enqueue(key)
        return functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))

    @torch.no_grad()
    def keys(self, pooled: Float[Tensor, "batch width"]) -> Float[Tensor, "batch width"]:
        """The teacher's predictions, of length 1; its batch norms see the batch, as the student's do."""
        predicted: Tensor = self.teacher_head(pooled)[1]
        return functional.normalize(predicted, dim=1)

    def logits(
        self, query: Float[Tensor, "batch width"], key: Float[Tensor, "batch width"]
    ) -> Float[Tensor, "batch candidate"]:
        """Similarity to the sample's own key, then to each column of the queue, divided by the temperature."""
        own = (query * key).sum(dim=1, keepdim=True)
        # The queue is overwritten before the gradient is computed, which needs it as it was.
        return torch.cat((own, query @ self.queue.clone()), dim=1) / self.settings.temperature

    @torch.no_grad()
    def enqueue(self, key: Float[Tensor, "batch width"]) -> None:
        """Write the batch over the oldest columns, wrapping round; of a batch larger than the queue its end stays."""
        write_round(self.queue, self.queue_ptr, key.T)
        world = self.settings.published_world
        moved = len(key) if world is None else len(key) + len(key) // world
        advance(self.queue_ptr, moved, self.settings.queue_size)
