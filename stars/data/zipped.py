"""Zip archives of strangers: opened only if their table of contents is one that fits into memory."""

import io
import zipfile
from pathlib import Path

MAX_MEMBERS = 131_072
"""Of an archive: both parts of NTU RGB+D 120 together have 114,480."""
MAX_CONTENTS = 24 * 2**20
"""Bytes of the table of contents, which is read as a whole: that of those members has 15 MB."""
_ENTRY = b"PK\x01\x02"
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


class Zipped(zipfile.ZipFile):
    """An archive, open for reading.

    Python's own class makes an object of every entry before anybody can count them, some 15 bytes of memory for each
    byte of the file.
    """

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            zipfile.BadZipFile: it is no archive, or has too many members.
            ValueError, NotImplementedError: its table of contents is damaged, or of an unknown kind.
            OSError: it cannot be opened.
        """
        self._watched: _Watched | None = None
        self._watched = _Watched(path)
        try:
            super().__init__(self._watched)
        except BaseException:
            self._watched.close()
            raise
        self._watched.is_opening = False

    def close(self) -> None:
        """Close it, and its file."""
        # Python calls it, too, for an archive that could not be opened.
        if self._watched is not None:
            super().close()
            self._watched.close()


class _Watched(io.BufferedReader):
    """A file that refuses to hand out a table of contents that is too large."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.is_opening = True

    def read(self, size: int | None = -1, /) -> bytes:
        if self.is_opening and size is not None and size > MAX_CONTENTS:
            raise zipfile.BadZipFile(f"its table of contents has {size} bytes; allowed: at most {MAX_CONTENTS}")
        content = super().read(size)
        # Every entry begins so; other bytes may too, but not in an archive of recordings.
        if self.is_opening and (num_members := content.count(_ENTRY)) > MAX_MEMBERS:
            raise zipfile.BadZipFile(f"it has {num_members} members; allowed: at most {MAX_MEMBERS}")
        return content


def method_refusal(entry: zipfile.ZipInfo) -> str | None:
    """Why a member's compression is not read; None if it is.

    Only these two are inflated piece by piece; others become whole in memory, whatever size was announced.
    """
    if entry.compress_type in _METHODS:
        return None
    name = zipfile.compressor_names.get(entry.compress_type, str(entry.compress_type))  # type: ignore[attr-defined]
    return f"it is compressed by {name}; allowed: deflated, or not at all"
