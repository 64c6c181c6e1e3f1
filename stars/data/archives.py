"""Raw files where they lie: in folders, or in `.zip` archives as downloaded, which are never unpacked.

Members are read one by one and by name only; nothing of an archive reaches a disk. What a hostile archive could do is
refused by name: absolute names, `..`, links, encryption, rare compressions, and members that are larger, or that grow
more on decompression, than any recording. Archives of more members than any data set are not opened.
"""

import functools
import hashlib
import json
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from stars.data.skeleton import Unreadable
from stars.data.zipped import Zipped, method_refusal

MAX_BYTES = 32 * 2**20
"""Of a file. A recording of NTU RGB+D has 5 MB at most (300 frames of 6 bodies), a video of PKU-MMD some 15 MB."""
MAX_RATIO = 100
"""Of a member's size over its compressed size: text of numbers has 4, a bomb 1000."""
_SMALL = 2**20  # bytes: what is smaller may be compressed as much as it likes
_OPEN_ARCHIVES = 4
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Place:
    """Where one file lies.

    Attributes:
        path: the file, or the archive that holds it.
        member: its name in the archive; None for a file.
        size: in bytes, once decompressed.
        stamp: changes when the content does: the time of the last change in nanoseconds, in an archive the CRC-32.
    """

    path: Path
    member: str | None
    size: int
    stamp: int

    def __str__(self) -> str:
        """The path, and after a colon the member."""
        return str(self.path) if self.member is None else f"{self.path}:{self.member}"


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        places: name without extension to place, in the order of names.
        refused: members of archives that are not read: their names, and why.
    """

    places: dict[str, Place]
    refused: tuple[Unreadable, ...]

    def num_bytes(self) -> dict[str, int]:
        """The size of every file, by its name."""
        return {name: place.size for name, place in self.places.items()}

    def identity(self, names: frozenset[str]) -> str:
        """SHA-256 of what these names stand for; it changes when a file does, and not with the folders' names."""
        stamps = [(name, place.size, place.stamp) for name, place in self.places.items() if name in names]
        return hashlib.sha256(json.dumps([stamps, [str(problem) for problem in self.refused]]).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class Files:
    """Gives the bytes of a file by name; made for the few names that a worker is sent."""

    places: dict[str, Place]
    suffix: str

    def __call__(self, name: str) -> bytes:
        """The whole file, without a byte-order mark. Raises Unreadable if it cannot be read or is too large."""
        return read(self.places[name], name, self.suffix)


def find(raw: Sequence[Path], suffix: str) -> Found:
    """All files that end so, in folders with all their subfolders and in the archives found there or given.

    Raises:
        ValueError: a path that is neither a folder nor an archive, an archive that is none, two files of one name, or
            no file at all.
    """
    if not raw:
        raise ValueError(f"no path is given; allowed: one or more, with {suffix} files")
    places: dict[str, Place] = {}
    refused: list[Unreadable] = []
    for path in raw:
        if not path.is_dir() and not (path.is_file() and path.suffix.lower() == ".zip"):
            raise ValueError(
                f"{path} is no folder; allowed: one with {suffix} files or .zip archives, or such an archive"
            )
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for one in inside:
            if one.is_symlink() and one.is_dir():
                raise ValueError(f"{one} is a link to a folder, which is not followed; allowed: give that folder too")
            if one.suffix.lower() == ".zip" and one.is_file():
                _add(places, _members(one, suffix, refused))
            elif one.suffix.lower() == suffix:
                if _is_text(one.name):
                    _add(places, [(one.stem, _file(one))])
                else:
                    spelled = os.fsencode(one.stem).decode(errors="backslashreplace")
                    refused.append(Unreadable(spelled, "its name is not UTF-8; allowed: UTF-8", suffix=suffix))
    if not places and not refused:
        shown = " and ".join(map(str, raw))
        raise ValueError(f"{shown} holds no {suffix} file; allowed: one or more, in subfolders and .zip archives too")
    return Found(dict(sorted(places.items())), tuple(refused))


def _is_text(name: str) -> bool:
    """Whether a file's name can be written down."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def read(place: Place, name: str, suffix: str) -> bytes:
    """A file's bytes, without a byte-order mark. Raises Unreadable naming why it cannot be read or is refused."""
    if place.size > MAX_BYTES:
        raise Unreadable(name, f"it has {place.size} bytes; allowed: at most {MAX_BYTES}", suffix=suffix)
    try:
        if place.member is None:
            # To open a pipe is to wait for somebody who writes into it.
            if not stat.S_ISREG(place.path.stat().st_mode):
                raise Unreadable(name, "it is no regular file; allowed: regular files", suffix=suffix)
            with place.path.open("rb") as file:
                content = _capped(file, MAX_BYTES)
        else:
            with _archive(place.path, place.path.stat().st_mtime_ns).open(place.member) as member:
                content = _capped(member, place.size)
    except OSError as problem:
        raise Unreadable(name, f"cannot be opened ({problem.strerror or problem})", suffix=suffix) from problem
    except Unreadable:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as problem:
        raise Unreadable(name, f"cannot be read from {place.path.name} ({problem})", suffix=suffix) from problem
    if content is None:
        most = MAX_BYTES if place.member is None else place.size
        raise Unreadable(name, f"it has more than {most} bytes; allowed: at most so many", suffix=suffix)
    return content.removeprefix(_BOM)


def _capped(file: IO[bytes], most: int) -> bytes | None:
    """All of it, but no more than so many bytes are ever in memory; None if there is more."""
    content = file.read(most + 1)
    return None if len(content) > most else content


def _add(places: dict[str, Place], found: Sequence[tuple[str, Place]]) -> None:
    for name, place in found:
        if name in places:
            raise ValueError(f"{places[name]} and {place} have the same name; allowed: one file of a name")
        places[name] = place


def _file(path: Path) -> Place:
    """A file that cannot be looked at now is refused when it is read."""
    try:
        status = path.stat()
    except OSError:
        return Place(path, None, 0, 0)
    return Place(path, None, status.st_size, status.st_mtime_ns)


def _members(path: Path, suffix: str, refused: list[Unreadable]) -> list[tuple[str, Place]]:
    """The members that end so; those that must not be read go to `refused`."""
    try:
        with Zipped(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, ValueError, OSError) as problem:
        raise ValueError(f"{path} is no .zip archive that can be read ({problem})") from problem
    found = []
    for entry in entries:
        # In this order: Python below 3.12 fails at a name of no characters.
        if not entry.filename.endswith(suffix) or entry.is_dir():
            continue
        if reason := _refusal(entry):
            refused.append(Unreadable(f"{path.name}:{entry.filename.removesuffix(suffix)}", reason, suffix=suffix))
        else:
            place = Place(path, entry.filename, entry.file_size, entry.CRC)
            found.append((PurePosixPath(entry.filename).stem, place))
    return found


def _refusal(entry: zipfile.ZipInfo) -> str | None:
    """Why a member is not read; None if nothing speaks against it."""
    name = entry.orig_filename
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return "its name in the archive is absolute; allowed: a relative one"
    if ".." in re.split(r"[/\\]", name) or "\0" in name:
        return "its name in the archive leads elsewhere; allowed: one without '..'"
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in {0, stat.S_IFREG}:
        return "it is a link or no regular file; allowed: regular files"
    if entry.flag_bits & 1:
        return "it is encrypted; allowed: members that are not"
    if reason := method_refusal(entry):
        return reason
    if entry.file_size > MAX_BYTES:
        return f"it has {entry.file_size} bytes; allowed: at most {MAX_BYTES}"
    if entry.file_size > max(_SMALL, MAX_RATIO * entry.compress_size):
        return f"it shrank to 1/{entry.file_size // max(1, entry.compress_size)}; allowed: at least 1/{MAX_RATIO}"
    return None


@functools.lru_cache(maxsize=_OPEN_ARCHIVES)
def _archive(path: Path, changed_ns: int) -> Zipped:  # noqa: ARG001 - another time is another archive
    """An archive, opened once a process: reading its table of contents takes a second."""
    return Zipped(path)
