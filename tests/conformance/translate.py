"""The vectors' conventions in ours: layout of a batch, names of sizes."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from stars.model.encoder import EncoderShape


def our_batch(x: NDArray[Any]) -> Tensor:
    """(N, C, T, V, M) of the vectors as our (batch, body, time, joint, 3)."""
    return torch.from_numpy(x).permute(0, 4, 2, 3, 1).contiguous()


def encoder_shape(size: dict[str, Any]) -> EncoderShape:
    """The sizes that a file of vectors gives for its encoder."""
    return EncoderShape(
        frames=size["T"],
        joints=size["V"],
        patch=size["u"],
        width=size["dim"],
        depth=size["depth"],
        heads=size["heads"],
        mlp_ratio=float(size["mlp"]),
    )
