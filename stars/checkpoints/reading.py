"""Files of weights, opened without executing anything: torch's zip archives (`.pth`, `.pt`) and safetensors.

The pickle of an archive is read by our own machine (`stars.checkpoints.pickled`); tensors are described first and read
when they are asked for, each checked against the archive's checksum. Memory stays in proportion to the file: nothing
compressed is taken, and tensors take no more than a few times what the file holds.
"""

import contextlib
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stars.checkpoints.pickled import Region, loads
from stars.data.exchange.unpickle import FAULTS, Refused

Container = Literal["torch", "safetensors"]

_MAX_PICKLE = 16 * 2**20  # bytes of an archive's pickle; published ones have 0.2 MB at most
_MAX_HEADER = 16 * 2**20  # bytes of a safetensors header
# Bytes in memory to bytes of the file: tensors may share a storage, as a teacher that never moved does its student's.
_MAX_GROWTH = 4
_ZIP_FAULTS = (
    *(zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, LookupError),
    *(struct.error, OverflowError),
)


class CheckpointError(ValueError):
    """A file of weights cannot be read. The message names the file and the reason."""


@dataclass(frozen=True, eq=False)
class Stored:
    """A tensor that has not been read yet.

    Attributes:
        shape: its lengths.
        dtype: of its elements.
        place: the tensor's key in safetensors, or where it lies in a torch archive.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    place: str | Region

    @property
    def num_bytes(self) -> int:
        """Bytes that it takes in memory."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


class Contents(Protocol):
    """An open file of weights."""

    container: Container
    document: Mapping[str, object]
    """What the file holds by name: tensors as `Stored`, plain values, dicts of these, a Namespace as `Settings`."""
    metadata: Mapping[str, str]
    """Text beside the tensors; only safetensors has any."""

    def load(self, wanted: Mapping[str, Stored]) -> dict[str, Tensor]:
        """The tensors, contiguous and each in memory of its own, with the file's element types.

        Raises:
            CheckpointError: a damaged record, or tensors that together are several times larger than the file.
        """


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Contents]:
    """A file of weights, whose container its first bytes tell.

    Raises:
        CheckpointError: not a file, not one of these containers, cut or damaged, or its pickle asks for more than
            tensors and plain values; nothing in it has been executed.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; allowed: a file of weights")
    with path.open("rb") as file:
        start = file.read(16)
    if start.startswith(b"PK"):
        with _archive(path) as archive:
            yield archive
    elif len(start) > 8 and start[8:9] == b"{":
        with _safetensors(path, int.from_bytes(start[:8], "little")) as contents:
            yield contents
    else:
        raise CheckpointError(f"{path} {_foreign(start)}; allowed: a torch zip archive (.pth, .pt) or safetensors")


def _foreign(start: bytes) -> str:
    if not start:
        return "is empty"
    if start.startswith(b"\x80\x02\x8a\x0a\x6c\xfc"):
        return "is in torch's format before version 1.6 (torch.save writes the new one when the file is saved again)"
    if start[:1] == b"\x80":
        return "is a bare pickle"
    return "is no file of weights"


@contextlib.contextmanager
def _archive(path: Path) -> Iterator["_Archive"]:
    try:
        archive = zipfile.ZipFile(path)
    except _ZIP_FAULTS as problem:
        raise CheckpointError(f"{path} is cut or damaged: {problem}") from problem
    with archive:
        yield _Archive(path, archive)


class _Archive:
    """An open torch archive."""

    container: Container = "torch"
    metadata: Mapping[str, str] = {}

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self.path, self.archive, self.size = path, archive, path.stat().st_size
        self.records = self._checked_records()
        if self._content("byteorder", 16) not in (None, b"little"):
            raise CheckpointError(f"{path} has its numbers in another byte order; allowed: little-endian")
        content = self._content("data.pkl", _MAX_PICKLE)
        if content is None:
            raise CheckpointError(f"{path} is a zip archive that torch did not write; allowed: one with data.pkl")
        try:
            value = _described(loads(content))
        except Refused as problem:
            raise CheckpointError(f"{path} is refused: it asks for {problem}") from problem
        except FAULTS as problem:
            raise CheckpointError(f"{path} holds a pickle that cannot be read: {problem}") from problem
        if not isinstance(value, dict):
            raise CheckpointError(f"{path} holds a {type(value).__name__}; allowed: tensors by name")
        self.document: Mapping[str, object] = {str(name): content for name, content in value.items()}

    def load(self, wanted: Mapping[str, Stored]) -> dict[str, Tensor]:
        """See `Contents`."""
        _check_size(self.path, wanted, self.size)
        # A storage that several tensors share is read once.
        storages: dict[str, Tensor] = {}
        found = {}
        for name, stored in wanted.items():
            region = stored.place
            if not isinstance(region, Region):
                raise TypeError(f"{name} is of another file")
            if not stored.num_bytes:
                found[name] = torch.empty(stored.shape, dtype=stored.dtype)
                continue
            record = f"data/{region.storage}"
            if record not in storages:
                storages[record] = self._storage(record, region)
            whole = storages[record]
            if whole.dtype != region.dtype or len(whole) != region.length:
                raise CheckpointError(f"{self.path}: {name} and another tensor disagree about {record}")
            found[name] = whole.as_strided(region.shape, region.stride, region.offset).contiguous().clone()
        return found

    def _storage(self, record: str, region: Region) -> Tensor:
        num_bytes = region.length * region.dtype.itemsize
        content = self._content(record, num_bytes)
        if content is None or len(content) != num_bytes:
            has = "is absent" if content is None else f"has {len(content)} bytes"
            raise CheckpointError(f"{self.path}: {record} {has}; allowed: {num_bytes} bytes")
        return torch.frombuffer(bytearray(content), dtype=region.dtype)

    def _checked_records(self) -> dict[str, zipfile.ZipInfo]:
        """The archive's members by their name below its own folder."""
        members = self.archive.infolist()
        if compressed := [member.filename for member in members if member.compress_type != zipfile.ZIP_STORED]:
            raise CheckpointError(
                f"{self.path}: {compressed[0]!r} is compressed; allowed: stored as it is, as by torch"
            )
        if sum(member.file_size for member in members) > self.size:
            raise CheckpointError(f"{self.path} announces more than the file holds")
        folders = {member.filename.partition("/")[0] for member in members}
        records = {member.filename.partition("/")[2]: member for member in members}
        if len(folders) != 1 or len(records) != len(members) or "" in records:
            raise CheckpointError(f"{self.path} is a zip archive that torch did not write; allowed: one folder")
        if "constants.pkl" in records:
            raise CheckpointError(f"{self.path} is a TorchScript program; allowed: a state dict")
        return records

    def _content(self, record: str, most: int) -> bytes | None:
        """A member's bytes, None without one. The archive's checksum is compared on the way."""
        member = self.records.get(record)
        if member is None:
            return None
        if member.file_size > most:
            raise CheckpointError(f"{self.path}: {record} has {member.file_size} bytes; allowed: at most {most}")
        try:
            return self.archive.read(member)
        except _ZIP_FAULTS as problem:
            raise CheckpointError(f"{self.path}: {record} is cut or damaged: {problem}") from problem


