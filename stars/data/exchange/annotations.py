"""The annotation pickles of pyskl and MMAction2, both ways.

    {"split": {"xsub_train": [name, …], "xsub_val": […], …},
     "annotations": [{"frame_dir": name, "total_frames": T, "label": action - 1, "keypoint": (M, T, V, C)}, …]}

M bodies, T frames, V joints, C coordinates; in two dimensions also `keypoint_score` (M, T, V). Export adds what the
format has no place for, which its readers pass over: `subject`, `camera`, `setup` and `replication` of every sample,
and beside the annotations what stands for a missing second body. With that, a round trip loses nothing. Without it,
what a name of NTU RGB+D says is taken from the name, and the rest is unknown.

Both ways hold all samples in memory, since a pickle is one value; a store and the file together, no more.
"""

import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Float32

from stars.data import dataset, protocols
from stars.data.exchange.bodies import Arrangement, warn_of_flatness
from stars.data.exchange.files import new_file
from stars.data.exchange.labels import MAX_FRAMES, MAX_NUMBER, checked_name, only
from stars.data.exchange.unpickle import Restored, load
from stars.data.layouts import layout
from stars.data.ntu import NtuName, parse_name
from stars.data.packed import JOINT_LAYOUT, UNKNOWN, Manifest, Packed, SecondBody
from stars.data.packing import Packer
from stars.data.protocols import Published
from stars.data.skeleton import Unreadable

_PUBLISHED: tuple[Published, ...] = get_args(Published)
_PART_NAMES = {"xsub": "XSub", "xview": "XView", "xset": "XSet", "": "list"}
_KNOWN_PARTS = ("train", "val", "test")
_COLUMNS = ("setup", "camera", "subject", "replication")
_SECOND_BODY = "second_body"
_TO_COME = Arrangement(layout=layout(JOINT_LAYOUT))

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Sample:
    labels: NtuName
    sequence: Float32[np.ndarray, "frame body joint 3"]
    is_flat: bool


