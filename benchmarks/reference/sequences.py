"""Sequences as long as those of NTU RGB+D 60, without their content: to measure what depends on sizes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stars.data.ntu import NtuName
from stars.data.packed import Packed
from stars.data.packing import Packer

NUM_NTU60 = 56_578
MAX_FRAMES, NUM_BODIES, NUM_JOINTS = 300, 2, 25
# Together 1.71 GB for 56,578 sequences, as NTU RGB+D 60 packed: 83 frames of 1.22 bodies on average.
_MEDIAN_FRAMES, _SPREAD, _MIN_FRAMES = 77.0, 0.38, 13
_TWO_BODIES = 0.22
_POOL = 4096

Sequence = Float32[np.ndarray, "frame body joint 3"]


def sequences(num: int, seed: int) -> Iterator[Sequence]:
    """So many sequences of one or two bodies, in metres from the middle of the first body's spine."""
    random = np.random.default_rng(seed)
    steps = random.normal(0, 0.01, (_POOL, NUM_JOINTS, 3)).cumsum(axis=0)
    pool = (random.normal(0, 0.4, (NUM_JOINTS, 3)) + steps).astype(np.float32)
    for _ in range(num):
        num_frames = int(np.clip(random.lognormal(np.log(_MEDIAN_FRAMES), _SPREAD), _MIN_FRAMES, MAX_FRAMES))
        first = random.integers(0, _POOL - MAX_FRAMES, size=1 + int(random.random() < _TWO_BODIES))
        sequence = np.stack([pool[start : start + num_frames] for start in first.tolist()], axis=1)
        yield sequence - sequence[0, 0, 1]


def pack(given: Iterable[Sequence], folder: Path) -> Packed:
    """A packed store of these sequences, opened; they are read one by one."""
    with Packer(folder, name="made", source="sequences of made-up content") as packer:
        for number, sequence in enumerate(given):
            rest, action = divmod(number, 60)
            rest, replication = divmod(rest, 2)
            rest, subject = divmod(rest, 10)
            setup, camera = divmod(rest, 3)
            labels = NtuName(setup + 1, camera + 1, subject + 1, replication + 1, action + 1)
            packer.append("S{:03}C{:03}P{:03}R{:03}A{:03}".format(*labels), labels, sequence)
        packer.finish()
    return Packed.open(folder)


def padded(given: list[Sequence]) -> Float32[np.ndarray, "sample frame=300 150"]:
    """The array that the published data files hold: zeros behind the last frame and for a second body."""
    array = np.zeros((len(given), MAX_FRAMES, NUM_BODIES, NUM_JOINTS, 3), np.float32)
    for row, sequence in zip(array, given, strict=True):
        row[: len(sequence), : sequence.shape[1]] = sequence
    return array.reshape(len(given), MAX_FRAMES, -1)
