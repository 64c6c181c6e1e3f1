"""Reading `.skeleton` text line by line, as one writes it first: it trusts the text and reads no more than it needs."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32


@dataclass
class Read:
    """One body.

    Attributes:
        joints: x, y, z in metres, of every appearance.
        interval: the frame of every appearance, counted as `stars.data.skeleton` does.
    """

    joints: list[Float32[np.ndarray, "joint 3"]] = field(default_factory=list)
    interval: list[int] = field(default_factory=list)


def read_line_by_line(text: str) -> dict[str, Read]:
    """The bodies of a well-formed text by their ids, first seen first."""
    lines = iter(text.splitlines())
    bodies: dict[str, Read] = {}
    num_kept = 0
    for _ in range(int(next(lines))):
        num_bodies = int(next(lines))
        for _ in range(num_bodies):
            body = bodies.setdefault(next(lines).split()[0], Read())
            joints = np.zeros((int(next(lines)), 3), np.float32)
            for joint in range(len(joints)):
                joints[joint] = [float(number) for number in next(lines).split()[:3]]
            body.joints.append(joints)
            body.interval.append(body.interval[-1] + 1 if body.interval else num_kept)
        num_kept += num_bodies > 0
    return bodies
