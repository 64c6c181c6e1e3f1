"""Lists of training samples beside a packed store, each named by its SHA-256: `lists/<sha256>.txt`.

A data set that lists its training samples itself (PKU-MMD does) brings them along, and its manifest says which list is
which protocol. A list of one's own is kept the same way; a value records its hash (`Data.train_list`), so that another
list is another experiment.
"""

import hashlib
import itertools
import os
import uuid
from collections.abc import Iterable
from pathlib import Path


def text_of(names: Iterable[str]) -> str:
    """One name a line, ascending.

    Raises:
        ValueError: a name that occurs twice, or one that is empty or has a line end in it.
    """
    ordered = sorted(names)
    for name, following in itertools.pairwise(ordered):
        if name == following:
            raise ValueError(f"the list of training samples has {name!r} twice; allowed: once")
    for name in ordered:
        if name.splitlines() != [name]:
            raise ValueError(f"the list of training samples has {name!r}; allowed: names of one line")
    return "".join(f"{name}\n" for name in ordered)


def digest(names: Iterable[str]) -> str:
    """The list's name: SHA-256 of its text, 64 hexadecimal digits."""
    return hashlib.sha256(text_of(names).encode()).hexdigest()


def place(digest: str) -> str:
    """Where a list lies, seen from the folder of its store."""
    return f"lists/{digest}.txt"


def keep(folder: Path, names: Iterable[str]) -> str:
    """Write a list of training samples into the folder of a store, unless it is there; return its hash.

    The store's content stays what it was: a list is no part of it, unless the manifest names it.
    """
    text = text_of(names)
    digest = hashlib.sha256(text.encode()).hexdigest()
    path = folder / place(digest)
    path.parent.mkdir(exist_ok=True)
    written = path.with_name(f".{digest}.{uuid.uuid4().hex}")
    written.write_text(text, encoding="utf-8")
    os.replace(written, path)  # noqa: PTH105 - a whole list at once, also if another writes the same one
    return digest


def names_in(path: Path) -> list[str]:
    """The names in somebody's file, one a line; empty lines and blanks around a name count for nothing.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not text in UTF-8, or names nothing.
    """
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as problem:
        raise ValueError(f"{path}: not text in UTF-8 ({problem.reason} at byte {problem.start})") from problem
    if not names:
        raise ValueError(f"{path}: names no sample; allowed: one name a line")
    return names


def read(folder: Path, digest: str) -> list[str]:
    """The names of a list, ascending.

    Raises:
        OSError: there is no such list.
        ValueError: the hash is none, or the text is not what was written.
    """
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise ValueError(f"{digest!r} names no list; allowed: 64 hexadecimal digits")
    content = (folder / place(digest)).read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError("altered since it was written, its SHA-256 is not its name")
    return content.decode().splitlines()
