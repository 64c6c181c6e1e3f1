"""The encoder in two halves: blocks that stay as they are, and blocks that tuning changes.

The lower half's output is the same for all that share it (the student, its teacher, two equal views), so it is
computed once. A teacher is a copy of the upper half alone: below it, it equals the student exactly.

Shapes: row, one body of one sample, absent bodies sharing one all-zero row; token, one joint during a patch of frames.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from stars.model.encoder import Encoder, distinct_rows


class Halfway(NamedTuple):
    """A batch between the halves.

    Attributes:
        tokens: of every distinct row, out of the last block of the lower half.
        row_of_body: which row holds each body of each sample.
    """

    tokens: Float[Tensor, "row token width"]
    row_of_body: Int[Tensor, "batch body"]


@torch.no_grad()
def lower_half(encoder: Encoder, x: Float[Tensor, "batch body time joint 3"], first_tuned: int) -> Halfway:
    """Embedding and the blocks below `first_tuned`, without gradient."""
    rows, row_of_body = distinct_rows(x)
    tokens = encoder.embed(rows)
    for block in encoder.blocks[:first_tuned]:
        tokens = block(tokens)
    return Halfway(tokens, row_of_body)


class UpperHalf(nn.Module):
    """The blocks from `first_tuned` on and the final layer norm, under their names in the encoder.

    Shares its parts with the encoder that it is made from; its copy is a teacher.
    """

    def __init__(self, encoder: Encoder, first_tuned: int) -> None:
        """Nothing is copied."""
        super().__init__()
        kept = range(first_tuned, len(encoder.blocks))
        self.blocks = nn.ModuleDict({str(number): encoder.blocks[number] for number in kept})
        self.norm = encoder.norm

    def forward(self, batches: tuple[Halfway, ...]) -> tuple[Float[Tensor, "batch width"], ...]:
        """Pooled features of each batch, as `Encoder.pooled` gives them.

        All in one call: what averages gradients over workers is then called once a step.
        """
        return tuple(self._pooled(batch) for batch in batches)

    def _pooled(self, batch: Halfway) -> Float[Tensor, "batch width"]:
        tokens = batch.tokens
        for block in self.blocks.values():
            tokens = block(tokens)
        per_row: Tensor = self.norm(tokens).mean(dim=1)
        return per_row[batch.row_of_body].mean(dim=1)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move every parameter of the teacher towards the student's: `momentum` of its own, the rest of the student's.

    Buffers, that is the running statistics of batch norms, stay the teacher's own (published code). Two equal
    parameters stay equal exactly.
    """
    theirs = [parameter.detach() for parameter in teacher.parameters()]
    torch._foreach_lerp_(theirs, list(student.parameters()), 1 - momentum)
