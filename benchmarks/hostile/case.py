"""A hostile input, and the ways in which any good file becomes one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

Kind = Literal["skeleton", "pku", "labels", "zip", "npz", "pickle", "folder"]
Content = bytes | Mapping[str, bytes]
"""Of a file; of a folder its files, by name."""
Named = Mapping[str, Callable[[Random], Content]]
"""Ways of being hostile that have a name."""

COUNTS = (
    *(b"1000000000", b"999999999", b"-1", b"24", b"7", b"nan", b"0", b"1e3", b"2.0", b"0x19", b"", b"+25", b"25 25"),
    *(b"9" * 400, b"\xd9\xa3", b"1_0", b"\x00", b"inf", b"25\r", b"4294967297", b"18446744073709551617"),
)
"""What may stand where a small whole number should."""
_PIECES = (
    *(b"\x00", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n", b" ", b"\t", b"\x0b", b"\x1c", b"\x85"),
    *(b"-", b".", b"e", b"nan", b"inf", b"-inf", b"1e39", b"1e400", b"1e-400", b"\xc3\xa9", b",", b'"', b"(", b"'"),
)


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        kind: who is to read it.
        name: how it is hostile, in words.
        content: the file, or the files of a folder.
    """

    kind: Kind
    name: str
    content: Content


def altered(random: Random, content: bytes) -> bytes:
    """Some bytes changed, inserted or removed, or everything after some byte cut off."""
    changed = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        place = random.randrange(len(changed) + 1)
        match random.randrange(6):
            case 0:
                del changed[place:]
            case 1:
                del changed[place : place + random.choice((1, 2, 30, 1000))]
            case 2:
                changed[place:place] = random.choice(_PIECES) * random.choice((1, 1, 3))
            case 3:
                changed[place:place] = random.randbytes(random.choice((1, 4, 60)))
            case 4 if place < len(changed):
                changed[place] ^= 1 << random.randrange(8)
            case _:
                changed[place : place + 1] = random.randbytes(1)
    return bytes(changed)


def altered_lines(random: Random, text: bytes) -> bytes:
    """Some lines of a text removed, repeated, exchanged, or with another field."""
    lines = text.split(b"\n")
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(lines))
        match random.randrange(8):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, lines[place])
            case 2:
                other = random.randrange(len(lines))
                lines[place], lines[other] = lines[other], lines[place]
            case 3:
                lines[place] = random.choice(COUNTS)
            case 4:
                lines.insert(place, random.choice((*COUNTS, *_PIECES)))
            case 5:
                del lines[place + 1 :]
            case 6:
                lines[place] = _one_field(random, lines[place])
            case _:
                lines[place] = altered(random, lines[place])
        lines = lines or [b""]
    return b"\n".join(lines)


def _one_field(random: Random, line: bytes) -> bytes:
    separator = b"," if b"," in line else b" "
    fields = line.split(separator)
    fields[random.randrange(len(fields))] = random.choice((*COUNTS, *_PIECES))
    return separator.join(fields)
