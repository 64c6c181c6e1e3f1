"""What of a store being written is already safe: a line a part, so that a killed preparation goes on where it was.

The first line names the work (what is read, by which code); every further one is a part: its lines of the index, what
was rejected, and the SHA-256 of its joint rows. Each line starts with its own SHA-256: what a kill or a power cut has
left half written ends the journal there.
"""

import fcntl
import glob
import hashlib
import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

Part = dict[str, Any]
_PACKING = ".packing.partial"


def claim(folder: Path) -> int:
    """Create the folder if need be, and lock it for this process; return the open descriptor that holds the lock.

    The system gives the lock back when the process ends, however it ends.

    Raises:
        FileExistsError: another process holds it.
    """
    while True:
        folder.mkdir(exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The one who held it may just have moved the folder to its final place.
            if folder.is_dir() and folder.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise FileExistsError(f"{folder} is being written by another process; wait for it, or stop it") from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def claim_new(out: Path) -> tuple[Path, int]:
    """A new folder beside `out`, locked for this process, and the open descriptor that holds the lock.

    What processes that were killed have left there of the same kind is removed: nobody can go on in it.
    """
    for left in out.parent.glob(f".{glob.escape(out.name)}.*{_PACKING}"):
        _remove_if_left(left)
    begun = out.parent / f".{out.name}.{uuid.uuid4().hex}.begun"
    begun.mkdir()
    descriptor = os.open(begun, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever has the final kind of name is locked from the first moment on.
        return begun.rename(begun.with_suffix(_PACKING)), descriptor
    except BaseException:
        os.close(descriptor)
        raise


def _remove_if_left(folder: Path) -> None:
    """Remove a folder of `claim_new`, unless a living process holds its lock."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        # It has just taken its final place, or somebody else has removed it.
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if folder.is_dir() and folder.stat().st_ino == os.fstat(descriptor).st_ino:
            shutil.rmtree(folder)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)


class Journal:
    """The journal of one folder, open for appending.

    Attributes:
        parts: what was found to be safe, first to last; empty if the journal is of other work.
    """

    def __init__(self, path: Path, work: str) -> None:
        """Open or create the journal of `work`; one of other work is emptied."""
        first = _line({"work": work})
        content = path.read_bytes() if path.is_file() else b""
        self.parts: list[Part] = []
        self._ends = [len(first)]
        if content.startswith(first):
            for line in content[len(first) :].splitlines(keepends=True):
                part = _read(line)
                if part is None:
                    break
                self.parts.append(part)
                self._ends.append(self._ends[-1] + len(line))
            self._file = path.open("r+b")
        else:
            self._file = path.open("w+b")
            self._file.write(first)
        self.keep(len(self.parts))

    def keep(self, num_parts: int) -> None:
        """Forget the parts after the first so many."""
        del self.parts[num_parts:]
        del self._ends[num_parts + 1 :]
        self._file.truncate(self._ends[-1])
        self._file.seek(self._ends[-1])
        self._file.flush()

    def add(self, part: Part) -> None:
        """Append a part whose joint rows have been written."""
        self._file.write(_line(part))
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _line(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, separators=(",", ":")).encode()
    return hashlib.sha256(text).hexdigest().encode() + b" " + text + b"\n"


def _read(line: bytes) -> Part | None:
    """The part that a line holds; None if it is not whole."""
    checksum, _, text = line.partition(b" ")
    text = text.removesuffix(b"\n")
    if not line.endswith(b"\n") or hashlib.sha256(text).hexdigest().encode() != checksum:
        return None
    part: Part = json.loads(text)
    return part
