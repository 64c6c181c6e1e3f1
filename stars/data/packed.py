"""The packed store: one folder per data set, all sequences in one memory-mapped array.

    joints.npy         float32 (rows, joints, 3), metres: body after body, only the frames in which it is there
    index.parquet      one line per sample, ordered by name: what it shows and where its bodies lie
    rejected.parquet   what could not be used: file, line, reason
    manifest.json      what the store holds, and size and SHA-256 of the other files
    lists/             lists of training samples, each named by its SHA-256 (stars.data.lists)

Ragged and without padding it is a sixth of the published data files, and one store serves every protocol. A body
occupies one run of rows, from its first to its last frame with a coordinate other than zero. NaN coordinates are kept.

The `content` of a store is the SHA-256 of what it says (index columns and joint bytes, ordered by name, and the
protocols that it brings), never of paths, times, the name of the data set, rejected files or the encoding of Parquet.
An experiment's value records it.
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int64

from stars.data import lists

SCHEMA_VERSION = 1
JOINT_LAYOUT = "kinect-v2-25"
NUM_BODIES = 2

JOINTS = "joints.npy"
INDEX = "index.parquet"
REJECTED = "rejected.parquet"
MANIFEST = "manifest.json"

_SPAN = ("first_frame", "num_frames", "first_row")
SPANS = [f"body{body}_{part}" for body in range(1, NUM_BODIES + 1) for part in _SPAN]

# num_frames: length of the sequence. valid: frames whose 32-bit sum over everything is not zero; the published code
# counts so and then takes the count for the length of a prefix. num_bodies: 1 or 2, the slots that the preprocessing
# gave the sequence, of which the second may be empty. num_nan: coordinates that are NaN. A body with num_frames 0 is
# absent.
_NUMBERS = ["action", "subject", "camera", "setup", "replication", "num_frames", "valid", "num_bodies", "num_nan"]
INDEX_SCHEMA = pa.schema([("name", pa.string()), *((column, pa.int64()) for column in _NUMBERS + SPANS)])
REJECTED_SCHEMA = pa.schema([("file", pa.string()), ("line", pa.int64()), ("reason", pa.string())])

Row = Mapping[str, Any]
SecondBody = Literal["zero", "copy"]

UNKNOWN = 0
"""Subject, camera, setup or replication of a sample of which it is not known; what is known counts from 1."""


_LATER: Mapping[str, object] = {"second_body": "zero", "protocols": {}}


class Damaged(ValueError):  # noqa: N818 — it reads as what it says
    """A folder that is no packed store, or one whose files are not what its manifest says. Names the file."""


@dataclass(frozen=True, kw_only=True)
class File:
    """Size in bytes and SHA-256 of one file of a store."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a packed store holds.

    Attributes:
        name: the data set, for people and tables.
        schema_version: of this layout.
        joint_layout: which joint is which.
        num_joints: joints of a body.
        num_samples: sequences.
        num_rows: frames of bodies, the length of `joints.npy`.
        num_rejected: recordings that could not be used.
        max_frames: length of the longest sequence.
        source: where the sequences come from, in words.
        content: SHA-256 of what the store says.
        files: the other files of the folder.
        second_body: what the published data files of this data set hold in place of the second body of a sequence of
            one: zeros (NTU-60, PKU-MMD), or a copy of the first (NTU-120). The store itself holds neither.
        protocols: protocols whose training samples the data set lists itself: protocol to list (`lists/`).
    """

    name: str
    schema_version: int
    joint_layout: str
    num_joints: int
    num_samples: int
    num_rows: int
    num_rejected: int
    max_frames: int
    source: str
    content: str
    files: Mapping[str, File]
    second_body: SecondBody = "zero"
    protocols: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def text(self) -> str:
        """The text of `manifest.json`; its last entry is a checksum of the others.

        Fields that came later are left out at their default: stores from before them stay as they are.
        """
        document = dataclasses.asdict(self)
        for name, default in _LATER.items():
            if document[name] == default:
                del document[name]
        return json.dumps({**document, "checksum": _checksum(document)}, indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a store. Raises Damaged if there is none, or not one that this code wrote."""
        path = folder / MANIFEST
        if not path.is_file():
            raise Damaged(f"{folder}: no packed store, {MANIFEST} is missing")
        try:
            document = json.loads(path.read_bytes())
            version = document["schema_version"]
        except (ValueError, KeyError, TypeError) as problem:
            raise Damaged(f"{path}: not the manifest of a packed store ({problem})") from problem
        if version != SCHEMA_VERSION:
            raise Damaged(f"{path}: schema version {version!r}; this code reads {SCHEMA_VERSION}. Prepare it again")
        try:
            del document["checksum"]
            document["files"] = {name: File(**entry) for name, entry in document["files"].items()}
            manifest = cls(**document)
        except (KeyError, TypeError, AttributeError) as problem:
            raise Damaged(f"{path}: not the manifest of a packed store ({problem})") from problem
        if manifest.text().encode() != path.read_bytes():
            raise Damaged(f"{path}: altered since it was written, its checksum does not agree")
        return manifest


