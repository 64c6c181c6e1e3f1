"""Copying what a store holds into another store, verified on the way and safe to kill and to repeat.

Plans come first, so that the copy knows what it lacks; then stages, inputs before readers, each with its files before
its outcomes and its outcomes before its rows. A file takes its name only when its bytes have the recorded hash. What
is there already stays: a stage that the other store has finished by itself is not touched.
"""

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stars.data.packed import MANIFEST, Manifest
from stars.durable import to_disk
from stars.inventory import Held, inventory
from stars.outcome import File, Outcome, StoreError, parse, verify
from stars.parquet import read_all
from stars.results import PREDICTIONS, SCHEMA
from stars.store import Store, outcome_key
from stars.sweep import PLAN_SCHEMA, read_plans
from stars.upkeep import search_stages, sweep_names

_CHUNK_BYTES = 1 << 20


@dataclass(kw_only=True)
class Tally:
    """How many were copied, with their bytes, and how many were there."""

    copied: int = 0
    num_bytes: int = 0
    there: int = 0

    def add(self, num_bytes: int | None) -> None:
        """Count one: the bytes that were copied, or None when it was there."""
        self.copied += num_bytes is not None
        self.num_bytes += num_bytes or 0
        self.there += num_bytes is None


@dataclass(kw_only=True)
class Report:
    """What a copy did.

    Attributes:
        tallies: by stage kind or folder.
        damaged: what could not be copied, since it is not what its record says; one message each.
        different: what the other store has under the same name with other content, and keeps.
    """

    tallies: dict[str, Tally] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)

    def tally(self, name: str) -> Tally:
        """The tally of one kind or folder."""
        return self.tallies.setdefault(name, Tally())


def copy(source: Store, target: Store, *, sweep: str | None = None, data: bool = False) -> Report:
    """Copy everything that has an outcome, or all that one sweep needs; the source may be open for reading only.

    Raises:
        ValueError: the same store twice, or a sweep that is neither planned nor searched.
        StoreError: a plan or an outcome that cannot be read. Damaged outputs are reported, and the others copied.
    """
    if source.location.resolve() == target.location.resolve():
        raise ValueError(f"--to is {target.location}; allowed: another place than the store itself")
    sweeps = sweep_names(source)
    if sweep is not None and sweep not in sweeps:
        raise ValueError(f"--sweep is {sweep}; {source.location} has {', '.join(sorted(sweeps)) or 'none'}")
    report = Report()
    chosen = sorted(sweeps) if sweep is None else [sweep]
    for name in chosen:
        _copy_plans(source, target, name, report)
        _copy_searches(source, target, name, report)
    wanted = None if sweep is None else _needed(source, sweep)
    ended = [s for s in inventory(source) if s.status != "unfinished" and (wanted is None or s.name in wanted)]
    for stage in sorted(ended, key=lambda stage: stage.depth):
        try:
            report.tally(stage.kind).add(_copy_stage(source, target, stage))
            _copy_rows(source, target, stage, report)
        except StoreError as problem:
            report.damaged.append(str(problem))
    if data:
        for folder in sorted((source.location / "data").glob("[!.]*")):
            _copy_data(folder, target.location / "data" / folder.name, report)
    return report


def _needed(source: Store, sweep: str) -> set[str]:
    """`kind/fingerprint` of everything that the points of a sweep, and its searches, need."""
    planned = read_plans(source, sweep)["upstream"].to_pylist()
    return {name for line in planned for name in line} | search_stages(source, sweep)


def _copy_plans(source: Store, target: Store, sweep: str, report: Report) -> None:
    for key in source.keys(f"sweeps/{sweep}", ".parquet"):
        read_all([source.location / key], PLAN_SCHEMA)
        _create(source, target, key, report)


def _copy_searches(source: Store, target: Store, sweep: str, report: Report) -> None:
    """Journals only grow: what is the beginning of ours is an older copy and is brought up to date."""
    for key in source.keys(f"searches/{sweep}", ".journal"):
        ours = source.read(key)
        if not target.create(key, ours):
            theirs = target.read(key)
            if not ours.startswith(theirs):
                report.different.append(f"{target.location / key}: a search of its own, left as it is")
                continue
            if ours == theirs:
                report.tally("searches").add(None)
                continue
            target.replace(key, ours)
        report.tally("searches").add(len(ours))
        study = key.removesuffix(".journal")
        for view in (f"{study}.parquet", f"{study}-importances.parquet"):
            if (source.location / view).is_file():
                target.replace(view, source.read(view))


