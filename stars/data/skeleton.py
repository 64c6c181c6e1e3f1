"""The `.skeleton` text of NTU RGB+D: from characters to the joints of every tracked body.

The text: the number of frames; per frame the number of bodies; per body a line of 10 fields (the first is the body's
id), a line with the number of joints (25) and 25 lines of 12 fields (x y z in metres, camera space, then pixel
coordinates, orientation and tracking state). Counts and x y z are numbers, `nan` included; the id is any text; of the
fields that nobody reads, only their number and their characters (those of numbers) are checked.

Two passes read the same grammar. `_fast` looks at the whole text at once and gives up on anything unusual; then
`_strict` walks line by line, and either reads it after all or names the line of the first defect.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from jaxtyping import Float32, Int64

NUM_JOINTS = 25
MAX_BODIES = 6  # the sensor tracks no more at a time
_BODY_FIELDS = 10
_JOINT_FIELDS = 12
_BODY_LINES = NUM_JOINTS + 2
_MAX_DIGITS = 9  # of a count
_OF_NUMBERS = b"0123456789+-.eEnaifNAIF"  # the letters are those of nan and inf
_INFINITE = float(2**128 - 2**103)  # the smallest double that no 32-bit number stands for

Index = npt.NDArray[np.int64]


class Unreadable(ValueError):  # noqa: N818 — it reads as what it says
    """A recording that cannot be used, and why.

    Attributes:
        name: the recording, without its extension.
        line: 1-based line of the first defect; None if the text is well formed but its content is unusable.
        reason: what was found and what is allowed.
        suffix: the file's extension.
    """

    def __init__(self, name: str, reason: str, line: int | None = None, suffix: str = ".skeleton") -> None:
        """Compose the message from its parts, which stay readable as attributes."""
        super().__init__(f"{name}{suffix}{'' if line is None else f', line {line}'}: {reason}")
        self.name, self.line, self.reason, self.suffix = name, line, reason, suffix

    def __reduce__(self) -> tuple[type["Unreadable"], tuple[str, str, int | None, str]]:
        """Rebuild from the parts, so that the exception survives the way back from a worker process."""
        return type(self), (self.name, self.reason, self.line, self.suffix)

    @property
    def file(self) -> str:
        """The file's name."""
        return self.name + self.suffix


@dataclass(frozen=True, eq=False)
class Body:
    """One tracked person.

    Attributes:
        id: the sensor's identifier, as text.
        joints: x, y, z in metres, camera space, one row per appearance.
        interval: the frame of every appearance as the published parser counts: frames without any body are not
            counted, and the first appearance is right but each later one is its predecessor plus one, so that a
            body which vanishes for k frames and returns is k frames early.
    """

    id: str
    joints: Float32[np.ndarray, "appearance joint 3"]
    interval: Int64[np.ndarray, " appearance"]


@dataclass(frozen=True, eq=False)
class Recording:
    """One `.skeleton` file.

    Attributes:
        name: the recording, without its extension.
        num_frames_in_file: frames that the first line announces.
        num_frames: frames with at least one body; the others are dropped.
        dropped: 0-based indices, in the file, of the frames without a body.
        bodies: in the order in which they are first seen.
    """

    name: str
    num_frames_in_file: int
    num_frames: int
    dropped: Int64[np.ndarray, " frame"]
    bodies: tuple[Body, ...]


@dataclass(frozen=True, eq=False)
class _Text:
    """What both passes return: bodies per frame, and id and joints per appearance in the order of the text."""

    num_bodies: Index
    ids: Sequence[bytes]
    joints: Float32[np.ndarray, "appearance joint 3"]


def parse(text: str | bytes, name: str) -> Recording:
    """Read one recording.

    Args:
        text: the whole file; lines end with LF or CRLF.
        name: the recording, for messages; it is not interpreted.

    Raises:
        Unreadable: the text ends early or goes on after its last frame, a field is missing or is no number, a count
            is impossible, a body appears twice in a frame, a coordinate is infinite, or no frame has a body.
    """
    content = text.encode(errors="surrogatepass") if isinstance(text, str) else text
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n")
    content = content.rstrip(b" \t\r\n")
    return _recording(_fast(content + b"\n") or _strict(content, name), name)