class Packed:
    """A packed store, opened for reading.

    Attributes:
        path: its folder.
        manifest: what it holds.
        joints: all rows, memory-mapped.
    """

    def __init__(self, path: Path, manifest: Manifest, joints: np.memmap) -> None:
        """Use `Packed.open`."""
        self.path, self.manifest, self.joints = path, manifest, joints

    @classmethod
    def open(cls, path: Path | str) -> "Packed":
        """Open a store, in about a millisecond: sizes and shapes are checked, contents are not (`verify` does).

        Raises:
            Damaged: no store, another schema version, or a file that is missing or of another size or shape.
        """
        folder = Path(path)
        manifest = Manifest.read(folder)
        for name, expected in manifest.files.items():
            if not (folder / name).is_file():
                raise Damaged(f"{folder / name}: missing")
            if (size := (folder / name).stat().st_size) != expected.size:
                raise Damaged(f"{folder / name}: {size} bytes; {expected.size} according to {MANIFEST}")
        shape = (manifest.num_rows, manifest.num_joints, 3)
        try:
            joints = np.load(folder / JOINTS, mmap_mode="r")
        except ValueError as problem:
            raise Damaged(f"{folder / JOINTS}: {problem}") from problem
        if joints.shape != shape or joints.dtype != np.dtype("<f4"):
            raise Damaged(f"{folder / JOINTS}: {joints.dtype} {joints.shape}; <f4 {shape} according to {MANIFEST}")
        return cls(folder, manifest, joints)

    @functools.cached_property
    def index(self) -> pa.Table:
        """One line per sample, ordered by name (`INDEX_SCHEMA`)."""
        try:
            table = pq.read_table(self.path / INDEX, memory_map=True)
        except (pa.ArrowInvalid, OSError) as problem:
            raise Damaged(f"{self.path / INDEX}: {problem}") from problem
        if table.schema != INDEX_SCHEMA or len(table) != self.manifest.num_samples:
            raise Damaged(f"{self.path / INDEX}: not the {self.manifest.num_samples} samples of {MANIFEST}")
        return table

    @property
    def rejected(self) -> pa.Table:
        """What could not be used: file, line (null if the text is well formed), reason."""
        return pq.read_table(self.path / REJECTED)

    def train_list(self, digest: str) -> frozenset[str]:
        """Names of the training samples that a list of this store names. Raises Damaged if it is not there or altered.

        Args:
            digest: SHA-256 of the list, from the manifest's `protocols` or from `lists.keep`.
        """
        try:
            return frozenset(lists.read(self.path, digest))
        except (OSError, ValueError) as problem:
            raise Damaged(f"{self.path / lists.place(digest)}: {problem}") from problem

    def column(self, name: str) -> Int64[np.ndarray, " sample"]:
        """One of the whole-numbered columns of the index."""
        numbers: Int64[np.ndarray, " sample"] = self.index[name].to_numpy()
        return numbers

    @functools.cached_property
    def names(self) -> list[str]:
        """The samples' names, ascending."""
        names: list[str] = self.index["name"].to_pylist()
        return names

    @functools.cached_property
    def spans(self) -> Int64[np.ndarray, "sample body=2 3"]:
        """Per body its first frame, its number of frames (0: absent) and the row of its first frame."""
        columns = np.stack([self.column(name) for name in SPANS], axis=1)
        return columns.reshape(-1, NUM_BODIES, len(_SPAN))

    def mapped(self) -> Float32[np.ndarray, "row joint 3"]:
        """All rows, mapped once more for readers that insist on memory they might write to; the file never changes."""
        joints: Float32[np.ndarray, "row joint 3"] = np.load(self.path / JOINTS, mmap_mode="c")
        return joints

    def sample(self, row: int) -> Float32[np.ndarray, "frame body=2 joint 3"]:
        """One sequence as it was packed, in metres, with zeros where a body is absent."""
        num_frames = int(self.column("num_frames")[row])
        sequence = np.zeros((num_frames, NUM_BODIES, self.manifest.num_joints, 3), np.float32)
        for body, (first_frame, length, first_row) in enumerate(self.spans[row].tolist()):
            sequence[first_frame : first_frame + length, body] = self.joints[first_row : first_row + length]
        return sequence

    def verify(self) -> None:
        """Read everything and compare with the manifest. Raises Damaged naming the file that differs."""
        for name, expected in self.manifest.files.items():
            if file_sha256(self.path / name) != expected.sha256:
                raise Damaged(f"{self.path / name}: altered since it was written, its SHA-256 does not agree")
        rows = self.index.to_pylist()
        joints = (self.joints[slice(*_rows(row))] for row in rows)
        if content_hash(self.manifest, zip(rows, joints, strict=True)) != self.manifest.content:
            raise Damaged(f"{self.path / MANIFEST}: its content is not the hash of {INDEX} and {JOINTS}")


def content_hash(manifest: Manifest, samples: Iterable[tuple[Row, np.ndarray]]) -> str:
    """The `content` of a store, from its index lines and their joint rows in the order of names."""
    content = hashlib.sha256(header_bytes(manifest.joint_layout, manifest.num_joints))
    for row, joints in samples:
        content.update(row_bytes(row))
        content.update(joints.tobytes())
    content.update(protocol_bytes(manifest.protocols))
    return content.hexdigest()


def header_bytes(joint_layout: str, num_joints: int) -> bytes:
    """What the content hash starts with."""
    return json.dumps([SCHEMA_VERSION, joint_layout, num_joints]).encode()


def row_bytes(row: Row) -> bytes:
    """What the content hash takes of a line of the index: all columns, in the order of the schema."""
    return json.dumps([row[column] for column in INDEX_SCHEMA.names]).encode()


def protocol_bytes(protocols: Mapping[str, str]) -> bytes:
    """What the content hash ends with: nothing, unless the data set lists training samples itself."""
    return json.dumps(protocols, sort_keys=True).encode() if protocols else b""


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _rows(row: Row) -> tuple[int, int]:
    """First row and end of a sample: its bodies follow each other."""
    return row["body1_first_row"], row["body1_first_row"] + row["body1_num_frames"] + row["body2_num_frames"]


def _checksum(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
