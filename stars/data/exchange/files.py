"""New files that appear complete or not at all, and arrays inside zip archives, read and written row by row.

`numpy.load` inflates a member of an npz as a whole, 11 GB for the largest published one, whatever `mmap_mode` says.
"""

import contextlib
import math
import os
import re
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from stars.data.zipped import method_refusal

MAX_BYTES = 64 * 2**30  # of a member; the largest published one has 11 GB
MAX_RATIO = 200  # of inflated to stored bytes: that of padded recordings is below 20
_SMALL = 2**20  # bytes of a member that may be inflated by any ratio
_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    r"\{\s*'descr':\s*'(?P<descr>[<>|=]?[fiub][0-9]{1,2})',\s*'fortran_order':\s*(?P<fortran>True|False),"
    r"\s*'shape':\s*\((?P<shape>[0-9, ]{0,400})\),?\s*\}\s*"
)
"""As every writer of the format spells it."""
# Without a time, equal arrays are equal files; 1980 is the earliest that a zip file can say.
_NO_TIME = (1980, 1, 1, 0, 0, 0)


@contextlib.contextmanager
def new_file(out: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes its name when the block ends well and otherwise leaves nothing behind.

    Raises:
        FileExistsError: `out` exists.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists; allowed: a new file")
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}.{uuid.uuid4().hex}.partial"
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.rename(out)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True, eq=False)
class Array:
    """An array inside an archive.

    Attributes:
        name: of the member.
        shape: as its header says.
        dtype: of its numbers.
        file: what follows the header.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    file: IO[bytes]

    def rows(self) -> Iterator[np.ndarray]:
        """The entries along the first axis, one at a time. Raises ValueError unless the file ends after the last."""
        size = math.prod(self.shape[1:]) * self.dtype.itemsize
        for row in range(self.shape[0]):
            content = self.file.read(size)
            if len(content) != size:
                raise ValueError(f"{self.name} ends in row {row} of {self.shape[0]}")
            yield np.frombuffer(content, self.dtype).reshape(self.shape[1:])
        # Reading to the end is also what compares the checksum.
        if self.file.read(1):
            raise ValueError(f"{self.name} goes on after its {self.shape[0]} rows; allowed: nothing")


def open_array(archive: zipfile.ZipFile, names: tuple[str, ...], stack: ExitStack) -> Array:
    """The first of these members that is there, ready to be read row by row until `stack` closes it.

    Raises:
        ValueError: none is there, or one that is too large, inflated beyond reason, or no array of plain numbers in C
            order.
    """
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    name = next((name for name in names if name in members), None)
    if name is None:
        raise ValueError(f"array {names[0]!r} is missing; there are {', '.join(sorted(members)[:10]) or 'none'}")
    member = members[name]
    if member.file_size > MAX_BYTES:
        raise ValueError(f"{name} has {member.file_size} bytes; allowed: {MAX_BYTES}")
    if member.file_size > _SMALL and member.file_size > MAX_RATIO * member.compress_size:
        raise ValueError(
            f"{name} has {member.file_size} bytes in {member.compress_size}; allowed: {MAX_RATIO} times as many"
        )
    if reason := method_refusal(member):
        raise ValueError(f"{name}: {reason}")
    file = stack.enter_context(archive.open(member))
    header = read_header(file, name)
    if header.is_fortran:
        raise ValueError(f"{name} is in Fortran order; allowed: C order")
    if not header.shape:
        raise ValueError(f"{name} is a single number; allowed: an array of numbers")
    return Array(name, header.shape, header.dtype, file)


@dataclass(frozen=True)
class Header:
    """What precedes the numbers of an array in NumPy's format.

    Attributes:
        shape: lengths of the axes.
        dtype: of its numbers.
        is_fortran: whether the first axis varies fastest.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    is_fortran: bool


def read_header(file: IO[bytes], name: str) -> Header:
    """The header that a file begins with; `file` stands behind it afterwards.

    NumPy's own reader evaluates the header as Python, and lets through what Python raises for hostile text.

    Args:
        file: at its beginning.
        name: for messages.

    Raises:
        ValueError: it is none of an array of plain numbers.
    """
    magic = file.read(len(_MAGIC) + 2)
    # Later versions allow headers of gigabytes, which arrays of plain numbers never need.
    if not magic.startswith(_MAGIC) or len(magic) < len(_MAGIC) + 2:
        raise ValueError(f"{name} has no header of a NumPy array that can be read; allowed: one of version 1")
    text = file.read(int.from_bytes(magic[-2:], "little")).decode("latin1")
    found = _HEADER.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{name} has no header of a NumPy array that can be read: {text[:200]!r}; allowed: an array of numbers"
        )
    lengths = found["shape"].replace(",", " ").split()
    try:
        dtype = np.dtype(found["descr"])
    except TypeError as problem:
        raise ValueError(f"{name} is of numbers that NumPy does not have: {found['descr']}") from problem
    return Header(tuple(map(int, lengths)), dtype, found["fortran"] == "True")


@contextlib.contextmanager
def new_array(archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]) -> Iterator[IO[bytes]]:
    """A member to write after its header, stored without compression as `numpy.savez` does."""
    info = zipfile.ZipInfo(f"{name}.npy", date_time=_NO_TIME)
    with archive.open(info, "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, {"descr": dtype, "fortran_order": False, "shape": shape})
        yield member
