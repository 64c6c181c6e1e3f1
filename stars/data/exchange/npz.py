"""The published npz layout, `NTU60_XSub.npz` and its like: both ways, sample by sample, never whole in memory.

Members `x_train`, `y_train`, `x_test`, `y_test` (or `train_x`, …): x float32 (samples, frames, 150), a row of the 150
being body × 25 joints × x y z, padded with zeros; y one-hot (samples, classes), the action in order from 1.

Kept both ways are the coordinates, the actions, the split, and the order of the samples, which become
`train-0000000`, … after their rows. What the layout does not hold is lost on export: names, subjects, cameras, setups
and replications, unknown after import; zero frames at the end; and, where a missing second body is zeros, the
difference between one body and two of which the second is empty. Where it is a copy of the first (NTU-120), a second
body equal to the first is that copy.
"""

import re
import zipfile
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
from jaxtyping import Float32, Int64

from stars.data import dataset
from stars.data.exchange.files import Array, new_array, new_file, open_array
from stars.data.exchange.labels import MAX_FRAMES, MAX_NUMBER, only, part_name, without_empty_bodies
from stars.data.packed import JOINT_LAYOUT, NUM_BODIES, Manifest, Packed, SecondBody
from stars.data.packing import Packer, count_valid
from stars.data.protocols import Published
from stars.data.skeleton import NUM_JOINTS
from stars.data.zipped import Zipped

COLUMNS = NUM_BODIES * NUM_JOINTS * 3
PADDED = 300  # frames, as published
_MAX_SAMPLES = 1_000_000
# Names ascend in a store, and so do the parts.
_PARTS = ("test", "train")

Progress = Callable[[int, int], None]
Split = Published | Literal["list"]
"""The protocol of a file's split; `list` is one of one's own."""


@dataclass(frozen=True, eq=False)
class _Part:
    """Samples and labels of one part of the split."""

    name: str
    x: Array
    y: Array


