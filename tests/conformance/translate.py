"""The vectors' conventions in ours: layout of a batch, names of sizes, a data set that is only counted."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stars.data.ntu import NtuName
from stars.data.packed import Packed
from stars.data.packing import Packer
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


def blank_store(folder: Path, num_samples: int, num_joints: int) -> Packed:
    """A store with so many samples to train on, and one to test on, that say nothing: the vectors bring the batches."""
    with Packer(folder, name="blank", source="made for the vectors", num_joints=num_joints) as packer:
        for number in range(num_samples + 1):
            # Subject 1 is trained on, subject 3 tested on.
            labels = NtuName(setup=1, camera=1, subject=1 if number else 3, replication=1, action=1)
            packer.append(f"{number:06}", labels, np.ones((1, 1, num_joints, 3), np.float32))
        packer.finish()
    return Packed.open(folder)
