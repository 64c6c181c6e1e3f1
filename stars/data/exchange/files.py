"""New files that appear complete or not at all, and arrays inside zip archives, read and written row by row.

`numpy.load` inflates a member of an npz as a whole, 11 GB for the largest published one, whatever `mmap_mode` says.
"""

import contextlib
import math
import os
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

MAX_BYTES = 64 * 2**30  # of a member; the largest published one has 11 GB
MAX_RATIO = 200  # of inflated to stored bytes: that of padded recordings is below 20
_SMALL = 2**20  # bytes of a member that may be inflated by any ratio
_LONGEST_HEADER = 10_000
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
    file = stack.enter_context(archive.open(member))
    shape, dtype = _header(file, name)
    if dtype.kind not in "fiub" or any(length < 0 for length in shape) or not shape:
        raise ValueError(f"{name} is {dtype} {shape}; allowed: an array of numbers")
    return Array(name, shape, dtype, file)


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    try:
        version = np.lib.format.read_magic(file)
        # Later versions allow headers of gigabytes, which arrays of plain numbers never need.
        if version != (1, 0):
            raise ValueError(f"it has version {version}; allowed: (1, 0)")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_LONGEST_HEADER)
    except ValueError as problem:
        raise ValueError(f"{name} has no header of a NumPy array that can be read: {problem}") from problem
    if fortran:
        raise ValueError(f"{name} is in Fortran order; allowed: C order")
    return shape, dtype


@contextlib.contextmanager
def new_array(archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]) -> Iterator[IO[bytes]]:
    """A member to write after its header, stored without compression as `numpy.savez` does."""
    info = zipfile.ZipInfo(f"{name}.npy", date_time=_NO_TIME)
    with archive.open(info, "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, {"descr": dtype, "fortran_order": False, "shape": shape})
        yield member
