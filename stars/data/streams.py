"""Streams: what of a sequence the encoder sees, its joints, its bones or its motion (paper table 1, column "input")."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from stars.data.layouts import layout

Stream = Literal["joint", "bone", "motion"]


def stream_of(
    x: Float[Tensor, "batch body time joint 3"], stream: Stream, joint_layout: str
) -> Float[Tensor, "batch body time joint 3"]:
    """The batch as a stream shows it; same unit, and an absent body stays exactly zero.

    Args:
        x: joint coordinates, after crop, rotation and augmentation.
        stream: joint is `x` itself; bone, every joint seen from the one its bone begins at; motion, what every joint
            moves until the next frame, 0 in the last.
        joint_layout: which joint is which; only bones ask.

    Source: published code.

    Raises:
        ValueError: bones of a layout that is not known, or of other joints than its own.
    """
    match stream:
        case "joint":
            return x
        case "bone":
            starts = layout(joint_layout).bones()
            if len(starts) != x.shape[3]:
                raise ValueError(f"bones of {x.shape[3]} joints; allowed: the {len(starts)} of {joint_layout}")
            return x - x[:, :, :, list(starts)]
        case "motion":
            return torch.cat((x[:, :, 1:] - x[:, :, :-1], torch.zeros_like(x[:, :, :1])), dim=2)
