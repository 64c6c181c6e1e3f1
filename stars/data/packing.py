"""Writing a packed store: sample by sample into a folder beside its final place, which it takes when it is complete."""

import hashlib
import os
import shutil
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32

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
    file_sha256,
    header_bytes,
    row_bytes,
)


class Packer:
    """A packed store being written. Used in a `with` block; without `finish` nothing is left behind.

    Samples come in ascending order of their names. The final folder appears at once and complete; one that is there
    already is never touched.

        with Packer(out, name="ntu60", source="…") as packer:
            packer.append("S001C001P001R001A001", parse_name("S001C001P001R001A001"), sequence)
            manifest = packer.finish()
    """

    def __init__(
        self, out: Path, *, name: str, source: str, num_joints: int = 25, joint_layout: str = JOINT_LAYOUT
    ) -> None:
        """Raises FileExistsError at once if `out` holds something other than a packed store."""
        _existing(out)
        self.out, self.name, self.source = out, name, source
        self.num_joints, self.joint_layout = num_joints, joint_layout
        self.num_rows = 0
        self.rows: list[dict[str, Any]] = []
        self.rejected: list[dict[str, Any]] = []
        self.content = hashlib.sha256(header_bytes(joint_layout, num_joints))

    def __enter__(self) -> "Packer":
        """Create the temporary folder."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.folder = self.out.parent / f".{self.out.name}.{uuid.uuid4().hex}.partial"
        self.folder.mkdir()
        self.joints = (self.folder / JOINTS).open("wb")
        self._write_header()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the temporary folder, unless it has become the store."""
        self.joints.close()
        if self.folder.exists():
            shutil.rmtree(self.folder)

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
        self.content.update(row_bytes(row))
        self.content.update(joints.tobytes())
        self.joints.write(joints.tobytes())
        self.rows.append(row)

    def reject(self, file: str, line: int | None, reason: str) -> None:
        """Record what could not be used, and why."""
        self.rejected.append({"file": file, "line": line, "reason": reason})

    def finish(self) -> Manifest:
        """Complete the store and move it to its place.

        Raises:
            ValueError: not one sample.
            FileExistsError: a store with other content is there already. One with equal content stays as it is.
        """
        if not self.rows:
            raise ValueError(f"{self.out}: not one sample to pack")
        self.joints.seek(0)
        self._write_header()
        self.joints.close()
        _write_table(self.rows, INDEX_SCHEMA, self.folder / INDEX)
        _write_table(self.rejected, REJECTED_SCHEMA, self.folder / REJECTED)
        manifest = self._manifest()
        (self.folder / MANIFEST).write_text(manifest.text(), encoding="utf-8")
        for path in (*self.folder.iterdir(), self.folder):
            _to_disk(path)
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
        _to_disk(self.out.parent)
        return manifest

    def _write_header(self) -> None:
        """The header of `joints.npy`; NumPy pads it so that it keeps its length when the array grows."""
        shape = (self.num_rows, self.num_joints, 3)
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self.joints, header)

    def _manifest(self) -> Manifest:
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
                for name in (INDEX, JOINTS, REJECTED)
            },
        )


def count_valid(sequence: Float32[np.ndarray, "frame body joint 3"]) -> int:
    """Frames whose sum over coordinates, bodies and joints is not zero, in single precision and in this order.

    The sum runs over signed values, and NaN is not zero (published code, feeder).
    """
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


def _to_disk(path: Path) -> None:
    """Have the system write out a file or a folder's entries, so that a complete store survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
