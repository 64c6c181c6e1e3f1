"""What survives a power cut."""

import os
from pathlib import Path


def to_disk(path: Path) -> None:
    """Have the system write out a file, or a folder's entries."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
