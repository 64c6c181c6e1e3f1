"""Features that another system made of the same recordings, so that every probe can be run on them.

They come in an npz file, in one of two forms:

    names     features (samples, width); names (samples,), as the packed store has them; optionally labels (samples,)
    order     train_features, train_labels, test_features, test_labels, in the order of the published data files

Labels are whole numbers, numbered in any way; they show that a file means the samples that it is taken to mean.
"""

import hashlib
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64

from stars.data.dataset import Data, describe, parts
from stars.data.exchange.files import open_array
from stars.data.packed import Packed
from stars.data.protocols import Published
from stars.data.zipped import Zipped, method_refusal
from stars.outcome import StoreError, sha256
from stars.probes.features import FeatureStage, Part, write_features
from stars.provenance import code_version, device_name, library_versions
from stars.runtime import Runtime
from stars.stage import Value, decode, kind
from stars.store import Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
_TEXT_HEADER = re.compile(
    r"\{\s*'descr':\s*'<U(?P<width>[0-9]{1,4})',\s*'fortran_order':\s*(?:True|False),"
    r"\s*'shape':\s*\((?P<length>[0-9]{1,9}),\),?\s*\}\s*"
)
_MAX_NAMES_BYTES = 2**28


@dataclass(frozen=True, kw_only=True)
class ForeignFeatures(FeatureStage):
    """Features made elsewhere. Its output is written by the import, never by a run; any protocol can be read from it.

    Attributes:
        name: of what made them, as tables call it.
        content: SHA-256 of the features and of the samples that they belong to, 64 hexadecimal digits.
        data_content: of the packed store whose samples they belong to, 64 hexadecimal digits.
    """

    name: str
    content: str
    data_content: str

    def check(self) -> None:
        """Refuse names that are none, and what is no hash."""
        if not _NAME.fullmatch(self.name):
            allowed = "letters, digits and . _ + -, at most 80"
            raise ValueError(f"ForeignFeatures.name is {self.name!r}; allowed: {allowed}")
        for field in ("content", "data_content"):
            if not re.fullmatch(r"[0-9a-f]{64}", getattr(self, field)):
                given = getattr(self, field)
                raise ValueError(f"ForeignFeatures.{field} is {given!r}; allowed: 64 hexadecimal digits")

    def check_data(self, probe: str, data: Data) -> None:
        """Refuse other recordings; which of them a protocol asks for is seen when they are read."""
        if data.content != self.data_content:
            allowed = f"{self.data_content}, of which the features {self.name} are"
            raise ValueError(f"{probe}.data.content is {data.content}; allowed: {allowed}")

    def feature_name(self) -> str:
        """Foreign, and whose."""
        return f"foreign {self.name}"

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:  # noqa: ARG002
        """Nothing can compute it. Raises StoreError that says how it comes into a store."""
        raise StoreError(
            f"the features {self.name} (content {self.content[:12]}) are not in this store; put them there with "
            "`python -m stars import-features FILE --data STORE --name NAME`, from the same file"
        )


@dataclass(frozen=True, eq=False)
class Found:
    """What a file holds for a packed store.

    Attributes:
        part: features, ascending by row.
        num_left: samples of the file that the store does not have.
    """

    part: Part
    num_left: int

    def content(self) -> str:
        """SHA-256 of rows and features: element types, shapes and little-endian bytes."""
        digest = hashlib.sha256()
        for tensor in (self.part.rows, self.part.features):
            digest.update(f"{tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def read_foreign(path: Path, packed: Packed, protocol: Published | None) -> Found:
    """The features in a file, matched to the samples of a packed store.

    Args:
        path: an npz file in one of the forms above. Nothing in it is executed.
        packed: the store.
        protocol: whose published order the samples stand in; None where they have names.

    Raises:
        ValueError: the file is none that can be read, lacks an array, or its samples are not the store's.
    """
    try:
        with ExitStack() as stack:
            archive = stack.enter_context(Zipped(path))
            if protocol is None:
                return _by_name(archive, packed)
            return _in_order(archive, packed, protocol)
    except (zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError) as problem:
        raise ValueError(f"{path}: no npz file that can be read ({problem})") from problem
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from problem


def _by_name(archive: zipfile.ZipFile, packed: Packed) -> Found:
    names, features = _names(archive), _features(archive, "features")
    if len(names) != len(features):
        raise ValueError(f"names has {len(names)} entries; allowed: as many as features, {len(features)}")
    if len(set(names)) != len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise ValueError(f"names has {twice!r} twice; allowed: once")
    row_of = {name: row for row, name in enumerate(packed.names)}
    held = np.array([i for i, name in enumerate(names) if name in row_of], np.int64)
    if not len(held):
        raise ValueError(f"names has {names[:1]}, …, of which {packed.path} has none; allowed: {packed.names[0]!r}, …")
    rows = np.array([row_of[names[i]] for i in held], np.int64)
    if "labels.npy" in archive.namelist():
        _check_labels(_labels(archive, "labels", len(features))[held], rows, packed)
    return Found(_ascending(rows, features[held]), len(names) - len(held))


def _in_order(archive: zipfile.ZipFile, packed: Packed, protocol: Published) -> Found:
    by_part = dict(zip(("train", "test"), parts(describe(packed, protocol=protocol), packed), strict=True))
    features, labels = [], []
    for part, rows in by_part.items():
        found = _features(archive, f"{part}_features")
        if len(found) != len(rows):
            raise ValueError(
                f"{part}_features has {len(found)} samples; allowed: the {len(rows)} of {packed.manifest.name} under "
                f"{protocol}, or features with names"
            )
        features.append(found)
        labels.append(_labels(archive, f"{part}_labels", len(found)))
    if features[0].shape[1] != features[1].shape[1]:
        widths = [found.shape[1] for found in features]
        raise ValueError(f"train_features and test_features are {widths[0]} and {widths[1]} wide; allowed: one width")
    rows = np.concatenate(list(by_part.values()))
    _check_labels(np.concatenate(labels), rows, packed)
    return Found(_ascending(rows, np.concatenate(features)), 0)


def _ascending(rows: Int64[np.ndarray, " sample"], features: Float[np.ndarray, "sample width"]) -> Part:
    order = np.argsort(rows)
    return Part(features=torch.from_numpy(features[order]), rows=torch.from_numpy(rows[order]))


def _features(archive: zipfile.ZipFile, name: str) -> Float[np.ndarray, "sample width"]:
    """In single precision, unless they are in double."""
    with ExitStack() as stack:
        array = open_array(archive, (name,), stack)
        if array.dtype.kind != "f" or len(array.shape) != 2 or 0 in array.shape:
            raise ValueError(f"{name} is {array.dtype} of shape {array.shape}; allowed: real numbers (samples, width)")
        features = np.stack(list(array.rows()))
    features = features.astype("<f8" if features.dtype.itemsize == 8 else "<f4")
    if not np.isfinite(features).all():
        row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0])
        raise ValueError(f"{name}[{row}] is not finite; allowed: finite features")
    return features


