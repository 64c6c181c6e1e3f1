"""What a killed driver may leave of a search's journal, and how it is put in order."""

import json
import os
from pathlib import Path

from stars.outcome import StoreError


def repair(path: Path) -> None:
    """Cut off a last line that was not written to its end, and take away the lock of a writer that is no more.

    The journal has one JSON object a line, and a line is appended in one go: only the last one can be unfinished, and
    what it should have said then never was. The caller is the journal's only writer.

    Raises:
        StoreError: another line is damaged; names the file and the line.
    """
    for leftover in path.parent.glob(f"{path.name}.lock*"):
        leftover.unlink()
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            json.loads(line)
        except ValueError as problem:
            raise StoreError(f"{path}: line {number} is damaged ({problem})") from problem
    if whole < len(content):
        with path.open("r+b") as stream:
            stream.truncate(whole)
            os.fsync(stream.fileno())
