"""The classifier of fine-tuning: on every joint's mean over time, not on one mean over all tokens (published code).

Parameter names are those of the published fine-tuned model below its `head`: `fc1`, `bn`, `fc2`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from stars.model.dropping import NOTHING, Dropped, kept_share
from stars.model.encoder import Encoder, distinct_rows, linear


class JointMeans(nn.Module):
    """The encoder as fine-tuning calls it: a vector for each joint, its mean over time and bodies, one after another.

    Shares its parts with the encoder that it is made from.
    """

    def __init__(self, encoder: Encoder, dropout: float = 0.0) -> None:
        """Nothing is copied.

        Args:
            encoder: whose tokens.
            dropout: rate at which `Dropped.kept` was drawn.
        """
        super().__init__()
        self.encoder = encoder
        self.dropout = dropout

    def forward(
        self, x: Float[Tensor, "batch body time joint 3"], dropped: Dropped = NOTHING
    ) -> Float[Tensor, "batch joint_width"]:
        """Encode, drop features of the final layer norm's tokens, average.

        An absent body counts in the mean. In evaluation one all-zero row stands for all absent bodies, exactly; in
        training each is encoded, since each has its own draws.

        Args:
            x: joint coordinates.
            dropped: its rows are the bodies of all samples, a sample's side by side.
        """
        if dropped.branches is None and dropped.kept is None:
            rows, row_of_body = distinct_rows(x)
        else:
            rows = x.flatten(0, 1)
            row_of_body = torch.arange(len(rows), device=x.device).view(x.shape[:2])
        tokens = self.encoder.encode(self.encoder.embed(rows), kept=dropped.branches)
        if dropped.kept is not None:
            tokens = tokens.masked_fill(~dropped.kept, 0) / kept_share(self.dropout)
        joints = self.encoder.shape.joints
        per_row = tokens.view(len(tokens), -1, joints, tokens.shape[2]).mean(dim=1).flatten(1)
        return per_row[row_of_body].mean(dim=1)


class Classifier(nn.Module):
    """A perceptron of one hidden layer with a batch norm, from joint means to logits."""

    def __init__(self, joint_width: int, hidden: int, num_classes: int) -> None:
        """Linear weights are unset (see `start`).

        Args:
            joint_width: joints times width of the encoder.
            hidden: width of the hidden layer.
            num_classes: number of classes.
        """
        super().__init__()
        self.fc1 = linear(joint_width, hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.fc2 = linear(hidden, num_classes)

    def forward(self, means: Float[Tensor, "batch joint_width"]) -> Float[Tensor, "batch class"]:
        """Logits. In training mode the batch norm takes its statistics from the batch: call it with the global one."""
        logits: Tensor = self.fc2(functional.relu(self.bn(self.fc1(means))))
        return logits

    def start(self, generator: torch.Generator) -> None:
        """The published start: linear maps Xavier-uniform with bias 0, batch norm 1 and 0."""
        for part in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(part.weight, generator=generator)
            nn.init.zeros_(part.bias)
        self.bn.reset_parameters()
