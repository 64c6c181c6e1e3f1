"""Nearest-neighbour contrastive tuning: each sample's prediction should name the nearest earlier sample, not itself.

Everything here runs on the pooled features of the global batch, so every worker that holds the same features computes
the same loss and the same queue. Source: paper section 3.3 and Algorithm 1; details of the
published code are named where they matter.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from stars.data.batches import View
from stars.model.heads import CONTRASTIVE_SHIFTS, ContrastiveHead, contrastive_head
from stars.stage import later
from stars.strategies.queue import advance, write_round
from stars.strategies.strategy import Batch, Look, Objective, Strategy


@dataclass(frozen=True, kw_only=True)
class NNCLR(Strategy):
    """Nearest-neighbour contrastive tuning.

    Attributes:
        queue_size: how many earlier projections can be neighbours, in samples.
        temperature: divisor of the similarities in the loss.
        neighbours: the positive is drawn from this many nearest neighbours; 1 = the nearest.
        exclude_own_sample: a sample's own earlier projections cannot be its neighbours.
        hidden: width of the predictor's hidden layer.
        num_views: 1 = one pass that stands for two identical views, exactly; 2 = two views, encoded apart.
        symmetric: gradient through both views; otherwise through the first alone (published code).
    """

    queue_size: int = 32768
    temperature: float = 0.07
    neighbours: int = 1
    exclude_own_sample: bool = True
    hidden: int = 4096
    num_views: Literal[1, 2] = 1
    symmetric: bool = later(False)

    def check(self) -> None:
        """Refuse sizes below one, more neighbours than the queue holds, and temperatures of 0 or below."""
        for name in ("queue_size", "neighbours", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"NNCLR.{name} is {getattr(self, name)}; allowed: at least 1")
        if self.neighbours > self.queue_size:
            raise ValueError(f"NNCLR.neighbours is {self.neighbours}; allowed: at most queue_size ({self.queue_size})")
        if self.temperature <= 0:
            raise ValueError(f"NNCLR.temperature is {self.temperature}; allowed: above 0")

    def looks(self, view: View) -> tuple[Look, ...]:
        """`num_views` of the stage's view, the first with gradient."""
        second = Look(view=view, student="gradient" if self.symmetric else "constant")
        return (Look(view=view), second)[: self.num_views]

    def build(self, width: int, generator: torch.Generator) -> "NNCLRObjective":
        """Head and queue at their published start, drawn from `generator` (head first, then queue)."""
        return NNCLRObjective(self, width, generator)

    def shifts(self) -> tuple[str, ...]:
        """A constant shift of the features, or of the projections, is taken out by the batch norm that follows."""
        return CONTRASTIVE_SHIFTS

    def draw(self, batch_size: int, generator: torch.Generator) -> Int[Tensor, "2 batch"] | None:
        """Which of its nearest neighbours each sample takes, for view q and view k; None where there is no choice."""
        if self.neighbours == 1:
            return None
        return torch.randint(self.neighbours, (2, batch_size), generator=generator)


