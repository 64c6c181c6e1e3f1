"""Slow readers of text that do what the formats' descriptions say, one line after the other, and nothing else."""

import re
from dataclasses import dataclass

import numpy as np

_TOO_LARGE = float(2**128 - 2**103)  # what rounds to no finite 32-bit number
_OF_NUMBERS = re.compile(rb"[0-9+\-.eEnaifNAIF]*")


class Defect(Exception):  # noqa: N818 - it reads as what it says
    """The text is none of its format, first of all in this line."""

    def __init__(self, line: int) -> None:
        """A 1-based line."""
        super().__init__(line)
        self.line = line


@dataclass(frozen=True, eq=False)
class Read:
    """A recording: joints and frame of every appearance of every body, in the order of the text.

    Attributes:
        num_frames: as the first line says.
        empty: 0-based frames without a body.
        bodies: by id, the frame and the joints (25, 3) of each appearance.
    """

    num_frames: int
    empty: list[int]
    bodies: dict[bytes, list[tuple[int, np.ndarray]]]


def read_skeleton(content: bytes) -> Read:
    """Raises Defect."""
    lines = content.replace(b"\r\n", b"\n").rstrip(b" \t\r\n").split(b"\n")
    place = 0

    def fields(number: int) -> list[bytes]:
        nonlocal place
        place += 1
        if place > len(lines) or len(found := lines[place - 1].split()) != number:
            raise Defect(place)
        return found

    def count(lowest: int, highest: int) -> int:
        (field,) = fields(1)
        if not re.fullmatch(rb"[0-9]{1,9}", field) or not lowest <= int(field) <= highest:
            raise Defect(place)
        return int(field)

    num_frames = count(1, 10**6)
    empty: list[int] = []
    seen: list[tuple[int, int, bytes, np.ndarray]] = []
    for frame in range(num_frames):
        num_bodies = count(0, 6)
        empty += [frame] if num_bodies == 0 else []
        for _ in range(num_bodies):
            body, *rest = fields(10)
            head = place
            _checked(rest, place)
            count(25, 25)
            joints = [_xyz(fields(12), place) for _ in range(25)]
            seen.append((head, frame, body, np.array(joints, np.float64).astype(np.float32)))
    for number in range(place, len(lines)):
        if lines[number].split():
            raise Defect(number + 1)
    return _grouped(num_frames, empty, seen)


def _grouped(num_frames: int, empty: list[int], seen: list[tuple[int, int, bytes, np.ndarray]]) -> Read:
    if not seen:
        raise Defect(1)
    bodies: dict[bytes, list[tuple[int, np.ndarray]]] = {}
    for head, frame, body, joints in seen:
        appearances = bodies.setdefault(body, [])
        if appearances and appearances[-1][0] == frame:
            raise Defect(head)
        appearances.append((frame, joints))
    return Read(num_frames, empty, bodies)


def _checked(fields: list[bytes], line: int) -> None:
    if not all(_OF_NUMBERS.fullmatch(field) for field in fields):
        raise Defect(line)


def _xyz(fields: list[bytes], line: int) -> list[float]:
    _checked(fields, line)
    return [_number(field, line) for field in fields[:3]]


def _number(field: bytes, line: int) -> float:
    try:
        number = float(field)
    except ValueError:
        raise Defect(line) from None
    if abs(number) >= _TOO_LARGE:
        raise Defect(line)
    return number


def read_video(content: bytes) -> np.ndarray:
    """The frames of a video of PKU-MMD, (frame, 150). Raises Defect."""
    frames = []
    for number, line in enumerate(content.rstrip().splitlines(), 1):
        fields = line.split()
        # A line with more characters than a frame can have is not looked at.
        if len(fields) != 150 or len(line) > 2**14:
            raise Defect(number)
        _checked(fields, number)
        frames.append([_number(field, number) for field in fields])
    if not frames:
        raise Defect(1)
    return np.array(frames, np.float64).astype(np.float32)


def read_labels(content: bytes) -> list[tuple[int, int, int]]:
    """Class, first frame, and frame after the last, of every action. Raises Defect."""
    actions = []
    for number, line in enumerate(content.rstrip().splitlines(), 1):
        fields = [field.strip() for field in line.split(b",")]
        if len(fields) != 4 or not all(re.fullmatch(rb"[0-9]{1,9}", field) for field in fields[:3]):
            raise Defect(number)
        action, first, after = map(int, fields[:3])
        if not 1 <= action <= 51 or number > 999:
            raise Defect(number)
        actions.append((action, first, after))
    if not actions:
        raise Defect(1)
    return actions