def _copy_stage(source: Store, target: Store, stage: Held) -> int | None:
    """Files, then outcomes. Returns the bytes copied; None when the other store needed nothing."""
    ours = list(_chain(source, stage))
    theirs = list(_chain(target, stage))
    if theirs and (stage.status != "finished" or theirs[-1][1].status == "finished"):
        return None
    home = Path(stage.kind) / stage.fingerprint
    (target.location / home / "attempts").mkdir(parents=True, exist_ok=True)
    copied = 0
    if stage.status == "finished":
        place = home / "attempts" / stage.attempt / "output"
        (target.location / place).mkdir(parents=True, exist_ok=True)
        for file in ours[-1][1].files:
            copied += _copy_file(source.location / place, target.location / place, file)
    # Behind what the other store knows by itself, as a retry's would come.
    known = {document for document, _ in theirs}
    number = len(theirs)
    for document, _ in ours:
        while document not in known:
            key = outcome_key(stage.kind, stage.fingerprint, number)
            if target.create(key, document):
                copied += len(document)
            there = target.read(key)
            if there != document and parse(there, target.location / key).status == "finished":
                return copied
            known.add(there)
            number += 1
    return copied


def _chain(store: Store, stage: Held) -> Iterator[tuple[bytes, Outcome]]:
    """The outcomes of a stage, first to last, each as it stands and as it reads."""
    _, count = store.last_outcome(stage.kind, stage.fingerprint)
    for number in range(count):
        key = outcome_key(stage.kind, stage.fingerprint, number)
        document = store.read(key)
        yield document, parse(document, store.location / key)


def _copy_rows(source: Store, target: Store, stage: Held, report: Report) -> None:
    """Predictions, then rows, unless the other store has finished the stage by itself and has rows of that."""
    ours, _ = source.last_outcome(stage.kind, stage.fingerprint)
    theirs, _ = target.last_outcome(stage.kind, stage.fingerprint)
    if ours is None or ours != theirs:
        return
    predictions = f"predictions/{stage.fingerprint}.parquet"
    if (source.location / predictions).is_file():
        recorded = [file.sha256 for file in ours.files if file.path == PREDICTIONS]
        if hashlib.sha256(source.read(predictions)).hexdigest() not in recorded:
            raise StoreError(f"{source.location / predictions}: damaged; the outcome records another SHA-256")
        _create(source, target, predictions, report)
    results = f"results/{stage.fingerprint}.parquet"
    if (source.location / results).is_file():
        read_all([source.location / results], SCHEMA)
        _create(source, target, results, report)


def _create(source: Store, target: Store, key: str, report: Report) -> None:
    content = source.read(key)
    report.tally(key.partition("/")[0]).add(len(content) if target.create(key, content) else None)


def _copy_data(folder: Path, place: Path, report: Report) -> None:
    """A packed data set, which appears at once and complete."""
    tally = report.tally("data")
    try:
        manifest = Manifest.read(folder)
        if place.exists():
            if Manifest.read(place).content != manifest.content:
                report.different.append(f"{place}: a data set of other content, left as it is")
            tally.add(None)
            return
        partial = place.parent / f".{place.name}.{uuid.uuid4().hex}.partial"
        partial.mkdir(parents=True)
        try:
            files = [File(path=name, size=file.size, sha256=file.sha256) for name, file in manifest.files.items()]
            copied = sum(_copy_file(folder, partial, file) for file in files)
            (partial / MANIFEST).write_bytes((folder / MANIFEST).read_bytes())
            to_disk(partial / MANIFEST)
            to_disk(partial)
            partial.rename(place)
            to_disk(place.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        tally.add(copied)
    except (StoreError, ValueError) as problem:
        report.damaged.append(str(problem))


def _copy_file(source: Path, target: Path, file: File) -> int:
    """Copy one file between two folders. Returns its bytes; 0 when it was there. Raises StoreError when damaged."""
    path = target / file.path
    if path.is_file():
        try:
            verify(target, file)
        except StoreError:
            # No outcome names it yet: it is copied again.
            path.unlink()
        else:
            return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    content = hashlib.sha256()
    try:
        with (source / file.path).open("rb") as reading, part.open("wb") as writing:
            while chunk := reading.read(_CHUNK_BYTES):
                content.update(chunk)
                writing.write(chunk)
            writing.flush()
            os.fsync(writing.fileno())
        if content.hexdigest() != file.sha256:
            raise StoreError(f"{source / file.path}: damaged; its content no longer has the SHA-256 that is recorded")
        part.rename(path)
    except FileNotFoundError as problem:
        raise StoreError(f"{source / file.path}: missing; {file.size} bytes are recorded") from problem
    finally:
        part.unlink(missing_ok=True)
    to_disk(path.parent)
    return file.size