class NNCLRObjective(Objective):
    """Head, queue and loss of nearest-neighbour contrastive tuning.

    Buffers: `queue` (width, queue_size), columns of length 1; `queue_id`, the sample each column came from (-1 = none
    yet); `queue_ptr`, the column written next.
    """

    head: ContrastiveHead
    queue: Tensor
    queue_id: Tensor
    queue_ptr: Tensor

    def __init__(self, settings: NNCLR, width: int, generator: torch.Generator) -> None:
        """See `NNCLR.build`."""
        # The published code passes both (identical) views through the head, which updates its statistics twice.
        super().__init__(contrastive_head(width, settings.hidden, generator, updates_per_pass=3 - settings.num_views))
        self.settings = settings
        queue = torch.randn(width, settings.queue_size, generator=generator)
        self.register_buffer("queue", functional.normalize(queue, dim=0))
        self.register_buffer("queue_id", torch.full((settings.queue_size,), -1, dtype=torch.int64))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.int64))

    def forward(self, batch: Batch) -> Float[Tensor, ""]:
        """Loss of one global batch; in training mode its projections then enter the queue.

        The value is the published total, half of each view's loss. As in the published code only view q's predictions
        carry gradient, unless `symmetric`, so the gradient is half of that view's: one view gives what two identical
        ones would.

        Args:
            batch: pooled features of view q and, with two views, of view k; dice say which neighbour each sample
                takes, first for view q, then for view k.

        Raises:
            ValueError: a number of views other than the settings', or dice that the settings do not ask for.
        """
        pooled, dice, settings = batch.student, batch.dice, self.settings
        if len(pooled) != settings.num_views:
            raise ValueError(f"{len(pooled)} views were given; allowed: NNCLR.num_views, {settings.num_views}")
        if (dice is None) != (settings.neighbours == 1):
            raise ValueError("dice belong to NNCLR.neighbours above 1; allowed: what NNCLR.draw returned")
        projected_q, predicted_q = (functional.normalize(vectors, dim=1) for vectors in self.head(pooled[0]))
        projected_k, predicted_k = projected_q, predicted_q if settings.symmetric else predicted_q.detach()
        similarity_q = similarity_k = self.similarities(projected_q, batch.sample_ids)
        if len(pooled) == 2:
            with torch.set_grad_enabled(torch.is_grad_enabled() and settings.symmetric):
                projected_k, predicted_k = (functional.normalize(vectors, dim=1) for vectors in self.head(pooled[1]))
            similarity_k = self.similarities(projected_k, batch.sample_ids)
        neighbours_q = self.neighbours(similarity_q, None if dice is None else dice[0])
        neighbours_k = self.neighbours(similarity_k, None if dice is None else dice[1])
        loss_q = contrast(neighbours_k, predicted_q, settings.temperature)
        loss_k = contrast(neighbours_q, predicted_k, settings.temperature)
        if self.training:
            self.enqueue(projected_q.detach(), batch.sample_ids)
        return (loss_q + loss_k) / 2

    @torch.no_grad()
    def similarities(
        self, projected: Float[Tensor, "batch width"], sample_ids: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch queue"]:
        """Dot product of each projection with each column of the queue; -1 where the column is the sample's own."""
        similarity = projected @ self.queue
        if self.settings.exclude_own_sample:
            similarity.masked_fill_(sample_ids.unsqueeze(1) == self.queue_id, -1.0)
        return similarity

    @torch.no_grad()
    def neighbours(
        self, similarity: Float[Tensor, "batch queue"], dice: Int[Tensor, " batch"] | None
    ) -> Float[Tensor, "batch width"]:
        """The queue's column nearest to each sample, or the one of the nearest that the dice name."""
        if dice is None:
            column = similarity.argmax(dim=1)
        else:
            nearest = similarity.topk(self.settings.neighbours, dim=1).indices
            column = nearest.gather(1, dice.unsqueeze(1)).squeeze(1)
        return self.queue[:, column].T

    @torch.no_grad()
    def enqueue(self, projected: Float[Tensor, "batch width"], sample_ids: Int[Tensor, " batch"]) -> None:
        """Write the batch over the oldest columns, wrapping round; of a batch larger than the queue its end stays."""
        write_round(self.queue, self.queue_ptr, projected.T)
        write_round(self.queue_id, self.queue_ptr, sample_ids)
        advance(self.queue_ptr, len(projected), self.settings.queue_size)


def contrast(
    neighbours: Float[Tensor, "batch width"], predicted: Float[Tensor, "batch width"], temperature: float
) -> Float[Tensor, ""]:
    """Cross-entropy of each neighbour choosing its own sample's prediction among the batch's (paper section 3.3)."""
    logits = neighbours @ predicted.T / temperature
    return functional.cross_entropy(logits, torch.arange(len(predicted), device=predicted.device))