def _labels(archive: zipfile.ZipFile, name: str, length: int) -> Int64[np.ndarray, " sample"]:
    with ExitStack() as stack:
        array = open_array(archive, (name,), stack)
        if array.dtype.kind not in "iu" or array.shape != (length,):
            raise ValueError(f"{name} is {array.dtype} of shape {array.shape}; allowed: {length} whole numbers")
        return np.array(list(array.rows())).reshape(-1).astype(np.int64)


def _names(archive: zipfile.ZipFile) -> list[str]:
    """The member `names`, an array of text, which NumPy itself would read by evaluating its header as Python."""
    entry = next((entry for entry in archive.infolist() if entry.filename == "names.npy"), None)
    if entry is None:
        raise ValueError("array 'names' is missing; allowed: one, or --protocol for the published order")
    if reason := method_refusal(entry):
        raise ValueError(f"names: {reason}")
    if entry.file_size > _MAX_NAMES_BYTES:
        raise ValueError(f"names has {entry.file_size} bytes; allowed: {_MAX_NAMES_BYTES}")
    content = archive.read(entry)
    header_end = 10 + int.from_bytes(content[8:10], "little")
    found = _TEXT_HEADER.fullmatch(content[10:header_end].decode("latin1"))
    if not content.startswith(b"\x93NUMPY\x01\x00") or found is None:
        raise ValueError("names is no array of text; allowed: one, as numpy.array of the names")
    width, length = int(found["width"]), int(found["length"])
    if len(content) - header_end != 4 * width * length or not width * length:
        raise ValueError(f"names has {len(content) - header_end} bytes; allowed: those of {length} texts, one or more")
    names: list[str] = np.frombuffer(content, f"<U{width}", offset=header_end).tolist()
    return names


def _check_labels(labels: Int64[np.ndarray, " sample"], rows: Int64[np.ndarray, " sample"], packed: Packed) -> None:
    """Each label must mean one action, and each action have one label. Raises ValueError naming a sample."""
    actions = packed.column("action")[rows]
    for what, keys, meant in (("label", labels, actions), ("action", actions, labels)):
        _, first, group = np.unique(keys, return_index=True, return_inverse=True)
        wrong = np.flatnonzero(meant != meant[first][group])
        if len(wrong):
            other, this = first[group[wrong[0]]], wrong[0]
            raise ValueError(
                f"{packed.names[rows[this]]} has the label {labels[this]} and the action {actions[this]}, where "
                f"{packed.names[rows[other]]} has the label {labels[other]} and the action {actions[other]}; allowed: "
                f"one of each for every {what}. The samples may stand in another order"
            )


def foreign(name: str, found: Found, packed: Packed) -> ForeignFeatures:
    """The value that stands for these features under this name. Raises ValueError for a name that cannot be."""
    return ForeignFeatures(name=name, content=found.content(), data_content=packed.manifest.content)


def keep(store: Store, stage: ForeignFeatures, found: Found, path: Path) -> bool:
    """Commit the features as the stage's output, unless they are there; returns whether this call did.

    Args:
        store: where.
        stage: from `foreign`, of these features.
        found: the features.
        path: the file that they come from, for the record.
    """
    if store.finished(stage):
        return False
    attempt = store.begin(stage)
    write_features(attempt.output, {"all": found.part}, stage.feature_name())
    measured = {
        "seconds": 0.0,
        "gpu_seconds": 0.0,
        "device": device_name(torch.device("cpu")),
        "workers": 1,
        "recipe": "",
        "code": code_version(),
        "libraries": library_versions(),
        "file": path.name,
        "file_sha256": sha256(path),
    }
    return store.commit(attempt, inputs={}, measured=measured).attempt == attempt.name


def all_foreign(store: Store) -> Iterator[ForeignFeatures]:
    """All features that were imported into the store."""
    for document in sorted(store.location.glob(f"{kind(ForeignFeatures)}/*/outcome.json")):
        outcome, _ = store.last_outcome(document.parent.parent.name, document.parent.name)
        if outcome is not None and outcome.status == "finished":
            stage: Value = decode(outcome.value)
            if isinstance(stage, ForeignFeatures):
                yield stage