def import_npz(
    path: Path,
    out: Path,
    *,
    name: str | None = None,
    protocol: Split | None = None,
    second_body: SecondBody | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Pack an npz of the published layout, with its own split as the store's protocol.

    Args:
        path: the file, as NumPy writes it, compressed or not.
        out: the packed store; must not exist, or hold the same content already.
        name: of the data set; by default that of the file, spelled as `NTU60_XSub`.
        protocol: of the split; by default that in the name of the file, otherwise `list`.
        second_body: what stands for a missing second body; by default a copy in files named `NTU120_…`, else zeros.
        progress: told how many samples are done, of how many.

    Raises:
        ValueError: no zip file, a member that is missing, damaged, of another type or shape, or inflated beyond reason,
            or not one usable sample.
        FileExistsError: `out` holds something else.
    """
    known = spelled(path.stem)
    kept = _named_protocol(known) if protocol is None else protocol
    filling: SecondBody = second_body or ("copy" if known.startswith("NTU120_") else "zero")
    source = f"{path.name}, an npz of the published layout; subject, camera, setup, replication unknown"
    try:
        with ExitStack() as stack:
            archive = stack.enter_context(Zipped(path))
            parts = [_part(archive, part, stack) for part in _PARTS]
            packer = stack.enter_context(Packer(out, name=name or known, source=source, second_body=filling))
            _pack(packer, parts, progress)
            train = [row["name"] for row in packer.rows if row["name"].startswith("train")]
            return packer.finish(train={kept: train})
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as problem:
        raise ValueError(f"{path} is no npz that can be read: {problem}") from problem


def export_npz(
    packed: Packed,
    out: Path,
    *,
    protocol: Split | None = None,
    num_classes: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Write a store as an npz of the published layout.

    Sequences are padded to 300 frames, or to the longest one if that is longer. A missing second body is what the
    store's manifest says.

    Args:
        packed: the store; its joints are the 25 of NTU RGB+D.
        out: the file, which must not exist.
        protocol: the split; by default the only one that the store brings.
        num_classes: columns of the labels; by default the highest action.
        progress: told how many samples are done, of how many.

    Raises:
        ValueError: other joints, no protocol, one that gives no training or no test sample, or too few classes.
        FileExistsError: `out` exists.
    """
    if packed.manifest.num_joints != NUM_JOINTS:
        raise ValueError(f"the store has {packed.manifest.num_joints} joints; allowed in an npz: {NUM_JOINTS}")
    if packed.manifest.joint_layout != JOINT_LAYOUT:
        raise ValueError(f"the store's joints are {packed.manifest.joint_layout}; allowed in an npz: {JOINT_LAYOUT}")
    parts = split_of(packed, protocol)
    actions = packed.column("action")
    num_columns = int(actions.max()) if num_classes is None else num_classes
    if not 1 <= actions.min() <= actions.max() <= num_columns:
        raise ValueError(f"num_classes is {num_columns}; allowed: {actions.max()} or more, the highest action")
    num_frames = max(PADDED, packed.manifest.max_frames)
    total = sum(map(len, parts.values()))
    done = 0
    with new_file(out) as file, zipfile.ZipFile(file, "w") as archive:
        for part, rows in parts.items():
            with new_array(archive, f"x_{part}", "<f4", (len(rows), num_frames, COLUMNS)) as member:
                for row in rows.tolist():
                    member.write(_padded(packed, row, num_frames).tobytes())
                    done += 1
                    if progress:
                        progress(done, total)
            with new_array(archive, f"y_{part}", "<f8", (len(rows), num_columns)) as member:
                for action in actions[rows].tolist():
                    member.write((np.arange(1, num_columns + 1) == action).astype("<f8").tobytes())


def split_of(packed: Packed, protocol: Split | None) -> dict[str, Int64[np.ndarray, " part"]]:
    """The rows `train` and `test` under a protocol, or under the only one that the store brings.

    Raises:
        ValueError: the store brings none or several, or a part has no sample.
    """
    brought = packed.manifest.protocols
    if protocol is None and len(brought) != 1:
        raise ValueError(f"protocol is not given, and the store brings {len(brought)}; allowed: XSub, XView, XSet")
    chosen = cast(Split, next(iter(brought))) if protocol is None else protocol
    if chosen == "list" and "list" not in brought:
        raise ValueError("protocol is 'list'; allowed: XSub, XView, XSet, since the store brings no list")
    train_list = brought["list"] if chosen == "list" else ""
    data = dataset.describe(packed, protocol=chosen, train_list=train_list)
    parts = dict(zip(("train", "test"), dataset.parts(data, packed), strict=True))
    for part, rows in parts.items():
        if len(rows) == 0:
            raise ValueError(f"protocol is {chosen!r}; allowed: one that gives {part} samples")
    return parts


def spelled(stem: str) -> str:
    """`NTU60_CS`, `NTU120_CSet`, … as the published configurations spell them: `NTU60_XSub`, `NTU120_XSet`."""
    found = re.fullmatch(r"(NTU(?:60|120))_(CS|CV|CSub|CSet)", stem)
    names = {"CS": "XSub", "CV": "XView", "CSub": "XSub", "CSet": "XSet"}
    return f"{found.group(1)}_{names[found.group(2)]}" if found else stem


def _part(archive: zipfile.ZipFile, part: str, stack: ExitStack) -> _Part:
    """The two arrays of a part. Raises ValueError for shapes or types other than the published ones."""
    x = open_array(archive, (f"x_{part}", f"{part}_x"), stack)
    y = open_array(archive, (f"y_{part}", f"{part}_y"), stack)
    if len(x.shape) != 3 or x.shape[2] != COLUMNS or not 1 <= x.shape[1] <= MAX_FRAMES or x.dtype.kind != "f":
        raise ValueError(f"{x.name} is {x.dtype} {x.shape}; allowed: floating, (samples, frames, {COLUMNS})")
    if len(y.shape) != 2 or not 1 <= y.shape[1] <= MAX_NUMBER:
        raise ValueError(f"{y.name} is {y.dtype} {y.shape}; allowed: one-hot, (samples, classes)")
    if x.shape[0] > _MAX_SAMPLES:
        raise ValueError(f"{x.name} has {x.shape[0]} rows; allowed: {_MAX_SAMPLES}")
    if x.shape[0] != y.shape[0]:
        raise ValueError(f"{y.name} has {y.shape[0]} rows; allowed: {x.shape[0]}, those of {x.name}")
    return _Part(part, x, y)


def _named_protocol(known: str) -> Split:
    """`NTU60_XSub` is XSub; a name that says nothing leaves a list."""
    for protocol in get_args(Published):
        if known.endswith(f"_{protocol}"):
            return cast(Published, protocol)
    return "list"


def _pack(packer: Packer, parts: list[_Part], progress: Progress | None) -> None:
    """Append every usable sample and record the others."""
    total = sum(part.x.shape[0] for part in parts)
    done = 0
    for part in parts:
        for row, (padded, one_hot) in enumerate(zip(part.x.rows(), part.y.rows(), strict=True)):
            sequence = _trimmed(padded)
            classes = np.flatnonzero(one_hot > 0)
            if len(classes) != 1:
                packer.reject(part.y.name, None, f"row {row} marks {len(classes)} classes; allowed: 1")
            elif np.isinf(sequence).any():
                packer.reject(part.x.name, None, f"row {row} has an infinite coordinate; allowed: finite ones, or nan")
            elif count_valid(sequence) == 0:
                packer.reject(part.x.name, None, f"row {row}: every frame sums to 0; at least one must not")
            else:
                kept = _real_bodies(sequence, packer.second_body)
                packer.append(part_name(part.name, row), only(int(classes[0]) + 1), kept)
            done += 1
            if progress:
                progress(done, total)


def _trimmed(padded: np.ndarray) -> Float32[np.ndarray, "frame body=2 joint=25 3"]:
    """One row up to its last frame that is not zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        sequence = padded.astype(np.float32).reshape(len(padded), NUM_BODIES, NUM_JOINTS, 3)
    there = np.flatnonzero((sequence != 0).any(axis=(1, 2, 3)))
    return sequence[: int(there[-1]) + 1 if len(there) else 1]


def _real_bodies(
    sequence: Float32[np.ndarray, "frame body=2 joint=25 3"], second_body: SecondBody
) -> Float32[np.ndarray, "frame body joint=25 3"]:
    """Without what stands for a missing second body; beside copies, a second slot of zeros is one that is empty."""
    if second_body == "zero":
        return without_empty_bodies(sequence)
    is_copy = sequence[:, 0].tobytes() == sequence[:, 1].tobytes()
    return sequence[:, :1] if is_copy else sequence


def _padded(packed: Packed, row: int, num_frames: int) -> Float32[np.ndarray, "frame column=150"]:
    sequence = packed.sample(row)
    if packed.manifest.second_body == "copy" and packed.column("num_bodies")[row] == 1:
        sequence[:, 1] = sequence[:, 0]
    padded = np.zeros((num_frames, COLUMNS), "<f4")
    padded[: len(sequence)] = sequence.reshape(len(sequence), COLUMNS)
    return padded
