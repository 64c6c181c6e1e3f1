"""The contrastive head, NNCLR's and MoCo's: projector (a batch norm) and predictor (a perceptron).

Parameter names are those of the published checkpoints (`projector.0.*`, `predictor.0.*`, …).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stars.model.encoder import linear

_MOMENTUM = 0.1

# Below this head their gradient is exactly zero: the projector's and the predictor's batch norms take out the shift.
CONTRASTIVE_SHIFTS = ("norm.bias", "head.projector.0.bias")


class ContrastiveHead(nn.Module):
    """Projector and predictor on pooled features.

    With `updates_per_pass` = 2, one training pass leaves the batch norms' running statistics where two passes of the
    same batch would: two updates of momentum 0.1 are one of 0.19.
    """

    def __init__(self, width: int, hidden: int, updates_per_pass: int = 1) -> None:
        """Linear weights are unset (see `initialise_head`).

        Args:
            width: length of the pooled feature, of the projection and of the prediction.
            hidden: width of the predictor's hidden layer.
            updates_per_pass: updates of the running statistics that one training pass stands for.
        """
        super().__init__()
        self.updates_per_pass = updates_per_pass
        momentum = 1 - (1 - _MOMENTUM) ** updates_per_pass
        self.projector = nn.Sequential(nn.BatchNorm1d(width, momentum=momentum))
        self.predictor = nn.Sequential(
            linear(width, hidden, bias=False),
            nn.BatchNorm1d(hidden, momentum=momentum),
            nn.ReLU(),
            linear(hidden, width),
        )

    def forward(
        self, pooled: Float[Tensor, "batch width"]
    ) -> tuple[Float[Tensor, "batch width"], Float[Tensor, "batch width"]]:
        """Projection and prediction, neither normalised."""
        projected = self.projector(pooled)
        predicted = self.predictor(projected)
        if self.training:
            for part in self.modules():
                if isinstance(part, nn.BatchNorm1d) and part.num_batches_tracked is not None:
                    part.num_batches_tracked += self.updates_per_pass - 1
        return projected, predicted


def contrastive_head(width: int, hidden: int, generator: torch.Generator, updates_per_pass: int = 1) -> ContrastiveHead:
    """A `ContrastiveHead` at its published start."""
    head = ContrastiveHead(width, hidden, updates_per_pass)
    initialise_head(head, generator)
    return head


def initialise_head(head: nn.Module, generator: torch.Generator) -> None:
    """Give a head the published start, drawn from `generator` alone.

    Linear maps: normal of deviation 0.02, bias 0. Batch norms: scale normal of mean 1 and deviation 0.02, shift 0.
    Source: published code.

    Raises:
        TypeError: a part of the head for which no start is published.
    """
    for part in head.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, 0.0, 0.02, generator=generator)
        elif isinstance(part, nn.BatchNorm1d):
            nn.init.normal_(part.weight, 1.0, 0.02, generator=generator)
        elif list(part.parameters(recurse=False)):
            raise TypeError(f"no published start for the weights of {type(part).__name__}")
        if isinstance(part, (nn.Linear, nn.BatchNorm1d)) and part.bias is not None:
            nn.init.zeros_(part.bias)
