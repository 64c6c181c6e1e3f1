"""The store: where outputs lie, and the one commit that makes them exist.

    <store>/<stage kind>/<fingerprint>/attempts/<attempt>/output/…         written freely, by one attempt
    <store>/<stage kind>/<fingerprint>/attempts/<attempt>/checkpoints/…    what a killed attempt resumes from
    <store>/<stage kind>/<fingerprint>/outcome.json                        created only if absent
    <store>/<stage kind>/<fingerprint>/outcome-1.json, …                   created by a retry of what had failed

An attempt exists for readers once an outcome names it, and an outcome is created in one operation that fails when
it is there already (`obstore`, mode "create": a hard link on disk). Nothing is ever
overwritten: a retry adds the next outcome, and the last one decides. Killed before that operation, an attempt never
was; killed after it, the stage is finished.
"""

import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore

from stars.durable import to_disk
from stars.outcome import File, Outcome, Status, StoreError, parse, sha256, verify
from stars.stage import Stage, encode, fingerprint, kind


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One try at a stage: a name of its own and two folders that nobody else writes to.

    Attributes:
        stage: what is tried.
        name: 32 hexadecimal digits.
        output: where the stage writes.
        checkpoints: where a training loop saves its state: with the whole training, where that has a horizon.
        number: which outcome of the stage this attempt would be.
    """

    stage: Stage
    name: str
    output: Path
    checkpoints: Path
    number: int = field(default=0)


def default_location() -> Path:
    """`$STARS_STORE`, else `~/.stars/store`: never relative to a working directory, which a job may not keep."""
    given = os.environ.get("STARS_STORE", "")
    return Path(given).expanduser().absolute() if given else Path.home() / ".stars" / "store"


class Store:
    """A folder on a disk that every worker sees."""

    def __init__(self, location: Path | str, *, read_only: bool = False) -> None:
        """Open, or create.

        Args:
            location: the folder.
            read_only: write nothing, not even to try; the folder must exist.

        Raises:
            StoreError: the place cannot be written, or cannot create only if absent; with `read_only`, is not there.
        """
        # A path has lost one of the two slashes by then.
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(location)):
            raise StoreError(f"store {location}: allowed is a folder on a disk that every node sees")
        self.location = Path(os.path.expanduser(location)).absolute()  # noqa: PTH111 - leaves an unknown user's ~ alone
        self._read_only = read_only
        self._verified: set[str] = set()
        if read_only:
            if not self.location.is_dir():
                raise StoreError(f"store {self.location}: not there")
            return
        try:
            self.location.mkdir(parents=True, exist_ok=True)
            self._objects = LocalStore(self.location)
            self._probe()
        except (OSError, BaseError) as problem:
            raise StoreError(f"store {self.location}: cannot be written ({problem})") from problem

    def _probe(self) -> None:
        """Create-if-absent must refuse the second time: without that, two drivers could overwrite each other."""
        key = f"probe/{uuid.uuid4().hex}"
        if not self.create(key, b"first") or self.create(key, b"second") or self.read(key) != b"first":
            raise StoreError(f"store {self.location}: does not refuse to overwrite; use another place")
        obstore.delete(self._objects, key)

    def token(self) -> str:
        """Leave a mark, by which another node can tell that it sees this very store."""
        mark = uuid.uuid4().hex
        self.create(f"probe/{mark}", b"")
        return mark

    def recognise(self, mark: str) -> None:
        """Look for the mark. Raises StoreError when this is another place under the same name."""
        if not (self.location / "probe" / mark).is_file():
            raise StoreError(f"store {self.location}: this node sees another place by that name; use a shared one")

    def create(self, key: str, content: bytes) -> bool:
        """Write `key` unless it exists, in one operation. Returns whether this call wrote it; durable on return."""
        if self._read_only:
            raise StoreError(f"store {self.location}: opened for reading only")
        try:
            obstore.put(self._objects, key, content, mode="create")
        except AlreadyExistsError:
            return False
        path = self.location / key
        to_disk(path)
        to_disk(path.parent)
        return True

    def replace(self, key: str, content: bytes) -> None:
        """Write `key`, in one operation, whatever is there: for views that are made anew, never for what counts."""
        if self._read_only:
            raise StoreError(f"store {self.location}: opened for reading only")
        try:
            obstore.put(self._objects, key, content)
        except BaseError as problem:
            raise StoreError(f"store {self.location}: {key} cannot be written ({problem})") from problem

    def remove(self, key: str) -> None:
        """Delete `key` if it is there."""
        if self._read_only:
            raise StoreError(f"store {self.location}: opened for reading only")
        (self.location / key).unlink(missing_ok=True)

    def read(self, key: str) -> bytes:
        """The bytes at `key`. Raises FileNotFoundError."""
        return (self.location / key).read_bytes()

    def keys(self, prefix: str, suffix: str) -> Iterator[str]:
        """Every key in the folder `prefix` that ends in `suffix`, sorted."""
        folder = self.location / prefix
        if folder.is_dir():
            yield from sorted(f"{prefix}/{p.name}" for p in folder.iterdir() if p.name.endswith(suffix))

    def outcome(self, stage: Stage) -> Outcome | None:
        """The last outcome of the stage, or None when it has none."""
        return self.last_outcome(kind(stage), fingerprint(stage))[0]

    def last_outcome(self, stage_kind: str, stage_fingerprint: str) -> tuple[Outcome | None, int]:
        """The last outcome and how many there are. Raises StoreError naming a document that cannot be read."""
        last, number = None, 0
        while True:
            path = self.location / outcome_key(stage_kind, stage_fingerprint, number)
            try:
                document = path.read_bytes()
            except FileNotFoundError:
                return last, number
            last, number = parse(document, path), number + 1

    def finished(self, stage: Stage) -> bool:
        """Whether the stage's output can be read."""
        last = self.outcome(stage)
        return last is not None and last.status == "finished"

    def output(self, stage: Stage) -> Path:
        """The folder of a finished stage, every file checked against size and hash (once per process).

        Raises:
            StoreError: the stage is not finished, or a file is missing or differs; names the file.
        """
        last = self.outcome(stage)
        if last is None or last.status != "finished":
            raise StoreError(f"{kind(stage)} {fingerprint(stage)[:12]} is {last.status if last else 'not there'}")
        folder = self._home(stage) / "attempts" / last.attempt / "output"
        if last.attempt not in self._verified:
            for file in last.files:
                verify(folder, file)
            self._verified.add(last.attempt)
        return folder

    def begin(self, stage: Stage, name: str | None = None) -> Attempt:
        """A new attempt with empty folders; with `name`, another worker's view of the attempt so called."""
        last, number = self.last_outcome(kind(stage), fingerprint(stage))
        if last is not None and last.status == "finished":
            # Nothing comes after a finished outcome: this attempt can only lose to it.
            number -= 1
        place = Path("attempts") / (name or uuid.uuid4().hex)
        attempt = Attempt(
            stage=stage,
            name=place.name,
            output=self._home(stage) / place / "output",
            checkpoints=self._home(stage.whole()) / place / "checkpoints",
            number=number,
        )
        attempt.output.mkdir(parents=True, exist_ok=name is not None)
        attempt.checkpoints.mkdir(parents=True, exist_ok=True)
        return attempt

    def checkpoints(self, stage: Stage) -> list[Path]:
        """The checkpoints of every attempt at the stage, or at the training it is a part of, latest step first."""
        found = (self._home(stage.whole()) / "attempts").glob("*/checkpoints/*.safetensors")
        return sorted(found, key=lambda path: (path.name, path.parent.parent.name), reverse=True)

    def stages(self) -> Iterator[tuple[str, str]]:
        """Kind and fingerprint of everything that has been begun or finished here."""
        for folder in sorted(self.location.glob("*/*/attempts")):
            yield folder.parent.parent.name, folder.parent.name

    def verify(self, stage_kind: str, stage_fingerprint: str) -> bool:
        """Check a finished stage's files; whether there was something to check. Raises StoreError naming the file."""
        last, _ = self.last_outcome(stage_kind, stage_fingerprint)
        if last is None or last.status != "finished":
            return False
        folder = self.location / stage_kind / stage_fingerprint / "attempts" / last.attempt / "output"
        for file in last.files:
            verify(folder, file)
        return True

    def commit(
        self,
        attempt: Attempt,
        *,
        status: Status = "finished",
        reason: str = "",
        horizon: int | None = None,
        inputs: Mapping[str, str],
        measured: Mapping[str, Any],
    ) -> Outcome:
        """Make the attempt the outcome of its stage, unless another got there first; returns the one that counts."""
        files = tuple(_describe(attempt.output)) if status == "finished" else ()
        outcome = Outcome(
            status=status,
            reason=reason,
            horizon=horizon,
            attempt=attempt.name,
            value=encode(attempt.stage),
            inputs=dict(inputs),
            files=files,
            measured={**measured, "finished": datetime.now(UTC).isoformat(timespec="seconds")},
        )
        counts = self._settle(attempt, outcome)
        if counts.status == "finished" and attempt.stage.whole() == attempt.stage:
            shutil.rmtree(attempt.checkpoints, ignore_errors=True)
        return counts

    def _settle(self, attempt: Attempt, ours: Outcome) -> Outcome:
        """Create our outcome, unless another counts already; returns the one that counts.

        What is there may be another attempt's, or our own from a call whose answer was lost: the file tells. A finished
        outcome goes behind another attempt's failure, so that no work is lost to it.
        """
        number = attempt.number
        while True:
            key = outcome_key(kind(attempt.stage), fingerprint(attempt.stage), number)
            if self.create(key, ours.document()):
                return ours
            there = parse(self.read(key), self.location / key)
            if there.status == "finished" or ours.status != "finished" or there.attempt == attempt.name:
                return there
            number += 1

    def _home(self, stage: Stage) -> Path:
        return self.location / kind(stage) / fingerprint(stage)


def _describe(folder: Path) -> Iterator[File]:
    """Every file below the folder, flushed to disk, with size and hash."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            to_disk(path)
            yield File(path=path.relative_to(folder).as_posix(), size=path.stat().st_size, sha256=sha256(path))
        else:
            to_disk(path)
    to_disk(folder)


def outcome_key(stage_kind: str, stage_fingerprint: str, number: int) -> str:
    """Where a stage's outcome of this number, from 0, stands."""
    name = "outcome.json" if number == 0 else f"outcome-{number}.json"
    return f"{stage_kind}/{stage_fingerprint}/{name}"
