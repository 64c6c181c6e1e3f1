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
from jaxtyping import Float32, Int64

NUM_JOINTS = 25
MAX_BODIES = 6  # the sensor tracks no more at a time
_BODY_FIELDS = 10
_JOINT_FIELDS = 12
_BODY_LINES = NUM_JOINTS + 2
_LONGEST_END = 64  # white space behind the last line that is not unusual
_MAX_DIGITS = 9  # of a count
_MAX_FRAMES = 1_000_000  # nine hours; what announces more is no recording, and would take memory to no end
_MANY_FIELDS = 4096  # of a line that is refused, further ones are not counted
_WHITE = b" \t\r\n"
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
    return _recording(_fast(content) or _strict(content.replace(b"\r\n", b"\n").rstrip(_WHITE), name), name)


def _recording(text: _Text, name: str) -> Recording:
    """Group the appearances by body."""
    if len(text.ids) == 0:
        raise Unreadable(name, f"none of the {len(text.num_bodies)} frames has a body; at least one is needed", 1)
    frames = np.arange(len(text.num_bodies)).repeat(text.num_bodies)
    is_kept = text.num_bodies > 0
    kept = is_kept.cumsum() - 1
    numbers: dict[bytes, int] = {}
    of_body = np.array([numbers.setdefault(body_id, len(numbers)) for body_id in text.ids])
    bodies, repeated = [], list[int]()
    for body_id, number in numbers.items():
        seen = (of_body == number).nonzero()[0]
        seen_in = frames[seen]
        repeated += seen[1:][seen_in[1:] == seen_in[:-1]].tolist()
        interval = kept[seen_in[0]] + np.arange(len(seen))
        bodies.append(Body(body_id.decode(errors="backslashreplace"), text.joints[seen], interval))
    if repeated:
        first = min(repeated)
        # One line for the number of frames, one per frame so far, and the whole bodies before this one.
        line = 1 + int(frames[first]) + 1 + _BODY_LINES * first + 1
        raise Unreadable(name, f"body {_shown(text.ids[first])} is twice in one frame; ids must differ", line)
    dropped = (~is_kept).nonzero()[0]
    return Recording(name, len(is_kept), len(is_kept) - len(dropped), dropped, tuple(bodies))


def _fast(text: bytes) -> _Text | None:
    """Read a text of numbers with exactly one space or line end after each; None leaves the verdict to `_strict`."""
    # Imports Numba, which few commands need.
    from stars.data.skeleton_compiled import PADDING, SMALLEST_BODY, UNREAD, read

    end = text[-_LONGEST_END:]
    length = len(text) - len(end) + len(end.rstrip(_WHITE))
    text = b"".join((memoryview(text)[:length], b"\n" * PADDING))
    first_line = text[: _MAX_DIGITS + 1].split(maxsplit=1)[:1]
    if not first_line or not first_line[0].isdigit() or int(first_line[0]) > min(len(text), _MAX_FRAMES):
        return None
    room = len(text) // SMALLEST_BODY + 1
    num_bodies, places = np.empty(int(first_line[0]), np.int64), np.empty((room, 2), np.int64)
    joints, unread = np.empty((room, NUM_JOINTS, 3), np.float32), np.empty(room * NUM_JOINTS * 3, np.int64)
    characters = np.frombuffer(text, np.uint8)
    num_appearances, num_unread = read(characters, MAX_BODIES, num_bodies, places, joints, unread)
    if num_appearances <= 0:
        return None
    joints = joints[:num_appearances]
    if num_unread:
        try:
            numbers = [float(text[first : text.index(b" ", first)]) for first in unread[:num_unread].tolist()]
        except ValueError:
            return None
        if any(abs(number) >= _INFINITE for number in numbers):
            return None
        joints[joints == UNREAD] = numbers
    return _Text(num_bodies, [text[first:end] for first, end in places[:num_appearances].tolist()], joints)


class _Lines:
    """The lines of a text, taken one by one; raises `Unreadable` with the number of the line that disappoints."""

    def __init__(self, text: bytes, name: str) -> None:
        # One by one: millions of short lines as objects would take many times the text.
        self.text, self.name = text, name
        self.line, self.end = 0, -1

    def fail(self, reason: str) -> Unreadable:
        return Unreadable(self.name, reason, self.line)

    def next(self) -> bytes | None:
        """The next line; None behind the last."""
        self.line += 1
        start = self.end + 1
        if start > len(self.text):
            return None
        found = self.text.find(b"\n", start)
        self.end = len(self.text) if found < 0 else found
        return self.text[start : self.end]

    def fields(self, what: str, expected: int) -> list[bytes]:
        """The next line's fields."""
        line = self.next()
        if line is None:
            raise self.fail(f"the text ends where {what} should be")
        fields = line.split(maxsplit=_MANY_FIELDS)
        if len(fields) != expected:
            number = len(fields) if len(fields) <= _MANY_FIELDS else f"more than {_MANY_FIELDS}"
            raise self.fail(f"{what} has {number} fields; allowed: {expected}")
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
    num_frames = lines.count("the number of frames", 1, _MAX_FRAMES)
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
    while (more := lines.next()) is not None:
        if more.strip():
            raise lines.fail(f"text after the last of {num_frames} frames; allowed: nothing")
    joints = np.array(coordinates, np.float64).astype(np.float32).reshape(-1, NUM_JOINTS, 3)
    return _Text(np.array(num_bodies, np.int64), ids, joints)


def _shown(field: bytes) -> str:
    text = field.decode(errors="backslashreplace")
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
