"""Every random draw of training: named by (seed, step, purpose), made for the global batch, then sliced.

A draw depends on nothing else, so that a resumed run, a run on another number of workers and a run on another device
see the same numbers. Draws are made on the CPU for the same reason.
"""

import hashlib

import torch
from torch import Tensor


def generator(seed: int, step: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose at one step."""
    digest = hashlib.sha256(f"{seed}/{step}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little"))


def batch(rows: Tensor, *, seed: int, step: int, batch_size: int) -> Tensor:
    """The samples of one global batch: a new order every epoch, the incomplete last batch dropped.

    Args:
        rows: the training samples, (num_samples,).
        seed: of the stage.
        step: optimiser step from 0.
        batch_size: of all workers together.

    Returns:
        (batch_size,) entries of `rows`.
    """
    steps_per_epoch = len(rows) // batch_size
    epoch, position = divmod(step, steps_per_epoch)
    order = torch.randperm(len(rows), generator=generator(seed, epoch, "order"))
    return rows[order[position * batch_size : (position + 1) * batch_size]]


def steps_per_epoch(num_samples: int, batch_size: int, world_size: int) -> int:
    """Optimiser steps of an epoch.

    Raises:
        ValueError: fewer samples than one batch, or a batch that the workers do not divide.
    """
    if num_samples < batch_size:
        raise ValueError(f"batch_size is {batch_size}; allowed: at most {num_samples}, the number of training samples")
    if batch_size % world_size:
        raise ValueError(f"batch_size is {batch_size}; allowed: a multiple of the number of workers, {world_size}")
    return num_samples // batch_size
