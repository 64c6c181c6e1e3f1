"""The rule by which the reference numbers fill weights: a hash of element, tensor name and seed, no generator."""

import math
import zlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def uniform(name: str, count: int, seed: int) -> NDArray[np.float64]:
    """`count` values in [-1, 1) for the tensor called `name`, in unsigned 32-bit arithmetic."""
    offset = (zlib.crc32(name.encode()) + seed * 0x85EBCA6B) % 2**32
    h = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(offset)
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h / 2.0**31 - 1


def filled(name: str, shape: tuple[int, ...], seed: int) -> Tensor:
    """The tensor of that state-dict key: float32, or int64 for a counter."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.int64)
    values = uniform(name, math.prod(shape), seed)
    if name.endswith("running_mean"):
        values = 0.3 * values
    elif name.endswith("running_var"):
        values = 1 + 0.5 * values
    elif name.endswith(".bias"):
        values = 0.1 * values
    elif name.endswith(".weight") and len(shape) == 1:
        values = 1 + 0.2 * values
    elif name.endswith(".weight"):
        values = values * math.sqrt(3 / math.prod(shape[1:]))
    else:
        values = 0.5 * values
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def filled_state(state: Mapping[str, Tensor], seed: int, prefix: str = "") -> dict[str, Tensor]:
    """A state dict of the same keys and shapes; the rule sees each key with `prefix` before it."""
    return {name: filled(prefix + name, tuple(tensor.shape), seed) for name, tensor in state.items()}


def fill(module: nn.Module, seed: int, prefix: str = "") -> None:
    """Fill a module's parameters and buffers in place."""
    module.load_state_dict(filled_state(module.state_dict(), seed, prefix))