def import_pickle(
    path: Path,
    out: Path,
    *,
    name: str | None = None,
    arrangement: Arrangement = _TO_COME,
    second_body: SecondBody | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Pack an annotation pickle; nothing that it asks for is executed.

    Samples that cannot be used are recorded with a reason. A list of training samples becomes a protocol of the store
    where it is not what the published rule gives; one whose training and test part leave samples out cannot.

    Args:
        path: the pickle.
        out: the packed store; must not exist, or hold the same content already.
        name: of the data set; by default that of the file.
        arrangement: which joint is which, and what becomes of them.
        second_body: what stands for a missing second body where the data set is published as an npz; by default what
            the file says, otherwise a copy in files named `ntu120_…`, else zeros.
        progress: told how many samples are done, of how many.

    Raises:
        Refused: the pickle asks for something else than arrays and plain values.
        ValueError: another layout of the pickle, or not one usable sample.
        FileExistsError: `out` holds something else.
    """
    document = load(path)
    annotations, split = _checked(document, path)
    source = "; ".join(filter(None, (f"{path.name}, annotations as of pyskl and MMAction2", arrangement.words())))
    with Packer(
        out,
        name=name or path.stem,
        source=source,
        num_joints=arrangement.num_joints,
        joint_layout=arrangement.recorded_layout,
        second_body=second_body or _second_body(document, path),
    ) as packer:
        num_flat = 0
        for done, sample_name in enumerate(sorted(annotations), 1):
            try:
                sample = _sample(sample_name, annotations[sample_name], arrangement)
                packer.append(sample_name, sample.labels, sample.sequence)
                num_flat += sample.is_flat
            except ValueError as problem:
                packer.reject(sample_name, None, str(problem))
            if progress:
                progress(done, len(annotations))
        warn_of_flatness(num_flat)
        _refuse_if_empty(packer, path)
        return packer.finish(train=_brought(split, packer))


def export_pickle(packed: Packed, out: Path) -> None:
    """Write a store as an annotation pickle, with the splits of all protocols that it knows.

    Args:
        packed: the store.
        out: the file, which must not exist.

    Raises:
        FileExistsError: `out` exists.
    """
    columns = {column: packed.column(column).tolist() for column in (*_COLUMNS, "action", "num_bodies")}
    annotations = []
    for row, name in enumerate(packed.names):
        sequence = packed.sample(row)[:, : columns["num_bodies"][row]]
        annotations.append(
            {
                "frame_dir": name,
                "total_frames": len(sequence),
                "label": columns["action"][row] - 1,
                "keypoint": np.ascontiguousarray(sequence.transpose(1, 0, 2, 3)),
                **{column: columns[column][row] for column in _COLUMNS},
            }
        )
    document = {"split": _splits(packed), "annotations": annotations, _SECOND_BODY: packed.manifest.second_body}
    with new_file(out) as file:
        pickle.dump(document, file, protocol=4)


def _checked(document: object, path: Path) -> tuple[dict[str, Mapping[str, Any]], Mapping[str, Any]]:
    """The annotations by name, and the split. Raises ValueError for another layout of the pickle."""
    if not isinstance(document, dict) or not isinstance(document.get("annotations"), list):
        raise ValueError(f"{path} holds no annotations; allowed: a dict with 'split' and 'annotations'")
    annotations: dict[str, Mapping[str, Any]] = {}
    for number, annotation in enumerate(document["annotations"]):
        if not isinstance(annotation, dict):
            raise ValueError(f"{path}, annotation {number} is a {type(annotation).__name__}; allowed: a dict")
        try:
            name = checked_name(annotation.get("frame_dir"))
        except ValueError as problem:
            raise ValueError(f"{path}, annotation {number}, 'frame_dir': {problem}") from problem
        if name in annotations:
            raise ValueError(f"{path}, annotation {number}: {name!r} occurs twice; allowed: once")
        annotations[name] = annotation
    split = document.get("split", {})
    if not isinstance(split, dict) or not all(
        isinstance(key, str) and isinstance(names, list) and all(isinstance(name, str) for name in names)
        for key, names in split.items()
    ):
        raise ValueError(f"{path}, 'split' is not a dict of lists of names")
    _refuse_repetitions(annotations, path)
    return annotations, split


def _refuse_repetitions(annotations: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Refuse a pickle that repeats one array in many samples: a file of megabytes would become a store of terabytes."""
    given = (annotation.get("keypoint") for annotation in annotations.values())
    num_bytes = sum(one.value.nbytes for one in given if isinstance(one, Restored) and one.value is not None)
    if num_bytes > path.stat().st_size:
        raise ValueError(
            f"{path}: the joints of all annotations have {num_bytes} bytes, more than the file; allowed: an array of "
            "its own for each"
        )


def _sample(name: str, annotation: Mapping[str, Any], arrangement: Arrangement) -> _Sample:
    """One annotation. Raises ValueError naming the entry and what is allowed."""
    keypoint = _numbers(annotation, "keypoint", 4)
    if keypoint.shape[1] > MAX_FRAMES or keypoint.shape[1] != annotation.get("total_frames"):
        raise ValueError(f"'total_frames' is not {keypoint.shape[1]}, the frames of 'keypoint', or over {MAX_FRAMES}")
    score = _numbers(annotation, "keypoint_score", 3) if "keypoint_score" in annotation else None
    if score is not None and score.shape != keypoint.shape[:3]:
        raise ValueError(f"'keypoint_score' is {score.shape}; allowed: {keypoint.shape[:3]}")
    sequence = arrangement.apply(keypoint.transpose(1, 0, 2, 3), None if score is None else score.transpose(1, 0, 2))
    action = _count(annotation, "label") + 1
    labels = {column: _count(annotation, column) for column in _COLUMNS if column in annotation}
    return _Sample(_said_by(name)._replace(action=action, **labels), sequence, keypoint.shape[3] == 2)


def _numbers(annotation: Mapping[str, Any], key: str, num_axes: int) -> np.ndarray:
    """An array of 32-bit numbers from an annotation."""
    array = annotation.get(key)
    if not isinstance(array, Restored) or array.value is None or array.value.ndim != num_axes:
        raise ValueError(f"{key!r} is missing, or no array of {num_axes} axes")
    if 0 in array.value.shape:
        raise ValueError(f"{key!r} is {array.value.shape}; allowed: no empty axis")
    with np.errstate(over="ignore", invalid="ignore"):
        return array.value.astype(np.float32)


def _count(annotation: Mapping[str, Any], key: str) -> int:
    number = annotation.get(key)
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < MAX_NUMBER:
        raise ValueError(f"{key!r} is missing, or no whole number from 0 to {MAX_NUMBER - 1}")
    return number


def _said_by(name: str) -> NtuName:
    """What a name of NTU RGB+D says; nothing is known from any other."""
    try:
        return parse_name(name)
    except Unreadable:
        return only(UNKNOWN)


def _second_body(document: object, path: Path) -> SecondBody:
    said = document.get(_SECOND_BODY) if isinstance(document, dict) else None
    return "copy" if said == "copy" or (said is None and path.stem.startswith("ntu120_")) else "zero"


def _refuse_if_empty(packer: Packer, path: Path) -> None:
    if not packer.rows:
        first = packer.rejected[0] if packer.rejected else {"file": "no annotation at all", "reason": "none given"}
        raise ValueError(f"{path}: not one usable sample; the first, {first['file']}: {first['reason']}")


def _brought(split: Mapping[str, Sequence[str]], packer: Packer) -> dict[str, list[str]]:
    """Per protocol its training samples, unless they are what the published rule gives for these samples."""
    names = {row["name"] for row in packer.rows}
    brought: dict[str, list[str]] = {}
    for key, protocol in _PART_NAMES.items():
        prefix = f"{key}_" if key else ""
        measured = next((split[prefix + part] for part in ("val", "test") if prefix + part in split), None)
        if prefix + "train" not in split or measured is None:
            continue
        train = names & set(split[prefix + "train"])
        if train & set(measured) or train | (names & set(measured)) != names or not train:
            warnings.warn(
                f"the split {prefix}train is left out: with {prefix}val it does not divide the {len(names)} samples",
                stacklevel=3,
            )
        elif protocol == "list" or train != _by_rule(protocol, packer):
            brought[protocol] = sorted(train)
    if unknown := sorted(set(split) - {f"{key}_{part}".lstrip("_") for key in _PART_NAMES for part in _KNOWN_PARTS}):
        warnings.warn(f"splits that no protocol here has are left out: {', '.join(unknown)}", stacklevel=3)
    return brought


def _by_rule(protocol: str, packer: Packer) -> set[str]:
    """The training samples of a published protocol; none if what it asks for is unknown."""
    for published in _PUBLISHED:
        if published == protocol:
            groups = [row[protocols.GROUPED_BY[published]] for row in packer.rows]
            return {
                row["name"]
                for row, group in zip(packer.rows, groups, strict=True)
                if UNKNOWN not in groups and protocols.is_training(published, group)
            }
    return set()


def _splits(packed: Packed) -> dict[str, list[str]]:
    """The names of both parts, per protocol that the store knows and that leaves neither empty."""
    brought = packed.manifest.protocols
    splits: dict[str, list[str]] = {}
    for key, protocol in _PART_NAMES.items():
        published = next((one for one in _PUBLISHED if one == protocol), None)
        groups = packed.column(protocols.GROUPED_BY[published]) if published else np.array([UNKNOWN])
        if protocol not in brought and (UNKNOWN in groups or (published == "XView" and not set(groups) <= {1, 2, 3})):
            continue
        data = dataset.describe(packed, protocol=published or "list", train_list="" if published else brought["list"])
        train, test = dataset.parts(data, packed)
        if len(train) and len(test):
            for part, rows in (("train", train), ("val", test)):
                splits[f"{key}_{part}".lstrip("_")] = [packed.names[row] for row in rows.tolist()]
    return splits
