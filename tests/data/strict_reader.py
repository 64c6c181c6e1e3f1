"""A slow reader of `.skeleton` text that refuses every deviation from the grammar."""

import re
from dataclasses import dataclass

import numpy as np

from stars.data.kinematics import Array


@dataclass
class Read:
    """What a recording says: per body id, the frames it is in and its joints there, (seen, 25, 3)."""

    num_frames: int
    num_empty: int
    frames: dict[str, list[int]]
    joints: dict[str, Array]
    states: set[str]


def read(text: str) -> Read:
    """Reads line by line and refuses every deviation from the grammar."""
    lines = iter(text.removesuffix("\n").split("\n"))
    assert text.endswith("\n")
    assert "\r" not in text
    num_frames, num_empty = _count(next(lines)), 0
    frames: dict[str, list[int]] = {}
    joints: dict[str, list[list[list[float]]]] = {}
    states = set()
    for frame in range(num_frames):
        num_bodies = _count(next(lines))
        assert 0 <= num_bodies <= 6
        num_empty += num_bodies == 0
        ids = []
        for _ in range(num_bodies):
            head = next(lines).split(" ")
            assert len(head) == 10
            assert re.fullmatch(r"7205759403\d{7}", head[0])
            assert all(re.fullmatch(r"\d+", head[i]) for i in (1, 2, 3, 4, 5, 6, 9))
            assert all(-1 <= float(head[i]) <= 1 for i in (7, 8))
            assert next(lines) == "25"
            rows = [next(lines).split(" ") for _ in range(25)]
            assert {len(row) for row in rows} == {12}
            values = [[float(field) for field in row] for row in rows]
            assert np.isfinite(values).all()
            states |= {row[11] for row in rows}
            ids.append(head[0])
            frames.setdefault(head[0], []).append(frame)
            joints.setdefault(head[0], []).append([row[:3] for row in values])
        assert len(set(ids)) == len(ids)
    assert next(lines, None) is None
    assert states <= {"0", "1", "2"}
    return Read(num_frames, num_empty, frames, {one: np.array(rows) for one, rows in joints.items()}, states)


def _count(line: str) -> int:
    assert re.fullmatch(r"\d+", line)
    return int(line)
