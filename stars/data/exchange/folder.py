"""Recordings of one's own: a folder of `.npy` or `.csv` files and a table of labels.

The table, `labels.csv` by default, has a header and a line a recording: `file` (relative to the folder) and `label`,
and optionally `subject`, `camera`, `setup`, `replication`, numbers from 1; a column that is not there is unknown.
Labels are numbers from 1, which become the actions, or words, which are numbered from 1 in alphabetical order; the
manifest records which is which.

A `.npy` file holds (frames, joints, coordinates) or (frames, bodies, joints, coordinates); a `.csv` file holds a line a
frame, body after body, joint after joint, with or without a header. Coordinates are x y z, in metres where a model of
NTU RGB+D shall understand them, or x y; a confidence may follow. A body that is absent from a frame is zeros.
"""

import array
import csv
import math
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from stars.data.exchange.bodies import Arrangement, warn_of_flatness
from stars.data.exchange.files import read_header
from stars.data.exchange.labels import MAX_FRAMES, MAX_NUMBER, checked_name
from stars.data.ntu import NtuName
from stars.data.packed import NUM_BODIES, UNKNOWN, Manifest
from stars.data.packing import Packer

LABELS = "labels.csv"
_COLUMNS = ("setup", "camera", "subject", "replication")
_MOST_BYTES = {".npy": 64 * 2**20, ".csv": 32 * 2**20}
_MOST_LINES = 250_000  # after the header of a table
_LONGEST_LINE = 2**15  # characters: two bodies of 33 joints have some 5000
_LONGEST_SHOWN = 200

Dimensions = Literal[2, 3]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class _Line:
    """A line of the table: its number, the sample's name, the file, and what is said about it."""

    number: int
    name: str
    path: Path
    label: str
    numbers: dict[str, int]


