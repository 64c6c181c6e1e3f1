"""How a stage ended: the document that makes an output exist, and the check of files against it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

Status = Literal["finished", "diverged", "oom"]
OUTCOME_SCHEMA = 1


class StoreError(Exception):
    """The store cannot be used, or what it holds is damaged; the message names the place."""


@dataclass(frozen=True, kw_only=True)
class File:
    """One file of an output: its path below the output folder, size in bytes and SHA-256."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a stage ended, once and for all.

    Attributes:
        status: `finished`, `diverged` (non-finite loss) or `oom` (out of memory).
        reason: why, in words; empty when finished.
        horizon: the optimiser steps done when `diverged`, otherwise None.
        attempt: the attempt whose files these are.
        value: the stage's canonical form; rebuilds the exact experiment.
        inputs: SHA-256 of the outcome document of every stage that was read, by input name.
        files: the output, every file with size and hash.
        measured: seconds, device, number of workers, threads, code and library versions, when it finished.
    """

    status: Status
    reason: str = ""
    horizon: int | None = None
    attempt: str
    value: Mapping[str, Any]
    inputs: Mapping[str, str]
    files: tuple[File, ...]
    measured: Mapping[str, Any]
    schema: int = OUTCOME_SCHEMA

    def document(self) -> bytes:
        """The bytes of `outcome.json`."""
        return json.dumps(asdict(self), sort_keys=True, indent=1, allow_nan=False).encode()

    def digest(self) -> str:
        """SHA-256 of the document: what readers of this stage record."""
        return hashlib.sha256(self.document()).hexdigest()


def verify(folder: Path, file: File) -> None:
    """Compare one file with its record. Raises StoreError naming it."""
    path = folder / file.path
    if not path.is_file():
        raise StoreError(f"{path}: missing; its outcome records {file.size} bytes")
    if path.stat().st_size != file.size:
        raise StoreError(f"{path}: {path.stat().st_size} bytes; its outcome records {file.size}")
    if sha256(path) != file.sha256:
        raise StoreError(f"{path}: damaged; its content no longer has the SHA-256 that its outcome records")


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse(document: bytes, path: Path) -> Outcome:
    """The outcome in a document. Raises StoreError naming `path` when this version cannot read it."""
    try:
        content = json.loads(document)
        if content["schema"] != OUTCOME_SCHEMA or content["status"] not in get_args(Status):
            raise ValueError(f"schema {content['schema']}, status {content['status']}")
        content["files"] = tuple(File(**file) for file in content["files"])
        return Outcome(**content)
    except (ValueError, KeyError, TypeError) as problem:
        raise StoreError(f"{path}: not an outcome this version reads ({problem})") from problem
