"""Hostile zip archives of recordings."""

# ruff: noqa: ARG001, ARG005 - every way of being hostile is offered a generator, and many need none

import io
import stat
import struct
import zipfile
from collections.abc import Sequence
from random import Random

from benchmarks.hostile.case import Case, Named, altered
from benchmarks.hostile.texts import skeleton_text

SUFFIX = ".skeleton"
_CENTRAL = b"PK\x01\x02"
_Members = Sequence[tuple[zipfile.ZipInfo | str, bytes]]


def _zipped(members: _Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return file.getvalue()


def good(random: Random) -> bytes:
    """Three recordings."""
    method = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    names = [f"nturgb+d_skeletons/S001C001P{number:03d}R001A001{SUFFIX}" for number in (1, 2, 3)]
    return _zipped([(name, skeleton_text(random, 1)) for name in names], method)


def _of_mode(mode: int) -> bytes:
    entry = zipfile.ZipInfo(f"x{SUFFIX}")
    entry.external_attr = (mode | 0o644) << 16
    return _zipped([(entry, b"/etc/passwd")])


def _patched(content: bytes, offset: int, layout: str, *values: int) -> bytes:
    """Numbers changed in the first entry of the table of contents."""
    start = content.index(_CENTRAL) + offset
    return content[:start] + struct.pack(layout, *values) + content[start + struct.calcsize(layout) :]


def _nested(random: Random) -> bytes:
    content = good(random)
    for _ in range(20):
        content = _zipped([("inner.zip", content), (f"inner.zip{SUFFIX}", content)], zipfile.ZIP_STORED)
        content = content if len(content) < 2**18 else good(random)
    return content


def _bomb(size: int, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    return _zipped([(f"bomb{SUFFIX}", bytes(size))], method)


def _lying_bomb(random: Random) -> bytes:
    """Sixteen megabytes that announce themselves as a hundred bytes."""
    return _patched(_bomb(2**24), 24, "<I", 100)


def _overlapping(random: Random) -> bytes:
    """A table of contents whose entries all mean the same bytes."""
    content = bytearray(_zipped([(f"{number}{SUFFIX}", skeleton_text(random, 1)) for number in range(3)]))
    start = 0
    while (start := content.find(_CENTRAL, start)) >= 0:
        content[start + 42 : start + 46] = bytes(4)
        start += 4
    return bytes(content)


def _too_many(num_members: int) -> bytes:
    """Entries of a table of contents, and nothing that they mean."""
    name = b"a.skeleton"
    entry = (
        _CENTRAL + struct.pack("<HHHHHHIIIHHHHHII", 20, 20, 0, 0, 0, 33, 0, 0, 0, len(name), 0, 0, 0, 0, 0, 0) + name
    )
    table = entry * num_members
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(table), 0, 0)
    return table + end


def _end(size: int, offset: int) -> bytes:
    return b"x" * 100 + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, size, offset, 0)


def _with_name(name: str) -> bytes:
    return _zipped([(f"{name}{SUFFIX}", b"1"), (f"good{SUFFIX}", b"1")])


NAMED: Named = {
    "a name that leads up": lambda random: _with_name("../x"),
    "a name that leads down and up": lambda random: _with_name("a/../../x"),
    "backslashes": lambda random: _with_name("a\\..\\x"),
    "an absolute name": lambda random: _with_name("/etc/x"),
    "a drive": lambda random: _with_name("C:\\x"),
    "a name of no characters": lambda random: _patched(_zipped([("x", b"1")]), 28, "<HH", 0, 1),
    "a long name": lambda random: _with_name("x" * 60_000),
    "an odd name": lambda random: _with_name(random.choice(("\n", " ", "\x1b[31m", "é" * 50, "a\rb", "￿"))),
    "a link": lambda random: _of_mode(stat.S_IFLNK),
    "a pipe": lambda random: _of_mode(stat.S_IFIFO),
    "a device": lambda random: _of_mode(stat.S_IFCHR),
    "a bomb": lambda random: _bomb(2**24),
    "a bomb that lies about its size": _lying_bomb,
    "a bomb by bzip2": lambda random: _bomb(2**24, zipfile.ZIP_BZIP2),
    "a bomb by LZMA": lambda random: _bomb(2**24, zipfile.ZIP_LZMA),
    "a size of four gigabytes": lambda random: _patched(good(random), 24, "<I", 2**32 - 2),
    "sizes of four gigabytes": lambda random: _patched(good(random), 20, "<II", 2**32 - 2, 2**32 - 2),
    "a member far away": lambda random: _patched(good(random), 42, "<I", 2**31),
    "an encrypted member": lambda random: _patched(good(random), 8, "<H", 1),
    "an unknown compression": lambda random: _patched(good(random), 10, "<H", 97),
    "a version to come": lambda random: _patched(good(random), 6, "<H", 255),
    "members in one place": _overlapping,
    "two of one name": lambda random: _zipped([(f"a/x{SUFFIX}", b"1"), (f"b/x{SUFFIX}", b"2")]),
    "nested": _nested,
    "cut anywhere": lambda random: (content := good(random))[: random.randrange(len(content))],
    "a table of four gigabytes": lambda random: _end(2**32 - 2, 0),
    "a table before the beginning": lambda random: _end(50, 2**31),
    "empty": lambda random: random.choice((b"", b"PK\x05\x06" + bytes(18), b"PK\x03\x04")),
    "random bytes": lambda random: random.randbytes(random.randrange(500)),
}
LARGE_NAMED: Named = {
    "members without number": lambda random: _too_many(500_000),
    "as many members as are allowed": lambda random: _too_many(131_072),
    "a bomb of a gigabyte": lambda random: _bomb(2**30),
    "a bomb of a gigabyte that lies about its size": lambda random: _patched(_bomb(2**30), 24, "<I", 2**20),
}


def draw(random: Random) -> Case:
    """An archive of recordings with any bytes changed, or one of the named ones."""
    if random.randrange(3) == 0:
        name = random.choice(sorted(NAMED))
        return Case("zip", name, NAMED[name](random))
    content = good(random)
    if random.randrange(2):
        return Case("zip", "bytes", altered(random, content))
    # Most bytes of an archive are compressed text, whose checksum finds every change.
    start = content.index(_CENTRAL)
    return Case("zip", "bytes of the table of contents", content[:start] + altered(random, content[start:]))
