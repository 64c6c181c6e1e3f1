"""Writing a packed store: sample by sample into a folder beside its final place, which it takes when it is complete."""

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

from stars.data import lists
from stars.data.journal import Journal, claim, claim_new
from stars.data.ntu import NtuName
from stars.data.packed import (
    INDEX,
    INDEX_SCHEMA,
    JOINT_LAYOUT,
    JOINTS,
    MANIFEST,
    NUM_BODIES,
    REJECTED,
    REJECTED_SCHEMA,
    SCHEMA_VERSION,
    Damaged,
    File,
    Manifest,
    SecondBody,
    file_sha256,
    header_bytes,
    protocol_bytes,
    row_bytes,
)
from stars.durable import to_disk

_JOURNAL = "journal"


class Packer:
    """A packed store being written. Used in a `with` block; without `finish` nothing is left behind.

    Samples come in ascending order of their names. The final folder appears at once and complete; one that is there
    already is never touched.

    Given the hash of the `work`, whatever a kill or an interruption leaves unfinished stays beside the final place, and
    the next packer with the same work there goes on after the last part that was committed. What the input is to blame
    for (a ValueError) leaves nothing. What a kill leaves without such a hash, the next packer there removes.

        with Packer(out, name="ntu60", source="…") as packer:
            packer.append("S001C001P001R001A001", parse_name("S001C001P001R001A001"), sequence)
            manifest = packer.finish()
    """

    def __init__(
        self,
        out: Path,
        *,
        name: str,
        source: str,
        num_joints: int = 25,
        joint_layout: str = JOINT_LAYOUT,
        second_body: SecondBody = "zero",
        work: str | None = None,
    ) -> None:
        """Raises FileExistsError at once if `out` holds something other than a packed store.

        Args:
            out: the final place.
            name: of the data set.
            source: where the sequences come from, in words.
            num_joints: of a body.
            joint_layout: which joint is which.
            second_body: the manifest's.
            work: hash of everything that decides what will be appended, in which parts; None does not go on.
        """
        _existing(out)
        self.out, self.name, self.source, self.work = out, name, source, work
        self.num_joints, self.joint_layout, self.second_body = num_joints, joint_layout, second_body
        self.protocols: dict[str, str] = {}
        self.num_parts = 0
        self.num_rows = 0
        self.rows: list[dict[str, Any]] = []
        self.rejected: list[dict[str, Any]] = []
        self.content = hashlib.sha256(header_bytes(joint_layout, num_joints))
        self._new_part()

    def __enter__(self) -> "Packer":
        """Create the temporary folder, or go on in the one that was left.

        Raises:
            FileExistsError: another process is at the same work.
        """
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.lock: int | None = None
        self.journal: Journal | None = None
        if self.work is None:
            self.folder, self.lock = claim_new(self.out)
        else:
            self.folder = self.out.parent / f".{self.out.name}.unfinished"
            self.lock = claim(self.folder)
            self.journal = Journal(self.folder / _JOURNAL, self.work)
        (self.folder / JOINTS).touch()
        self.joints = (self.folder / JOINTS).open("r+b")
        self._write_header()
        if self.journal:
            self._go_on(self.journal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the temporary folder, unless it has become the store or somebody can go on in it."""
        self.joints.close()
        if self.journal:
            self.journal.close()
        goes_on = self.work is not None and kind is not None and not issubclass(kind, (ValueError, FileExistsError))
        if self.folder.exists() and not goes_on:
            shutil.rmtree(self.folder)
        if self.lock is not None:
            os.close(self.lock)

    def append(self, name: str, labels: NtuName, sequence: Float32[np.ndarray, "frame body joint 3"]) -> None:
        """Add one sample of one or two bodies, in metres, zero where a body is absent.

        Raises:
            ValueError: the name is not greater than the last one, the shape is wrong, or no frame is valid.
        """
        if self.rows and name <= self.rows[-1]["name"]:
            raise ValueError(f"sample {name!r} follows {self.rows[-1]['name']!r}; allowed: ascending names")
        num_frames, num_bodies, *joint_shape = sequence.shape
        if joint_shape != [self.num_joints, 3] or not 1 <= num_bodies <= NUM_BODIES:
            raise ValueError(f"sample {name!r} is {sequence.shape}; allowed: (frames, 1 or 2, {self.num_joints}, 3)")
        valid = count_valid(sequence)
        if valid == 0:
            raise ValueError(f"sample {name!r} has no valid frame; allowed: at least one whose sum is not 0")
        row = {"name": name, **labels._asdict(), "num_frames": num_frames, "valid": valid, "num_bodies": num_bodies}
        runs = []
        for body in range(NUM_BODIES):
            first, length = _run(sequence[:, body]) if body < num_bodies else (0, 0)
            row[f"body{body + 1}_first_frame"] = first
            row[f"body{body + 1}_num_frames"] = length
            row[f"body{body + 1}_first_row"] = self.num_rows
            self.num_rows += length
            runs.append(sequence[first : first + length, body] if length else sequence[:0, 0])
        # NaN has many bit patterns; one of them makes equal content equal bytes.
        joints = np.concatenate(runs).astype("<f4")
        is_nan = np.isnan(joints)
        joints[is_nan] = np.nan
        row["num_nan"] = int(is_nan.sum())
        self._add(row, joints.tobytes())
        self.joints.write(joints.tobytes())

    def reject(self, file: str, line: int | None, reason: str) -> None:
        """Record what could not be used, and why."""
        self.rejected.append({"file": file, "line": line, "reason": reason})

    def commit(self) -> None:
        """End a part: what was appended and rejected since the last one need not be done again after a kill."""
        self.num_parts += 1
        if self.journal:
            self.joints.flush()
            rows, rejected = self.rows[self._first_row :], self.rejected[self._first_rejected :]
            self.journal.add({"rows": rows, "rejected": rejected, "joints": self._part.hexdigest()})
        self._new_part()

    def finish(self, train: Mapping[str, Sequence[str]] | None = None) -> Manifest:
        """Complete the store and move it to its place.

        Args:
            train: protocols whose training samples the data set lists itself, by protocol; all others are test samples.

        Raises:
            ValueError: not one sample, or a list that names what is no sample.
            FileExistsError: a store with other content is there already. One with equal content stays as it is.
        """
        if not self.rows:
            raise ValueError(f"{self.out}: not one sample to pack")
        self._keep_lists(train or {})
        self._write_header()
        self.joints.close()
        _write_table(self.rows, INDEX_SCHEMA, self.folder / INDEX)
        _write_table(self.rejected, REJECTED_SCHEMA, self.folder / REJECTED)
        manifest = self._manifest()
        (self.folder / MANIFEST).write_text(manifest.text(), encoding="utf-8")
        for path in (*self.folder.rglob("*"), self.folder):
            to_disk(path)
        if self.journal:
            (self.folder / _JOURNAL).unlink()
        try:
            self.folder.rename(self.out)
        except OSError:
            existing = _existing(self.out)
            if existing is None:
                raise
            if existing.content != manifest.content:
                raise FileExistsError(
                    f"{self.out} is a packed store with other content ({existing.content[:12]}, this one is "
                    f"{manifest.content[:12]}); it stays as it is. Choose another folder or remove it"
                ) from None
            return existing
        to_disk(self.out.parent)
        return manifest

    def _keep_lists(self, train: Mapping[str, Sequence[str]]) -> None:
        known = {row["name"] for row in self.rows}
        for protocol, names in train.items():
            if unknown := sorted(set(names) - known):
                raise ValueError(f"protocol {protocol!r} trains on {unknown[0]!r}; allowed: names of samples")
            self.protocols[protocol] = lists.keep(self.folder, names)
        self.content.update(protocol_bytes(self.protocols))

    def _go_on(self, journal: Journal) -> None:
        """Take over the parts that are whole, and cut off what follows them."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in {JOINTS, _JOURNAL}:
                path.unlink()
        start = self.joints.tell()
        for part in journal.parts:
            sizes = [self._num_bytes(row) for row in part["rows"]]
            joints = self.joints.read(sum(sizes))
            if hashlib.sha256(joints).hexdigest() != part["joints"]:
                break
            for row, size in zip(part["rows"], sizes, strict=True):
                self._add(row, joints[:size])
                joints = joints[size:]
                self.num_rows += size // self._row_size()
            self.rejected += part["rejected"]
            self.num_parts += 1
        journal.keep(self.num_parts)
        self._new_part()
        self.joints.seek(start + self.num_rows * self._row_size())
        self.joints.truncate()

    def _add(self, row: dict[str, Any], joints: bytes) -> None:
        """Take a sample into the index, the content and the part."""
        self.content.update(row_bytes(row))
        self.content.update(joints)
        self._part.update(joints)
        self.rows.append(row)

    def _new_part(self) -> None:
        self._part = hashlib.sha256()
        self._first_row, self._first_rejected = len(self.rows), len(self.rejected)

    def _row_size(self) -> int:
        """Bytes of one frame of one body."""
        return self.num_joints * 3 * 4

    def _num_bytes(self, row: Mapping[str, Any]) -> int:
        """Bytes of a sample's joints."""
        return self._row_size() * sum(int(row[f"body{body + 1}_num_frames"]) for body in range(NUM_BODIES))

    def _write_header(self) -> None:
        """The header of `joints.npy`; NumPy pads it so that it keeps its length when the array grows."""
        shape = (self.num_rows, self.num_joints, 3)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        self.joints.seek(0)
        np.lib.format.write_array_header_1_0(self.joints, header)

    def _manifest(self) -> Manifest:
        names = (INDEX, JOINTS, REJECTED, *sorted(set(map(lists.place, self.protocols.values()))))
        return Manifest(
            name=self.name,
            schema_version=SCHEMA_VERSION,
            joint_layout=self.joint_layout,
            num_joints=self.num_joints,
            num_samples=len(self.rows),
            num_rows=self.num_rows,
            num_rejected=len(self.rejected),
            max_frames=max(row["num_frames"] for row in self.rows),
            source=self.source,
            content=self.content.hexdigest(),
            files={
                name: File(size=(self.folder / name).stat().st_size, sha256=file_sha256(self.folder / name))
                for name in names
            },
            second_body=self.second_body,
            protocols=self.protocols,
        )


def count_valid(sequence: Float32[np.ndarray, "frame body joint 3"]) -> int:
    """Frames whose sum over coordinates, bodies and joints is not zero, in single precision and in this order.

    The sum runs over signed values, and NaN is not zero (published code, feeder).
    """
    # Sums of large coordinates are infinite or NaN, and neither of these is zero.
    with np.errstate(over="ignore", invalid="ignore"):
        return int((sequence.sum(axis=3).sum(axis=1).sum(axis=1) != 0).sum())


def _run(body: Float32[np.ndarray, "frame joint 3"]) -> tuple[int, int]:
    """First frame and number of frames from the first to the last one with a coordinate other than zero."""
    frames = np.flatnonzero((body != 0).any(axis=(1, 2)))
    return (int(frames[0]), int(frames[-1] - frames[0] + 1)) if len(frames) else (0, 0)


def _write_table(rows: list[dict[str, Any]], schema: pa.Schema, path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)


def _existing(out: Path) -> Manifest | None:
    """The manifest of the store at `out`, None if nothing is there, FileExistsError if something else is."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        return Manifest.read(out)
    except Damaged as problem:
        raise FileExistsError(f"{out} exists and is no packed store that can be read: {problem}") from problem