def _recording(text: _Text, name: str) -> Recording:
    """Group the appearances by body."""
    if len(text.ids) == 0:
        raise Unreadable(name, f"none of the {len(text.num_bodies)} frames has a body; at least one is needed", 1)
    frames = np.repeat(np.arange(len(text.num_bodies)), text.num_bodies)
    kept = np.cumsum(text.num_bodies > 0) - 1
    appearances: dict[bytes, list[int]] = {}
    for appearance, body_id in enumerate(text.ids):
        seen = appearances.setdefault(body_id, [])
        if seen and frames[seen[-1]] == frames[appearance]:
            # One line for the number of frames, one per frame so far, and the whole bodies before this one.
            line = 1 + int(frames[appearance]) + 1 + _BODY_LINES * appearance + 1
            raise Unreadable(name, f"body {_shown(body_id)} is twice in one frame; ids must differ", line)
        seen.append(appearance)
    bodies = tuple(
        Body(body_id.decode(errors="backslashreplace"), text.joints[seen], kept[frames[seen[0]]] + np.arange(len(seen)))
        for body_id, seen in appearances.items()
    )
    dropped = np.flatnonzero(text.num_bodies == 0)
    return Recording(name, len(text.num_bodies), len(text.num_bodies) - len(dropped), dropped, bodies)


def _fast(text: bytes) -> _Text | None:
    """Read a text of numbers with exactly one space or line end after each; None leaves the verdict to `_strict`."""
    if text.translate(None, _OF_NUMBERS + b" \n"):
        return None
    characters = np.frombuffer(text, np.uint8)
    spaces = np.flatnonzero(characters <= ord(" "))
    if spaces[0] == 0 or (np.diff(spaces) == 1).any():
        return None
    ends = np.flatnonzero(characters[spaces] == ord("\n"))
    num_fields = np.diff(ends, prepend=-1)
    bodies = np.flatnonzero(num_fields == _BODY_FIELDS)
    joints = bodies[:, None] + np.arange(2, _BODY_LINES)
    if len(bodies) == 0 or joints[-1, -1] >= len(ends) or (num_fields[joints] != _JOINT_FIELDS).any():
        return None

    starts = np.concatenate(([0], spaces[ends] + 1)).tolist()
    if {text[starts[line + 1] : starts[line + 2]] for line in bodies.tolist()} != {b"%d\n" % NUM_JOINTS}:
        return None
    is_count = np.ones(len(ends), bool)
    is_count[bodies[:, None] + np.arange(_BODY_LINES)] = False
    counts = np.flatnonzero(is_count)
    num_bodies = _num_bodies([text[starts[line] : starts[line + 1] - 1] for line in counts], counts, len(ends))
    if num_bodies is None:
        return None

    ids = [
        text[start:end] for start, end in zip(spaces[ends[bodies - 1]] + 1, spaces[ends[bodies - 1] + 1], strict=True)
    ]
    first_end = ends[joints].ravel() - _JOINT_FIELDS + 1
    xyz_ends = first_end[:, None] + np.arange(3)
    xyz = _numbers(text, spaces[xyz_ends - 1].ravel() + 1, spaces[xyz_ends].ravel())
    return None if xyz is None or np.isinf(xyz).any() else _Text(num_bodies, ids, xyz.reshape(-1, NUM_JOINTS, 3))


def _num_bodies(values: list[bytes], lines: Index, num_lines: int) -> Index | None:
    """The bodies of every frame, given the lines that hold one count each; None unless all lines are accounted for."""
    if not all(value.isdigit() and len(value) <= _MAX_DIGITS for value in values):
        return None
    num_frames, *num_bodies = map(int, values)
    frames = np.array(num_bodies, np.int64)
    expected = 1 + np.cumsum(np.concatenate(([0], 1 + _BODY_LINES * frames)))
    found = np.concatenate((lines[1:], [num_lines]))
    consistent = num_frames == len(frames) and lines[0] == 0 and np.array_equal(found, expected)
    return frames if consistent and frames.max() <= MAX_BODIES else None


