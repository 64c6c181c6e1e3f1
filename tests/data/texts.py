"""Writing `.skeleton` text for tests, and reading it in the slow, obvious way."""

from collections.abc import Mapping, Sequence

import numpy as np

Frame = Mapping[str, np.ndarray]
"""The bodies of a frame: id to joints, (25, 3)."""

BODY_REST = "0 1 1 1 1 0 0.010160 -4.1e-05 2"
JOINT_REST = "252.84 255.16 -inf 683.88 0 0 nan 0 2"


def text_of(frames: Sequence[Frame]) -> str:
    lines = [str(len(frames))]
    for frame in frames:
        lines.append(str(len(frame)))
        for body_id, joints in frame.items():
            lines += [f"{body_id} {BODY_REST}", "25"]
            lines += [f"{' '.join(map(repr, joint))} {JOINT_REST}" for joint in joints.astype(float).tolist()]
    return "\n".join(lines) + "\n"


def moving(num_frames: int, seed: int = 0, *, height: float = 2.0, width: float = 0.5) -> np.ndarray:
    """A body of this height and width that trembles and drifts, (num_frames, 25, 3)."""
    random = np.random.default_rng(seed)
    body = random.uniform(-0.5, 0.5, (25, 3)) * [width, height, 0.3] + [0, 0, 3]
    drift = random.normal(0, 0.02, (num_frames, 1, 3)).cumsum(axis=0)
    joints: np.ndarray = (body + drift + random.normal(0, 0.002, (num_frames, 25, 3))).astype(np.float32)
    return joints


def recorded(bodies: Mapping[str, tuple[int, np.ndarray]], num_frames: int) -> list[Frame]:
    """Frames in which every body appears from its first frame on, for as long as it has joints."""
    return [
        {
            body_id: joints[frame - first]
            for body_id, (first, joints) in bodies.items()
            if first <= frame < first + len(joints)
        }
        for frame in range(num_frames)
    ]


def read_line_by_line(text: str) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Every body's joints and interval, first seen first, as the published parser reads a well-formed text."""
    lines = iter(text.splitlines())
    bodies: dict[str, tuple[list[np.ndarray], list[int]]] = {}
    kept = 0
    for _ in range(int(next(lines))):
        num_bodies = int(next(lines))
        for _ in range(num_bodies):
            body_id = next(lines).split()[0]
            joints = np.zeros((int(next(lines)), 3), np.float32)
            for joint in range(len(joints)):
                joints[joint] = [float(field) for field in next(lines).split()[:3]]
            stacked, interval = bodies.setdefault(body_id, ([], []))
            stacked.append(joints)
            interval.append(interval[-1] + 1 if interval else kept)
        kept += num_bodies > 0
    return {body_id: (np.stack(stacked), interval) for body_id, (stacked, interval) in bodies.items()}
