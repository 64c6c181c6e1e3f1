"""Small cases for probes: stores packed by hand, features in given directions, and features in their files."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from stars.data.dataset import Data
from stars.data.ntu import NtuName
from stars.data.packed import Packed
from stars.data.packing import Packer
from stars.probes.features import FEATURES_FILE, Features
from stars.recipes import small
from tests.examples import DATA


def pack(folder: Path, recordings: Iterable[tuple[int, int]]) -> Packed:
    """A store with one recording for each pair of subject and action."""
    with Packer(folder, name="case", source="made by hand", num_joints=2) as packer:
        for number, (subject, action) in enumerate(recordings):
            labels = NtuName(setup=1, camera=1, subject=subject, replication=1, action=action)
            packer.append(f"{number:03}", labels, np.ones((3, 1, 2, 3), np.float32))
        packer.finish()
    return Packed.open(folder)


def directions(*degrees: float) -> Tensor:
    """Vectors in these directions, of different lengths."""
    lengths = range(1, len(degrees) + 1)
    pairs = [
        (n * math.cos(math.radians(d)), n * math.sin(math.radians(d))) for n, d in zip(lengths, degrees, strict=True)
    ]
    return torch.tensor(pairs)


def of(data: Data) -> Features:
    """Features that nobody computes, for a probe that is given their files."""
    return Features(encoder=small(DATA).stage2, data=data, crop=0.9)


def leave(folder: Path, parts: Mapping[str, tuple[Tensor, Iterable[int]]], name: str = "pooled") -> Path:
    """Features and rows by part, as a stage leaves them; returns the folder."""
    folder.mkdir()
    state: dict[str, Tensor] = {}
    for part, (features, rows) in parts.items():
        state |= {f"{part}/{name}": features, f"{part}/rows": torch.tensor(list(rows))}
    save_file(state, folder / FEATURES_FILE)
    return folder