def _described(value: object) -> object:
    """The document with `Stored` in place of regions, two dicts deep: deeper no layout has tensors."""
    if isinstance(value, Region):
        return Stored(value.shape, value.dtype, value)
    if isinstance(value, dict):
        return {name: _flat(member) for name, member in value.items()}
    return value


def _flat(value: object) -> object:
    if isinstance(value, dict):
        return {
            name: Stored(member.shape, member.dtype, member) if isinstance(member, Region) else member
            for name, member in value.items()
        }
    return Stored(value.shape, value.dtype, value) if isinstance(value, Region) else value


@contextlib.contextmanager
def _safetensors(path: Path, header: int) -> Iterator["_Safetensors"]:
    if header > min(_MAX_HEADER, path.stat().st_size - 8):
        raise CheckpointError(f"{path} is cut, or announces a header of {header} bytes; allowed: at most {_MAX_HEADER}")
    try:
        with safe_open(path, framework="pt") as file:
            contents = _Safetensors(path, file)
            yield contents
    except SafetensorError as problem:
        raise CheckpointError(f"{path} is cut or damaged: {problem}") from problem


class _Safetensors:
    """An open safetensors file, whose own reader checks lengths and offsets."""

    container: Container = "safetensors"

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self.file = path, file
        self.metadata: Mapping[str, str] = file.metadata() or {}
        names = list(file.keys())
        # Mapped, not read: an element's type is known to torch only.
        shown = {name: file.get_tensor(name) for name in names}
        self.document: Mapping[str, object] = {
            name: Stored(tuple(tensor.shape), tensor.dtype, name) for name, tensor in shown.items()
        }

    def load(self, wanted: Mapping[str, Stored]) -> dict[str, Tensor]:
        """See `Contents`."""
        _check_size(self.path, wanted, self.path.stat().st_size)
        return {name: self.file.get_tensor(str(stored.place)).clone() for name, stored in wanted.items()}


def _check_size(path: Path, wanted: Mapping[str, Stored], size: int) -> None:
    most = _MAX_GROWTH * size
    if (announced := sum(stored.num_bytes for stored in wanted.values())) > most:
        raise CheckpointError(f"{path}: its tensors take {announced} bytes; allowed: {most}, by the size of the file")
