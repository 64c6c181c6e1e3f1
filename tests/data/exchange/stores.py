"""Packed stores for tests of import and export."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stars.data.ntu import NtuName, parse_name
from stars.data.packed import Packed, SecondBody
from stars.data.packing import Packer

NAMES = [
    f"S{setup:03d}C{camera:03d}P{subject:03d}R001A{action:03d}"
    for setup in (1, 2)
    for camera in (1, 2, 3)
    for subject in (1, 3)
    for action in (1, 2, 4)
]


def sequence(seed: int, num_frames: int, num_bodies: int = 1, num_joints: int = 25) -> np.ndarray:
    """Joints with a zero frame inside, a NaN in some sequences, and a second body that comes late and leaves early."""
    random = np.random.default_rng(seed)
    joints: np.ndarray = random.normal(size=(num_frames, num_bodies, num_joints, 3)).astype(np.float32)
    joints[num_frames // 2] = 0
    if seed % 5 == 0:
        joints[1, 0, 3, 2] = np.nan
    if num_bodies == 2:
        joints[:2, 1] = joints[-2:, 1] = 0
    return joints


def pack(
    out: Path,
    *,
    names: Mapping[str, NtuName] | None = None,
    second_body: SecondBody = "zero",
    num_joints: int = 25,
    train: Mapping[str, list[str]] | None = None,
    layout: str = "kinect-v2-25",
) -> Packed:
    """A store whose every third sample has two bodies, and whose sequences have 9 to 14 frames."""
    labels = {name: parse_name(name) for name in NAMES} if names is None else dict(names)
    with Packer(
        out, name="test", source="tests", num_joints=num_joints, joint_layout=layout, second_body=second_body
    ) as packer:
        for number, name in enumerate(sorted(labels)):
            packer.append(name, labels[name], sequence(number, 9 + number % 6, 1 + (number % 3 == 0), num_joints))
        packer.finish(train=train)
    return Packed.open(out)


def unknown(*names: str) -> dict[str, NtuName]:
    """Labels of samples of which only the action is known."""
    return {name: NtuName(0, 0, 0, 0, 1 + number % 3) for number, name in enumerate(names)}