def import_folder(
    path: Path,
    out: Path,
    *,
    arrangement: Arrangement,
    labels: Path | None = None,
    num_dimensions: Dimensions = 3,
    name: str | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Pack a folder of recordings. Files that cannot be used are recorded with a reason, and the rest is packed.

    Args:
        path: the folder.
        out: the packed store; must not exist, or hold the same content already.
        arrangement: which joint is which, and what becomes of them.
        labels: the table; by default `labels.csv` in the folder.
        num_dimensions: coordinates of a joint; one more number is its confidence.
        name: of the data set; by default that of the folder.
        progress: told how many recordings are done, of how many.

    Raises:
        ValueError: a defective table (names the line), or not one usable recording.
        FileNotFoundError: no table.
        FileExistsError: `out` holds something else.
    """
    table = path / LABELS if labels is None else labels
    lines = sorted(_lines(table, path), key=lambda line: line.name)
    actions, said = _actions(lines, table)
    source = "; ".join(filter(None, (f"{len(lines)} files of a folder", said, arrangement.words())))
    with Packer(
        out,
        name=path.resolve().name if name is None else name,
        source=source,
        num_joints=arrangement.num_joints,
        joint_layout=arrangement.recorded_layout,
    ) as packer:
        for done, line in enumerate(lines, 1):
            try:
                joints = _read(line.path, len(arrangement.layout.joints), num_dimensions)
                confidence = joints[..., num_dimensions] if joints.shape[-1] > num_dimensions else None
                sequence = arrangement.apply(joints[..., :num_dimensions], confidence)
                packer.append(line.name, NtuName(action=actions[line.label], **line.numbers), sequence)
            except _AtLine as problem:
                packer.reject(line.path.relative_to(path).as_posix(), problem.line, problem.reason)
            except (ValueError, OSError) as problem:
                packer.reject(line.path.relative_to(path).as_posix(), None, str(problem))
            if progress:
                progress(done, len(lines))
        if not packer.rows:
            first = packer.rejected[0]
            raise ValueError(f"none of {len(lines)} files is usable; the first, {first['file']}: {first['reason']}")
        warn_of_flatness(len(packer.rows) if num_dimensions == 2 else 0)
        return packer.finish()


class _AtLine(ValueError):  # noqa: N818 — it reads as what it says
    """A defect at a line of a file."""

    def __init__(self, file: str, line: int, reason: str) -> None:
        super().__init__(f"{file}, line {line}: {reason}")
        self.line, self.reason = line, reason


def _lines(table: Path, folder: Path) -> Iterator[_Line]:
    """The lines of the table, checked one by one."""
    rows = _csv(table)
    _, header = next(rows, (1, []))
    columns = [column.strip() for column in header]
    allowed = {"file", "label", *_COLUMNS}
    if len(set(columns)) < len(columns) or not {"file", "label"} <= set(columns) <= allowed:
        raise _AtLine(
            str(table), 1, f"the columns are {columns}; allowed: file, label, and of {', '.join(_COLUMNS)} some"
        )
    names: dict[str, int] = {}
    for number, fields in rows:
        if len(fields) != len(columns):
            raise _AtLine(str(table), number, f"{len(fields)} fields; allowed: {len(columns)}")
        entry = dict(zip(columns, map(str.strip, fields), strict=True))
        try:
            file = _inside(folder, entry["file"])
            name = checked_name(PurePosixPath(entry["file"]).with_suffix("").as_posix())
            numbers = {column: _number(entry, column) if column in entry else UNKNOWN for column in _COLUMNS}
        except ValueError as problem:
            raise _AtLine(str(table), number, str(problem)) from problem
        if name in names:
            raise _AtLine(str(table), number, f"{name!r} is in line {names[name]} already; allowed: one file of a name")
        if not entry["label"]:
            raise _AtLine(str(table), number, "the label is empty; allowed: a number from 1, or a word")
        names[name] = number
        if len(names) > _MOST_LINES:
            raise _AtLine(str(table), number, f"a recording too many; allowed: {_MOST_LINES}")
        yield _Line(number, name, file, entry["label"], numbers)


def _inside(folder: Path, file: str) -> Path:
    """A file of the table. Raises ValueError for one outside the folder, also by way of a link, or of another type."""
    path = folder / file
    try:
        is_inside = path.resolve().is_relative_to(folder.resolve())
    except RuntimeError:
        # What Python below 3.13 makes of links that lead in a circle.
        is_inside = False
    if not file or not is_inside or PurePosixPath(file).is_absolute():
        raise ValueError(f"the file is {file[:_LONGEST_SHOWN]!r}; allowed: one within the folder")
    if path.suffix not in _MOST_BYTES:
        raise ValueError(f"the file is {file[:_LONGEST_SHOWN]!r}; allowed: {' or '.join(_MOST_BYTES)}")
    return path


def _number(entry: dict[str, str], column: str) -> int:
    text = entry[column]
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= MAX_NUMBER):
        raise ValueError(f"the {column} is {text[:40]!r}; allowed: a whole number from 1 to {MAX_NUMBER}")
    return int(text)


def _actions(lines: Sequence[_Line], table: Path) -> tuple[dict[str, int], str]:
    """The action of every label, and in words which is which if labels are words."""
    if not lines:
        raise ValueError(f"{table} has no line after its header; allowed: one a recording")
    numbers = {line.label: line for line in lines if line.label.isascii() and line.label.isdigit()}
    words = sorted({line.label for line in lines} - set(numbers))
    if not numbers:
        actions = {word: number for number, word in enumerate(words, 1)}
        return actions, f"actions: {', '.join(f'{number} {word}' for word, number in actions.items())}"
    for label, line in numbers.items():
        if words or len(label) > 9 or not 1 <= int(label) <= MAX_NUMBER:
            also = f" where others are words, such as {words[0][:40]!r}" if words else ""
            raise _AtLine(
                str(table),
                line.number,
                f"the label is {label[:40]!r}{also}; allowed: whole numbers from 1 to {MAX_NUMBER}, or words only",
            )
    return {label: int(label) for label in numbers}, ""


def _read(path: Path, num_joints: int, num_dimensions: int) -> np.ndarray:
    """The numbers of a recording, (frame, body, joint, coordinates and perhaps confidence), in 32 bits.

    Raises:
        ValueError: another shape, another type, or a file that is too large, cut or no text.
        OSError: it cannot be opened.
    """
    widths = (num_dimensions, num_dimensions + 1)
    if path.suffix == ".csv":
        return _read_csv(path, num_joints, widths)
    numbers = _mapped(path)
    joints = numbers[:, None] if numbers.ndim == 3 else numbers
    if joints.ndim != 4 or joints.shape[3] not in widths or joints.shape[2] != num_joints:
        allowed = (
            f"(frames, {num_joints}, {num_dimensions}), with bodies as second axis, with {widths[1]} for a confidence"
        )
        raise ValueError(f"the array is {numbers.shape}; allowed: {allowed}")
    if not 1 <= len(joints) <= MAX_FRAMES or not 1 <= joints.shape[1] <= NUM_BODIES:
        raise ValueError(f"the array is {numbers.shape}; allowed: 1 to {MAX_FRAMES} frames, 1 or {NUM_BODIES} bodies")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(joints, np.float32)


def _mapped(path: Path) -> np.ndarray:
    """The array in a `.npy` file, not yet read. Raises ValueError for a large file, or no array of numbers."""
    size = _checked_size(path)
    with path.open("rb") as file:
        header = read_header(file, "the file")
        start = file.tell()
    if header.dtype.kind == "b":
        raise ValueError("no array of numbers; allowed: floating or whole numbers")
    num_bytes = math.prod(header.shape) * header.dtype.itemsize
    if not 0 < num_bytes <= size - start:
        raise ValueError(f"the array has {header.shape} numbers, and the file {size - start} bytes for them")
    order: Literal["F", "C"] = "F" if header.is_fortran else "C"
    return np.memmap(path, header.dtype, "r", start, header.shape, order)


def _checked_size(path: Path) -> int:
    """Bytes of a file. Raises ValueError if they are too many, or if it is no regular file: a pipe may never end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is no regular file; allowed: regular files")
    most = _MOST_BYTES.get(path.suffix, _MOST_BYTES[".csv"])
    if status.st_size > most:
        raise ValueError(f"the file has {status.st_size} bytes; allowed: {most}")
    return status.st_size


def _read_csv(path: Path, num_joints: int, widths: tuple[int, int]) -> np.ndarray:
    shapes = {
        body * num_joints * width: (body, num_joints, width) for body in range(1, NUM_BODIES + 1) for width in widths
    }
    numbers = array.array("f")
    columns = 0
    for line, fields in _csv(path):
        if line == 1 and not any(_said(field) is not None for field in fields if field.strip()):
            if any(field.strip() for field in fields):
                continue
            raise _AtLine(path.name, line, "neither headings nor numbers; allowed: one of them")
        row = []
        for field in fields:
            # What a tracker leaves empty is a joint it did not see.
            number = _said(field) if field.strip() else math.nan
            if number is None:
                raise _AtLine(path.name, line, f"{field[:40]!r} is no number; allowed: numbers, and nothing for NaN")
            row.append(number)
        columns = columns or len(row)
        if len(row) != columns or columns not in shapes:
            allowed = columns if columns in shapes else " or ".join(map(str, sorted(shapes)))
            raise _AtLine(path.name, line, f"{len(row)} numbers; allowed: {allowed}")
        numbers.extend(row)
        if len(numbers) > MAX_FRAMES * columns:
            raise _AtLine(path.name, line, f"a frame too many; allowed: {MAX_FRAMES}")
    if not columns:
        raise ValueError("there is no frame; allowed: one or more")
    return np.frombuffer(numbers, np.float32).reshape(-1, *shapes[columns])


def _said(field: str) -> float | None:
    """The number that a cell says; None where it says none."""
    try:
        return float(field)
    except ValueError:
        return None


def _csv(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and fields of every line that is not blank. Raises ValueError for what is no text of that kind."""
    _checked_size(path)
    number = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(line) > _LONGEST_LINE:
                    raise ValueError(f"{path}, line {number}: over {_LONGEST_LINE} characters; allowed: fewer")
                if number > _MOST_LINES + 1:
                    raise ValueError(f"{path}, line {number}: a line too many; allowed: {_MOST_LINES + 1}")
                # One at a time: a quote that is not closed would otherwise collect lines without end.
                (fields,) = csv.reader([line], strict=True)
                if line.strip():
                    yield number, fields
        except UnicodeDecodeError as problem:
            raise ValueError(f"{path}: no UTF-8 text ({problem.reason}) after line {number}") from problem
        except csv.Error as problem:
            raise ValueError(f"{path}, line {number}: {problem}") from problem
