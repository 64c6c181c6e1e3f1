"""What foreign files say about a sample besides its joints. What they do not say is recorded as `UNKNOWN`.

A protocol, a rule of labels or a search that needs what is unknown is refused with the column's name.
"""

import numpy as np
from jaxtyping import Float32

from stars.data.ntu import NtuName
from stars.data.packed import UNKNOWN

MAX_FRAMES = 20_000  # of a sequence: eleven minutes at 30 frames a second; more is a mistake or an attack
MAX_NUMBER = 1_000_000  # of an action, a subject, a camera, …
_LONGEST_NAME = 200


def only(action: int) -> NtuName:
    """Labels of a sample of which nothing but the action, from 1, is known."""
    return NtuName(setup=UNKNOWN, camera=UNKNOWN, subject=UNKNOWN, replication=UNKNOWN, action=action)


def part_name(part: str, row: int) -> str:
    """The name of a sample that had none, from the part of a split and its 0-based row there: `train-0000012`."""
    return f"{part}-{row:07d}"


def checked_name(name: object) -> str:
    """A name as it may stand in an index. Raises ValueError for one that is empty, long or not printable."""
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        # Other values than text are not shown: lists in lists can be spelled out only in more memory than there is.
        shown = repr(name[:_LONGEST_NAME]) if isinstance(name, str) else f"a {type(name).__name__}"
        raise ValueError(f"the name is {shown}; allowed: 1 to {_LONGEST_NAME} printable characters")
    return name


def without_empty_bodies(
    sequence: Float32[np.ndarray, "frame body joint 3"],
) -> Float32[np.ndarray, "frame kept joint 3"]:
    """The sequence without bodies at the end that are zero throughout; at least one body is kept."""
    there = np.flatnonzero((sequence != 0).any(axis=(0, 2, 3)))
    return sequence[:, : int(there[-1]) + 1 if len(there) else 1]