def _numbers(text: bytes, starts: Index, ends: Index) -> Float32[np.ndarray, " number"] | None:
    """Convert what stands between starts and ends, to double precision first as Python does; None if it is no number.

    Arrow reads the text in place: every second string of the array, the one between two numbers, is null.
    """
    offsets = np.stack((starts, ends), axis=1).astype(np.int32)
    num_strings = offsets.size - 1
    every_second = pa.py_buffer(b"\x55" * (num_strings // 8 + 1))
    buffers = [every_second, pa.py_buffer(offsets), pa.py_buffer(text)]
    try:
        doubles = pa.Array.from_buffers(pa.string(), num_strings, buffers).cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    with np.errstate(over="ignore"):
        return np.frombuffer(doubles.buffers()[1], np.float64, num_strings)[::2].astype(np.float32)


class _Lines:
    """The lines of a text, taken one by one; raises `Unreadable` with the number of the line that disappoints."""

    def __init__(self, text: bytes, name: str) -> None:
        self.lines = text.split(b"\n")
        self.name, self.line = name, 0

    def fail(self, reason: str) -> Unreadable:
        return Unreadable(self.name, reason, self.line)

    def fields(self, what: str, expected: int) -> list[bytes]:
        """The next line's fields."""
        self.line += 1
        if self.line > len(self.lines):
            raise self.fail(f"the text ends where {what} should be")
        fields = self.lines[self.line - 1].split()
        if len(fields) != expected:
            raise self.fail(f"{what} has {len(fields)} fields; allowed: {expected}")
        return fields

    def count(self, what: str, lowest: int, highest: int) -> int:
        """The next line as a whole number between the two bounds."""
        (field,) = self.fields(what, 1)
        if not (field.isdigit() and len(field) <= _MAX_DIGITS and lowest <= int(field) <= highest):
            allowed = f"{lowest}" if lowest == highest else f"a whole number from {lowest} to {highest}"
            raise self.fail(f"{what} is {_shown(field)}; allowed: {allowed}")
        return int(field)

    def check_unread(self, fields: list[bytes], what: str) -> None:
        """Refuse fields of the current line that hold other characters than those of numbers."""
        for field in fields:
            if field.translate(None, _OF_NUMBERS):
                raise self.fail(f"{what} contains {_shown(field)}; allowed: numbers")

    def coordinates(self, fields: list[bytes], what: str) -> list[float]:
        """The first three fields of the current line as x, y, z."""
        self.check_unread(fields, what)
        try:
            xyz = [float(field) for field in fields[:3]]
        except ValueError:
            shown = " ".join(map(_shown, fields[:3]))
            raise self.fail(f"{what} is at {shown}; allowed: three numbers") from None
        if any(abs(number) >= _INFINITE for number in xyz):
            raise self.fail(f"{what} is at {xyz}; allowed: finite 32-bit numbers, or nan")
        return xyz


def _strict(text: bytes, name: str) -> _Text:
    """Read line by line. Raises Unreadable at the first line that is not what the grammar asks for."""
    if not text:
        raise Unreadable(name, "the file is empty", 1)
    lines = _Lines(text, name)
    num_bodies: list[int] = []
    ids: list[bytes] = []
    coordinates: list[list[float]] = []
    num_frames = lines.count("the number of frames", 1, 10**_MAX_DIGITS)
    for frame in range(num_frames):
        num_bodies.append(lines.count(f"the number of bodies of frame {frame}", 0, MAX_BODIES))
        for body in range(num_bodies[-1]):
            where = f"body {body} of frame {frame}"
            body_id, *rest = lines.fields(where, _BODY_FIELDS)
            lines.check_unread(rest, where)
            ids.append(body_id)
            lines.count(f"the number of joints of {where}", NUM_JOINTS, NUM_JOINTS)
            for joint in range(NUM_JOINTS):
                what = f"joint {joint} of {where}"
                coordinates.append(lines.coordinates(lines.fields(what, _JOINT_FIELDS), what))
    for more in lines.lines[lines.line :]:
        lines.line += 1
        if more.strip():
            raise lines.fail(f"text after the last of {num_frames} frames; allowed: nothing")
    joints = np.array(coordinates, np.float64).astype(np.float32).reshape(-1, NUM_JOINTS, 3)
    return _Text(np.array(num_bodies, np.int64), ids, joints)


def _shown(field: bytes) -> str:
    text = field.decode(errors="backslashreplace")
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
