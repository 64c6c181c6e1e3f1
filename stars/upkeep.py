"""What can be removed from a store, and its removal.

Every removal is one step that the file system does wholly or not at all: a file is unlinked, a folder is first renamed
into `removed/` and emptied there. So a stage is there with its output and its outcomes, or it is not there at all; no
outcome ever names files that are gone, and of a chain of outcomes none is left without those before it. A kill between
two steps leaves a valid store, because of their order: rows and predictions go before the stage that they are made
from, and can be made again from it as long as it stands; readers go before what they read, and whatever stays keeps
its provenance. A kill while `removed/` is emptied leaves rubbish that the next removal finds.
"""

import re
import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from stars.drivers import Driver, Observer, read_all
from stars.inventory import Held, attempts, files_below, inventory, size
from stars.outcome import StoreError
from stars.store import Store
from stars.sweep import read_plans

REMOVED = "removed"
YOUNG_SECONDS = 3600.0
"""Loose files that may belong to a process without a record of its own are left alone for so long."""
_POLL_SECONDS = 1.0
# `name.part` of a checkpoint, `.name.<32 digits>.part` of a copy, `name#1` of a create.
_HALF_WRITTEN = re.compile(r"\.part$|#\d+$")


@dataclass(frozen=True, kw_only=True)
class Removal:
    """One step: a file or a folder that goes as a whole.

    Attributes:
        path: what goes.
        why: the reason, the same words for everything that goes for the same reason.
        num_bytes: what that frees.
    """

    path: Path
    why: str
    num_bytes: int


def removable(
    store: Store,
    *,
    abandoned: bool = False,
    unreferenced: bool = False,
    logs_older_than: float | None = None,
    now: float | None = None,
) -> list[Removal]:
    """What can go when nobody is at work, in the order in which it must go; removes nothing.

    Always: attempts at finished stages other than the one that finished, and what killed processes have left.

    Args:
        store: the store; may be open for reading only.
        abandoned: also every attempt at a stage that is not finished, with the checkpoints it would be resumed from.
        unreferenced: also stages with an outcome that no plan and no search mentions, with their rows and predictions.
        logs_older_than: also logs that were last written so many days ago.
        now: seconds since 1970; by default the clock's.

    Raises:
        StoreError: an unreadable outcome, or, with `unreferenced`, a store that does not tell what is referenced.
    """
    moment = time.time() if now is None else now
    known = list(inventory(store))
    found = list(_unreferenced(store, known)) if unreferenced else []
    gone = {removal.path for removal in found}
    for stage in known:
        if store.location / stage.kind / stage.fingerprint not in gone:
            found += _idle(store, stage, abandoned)
    found += _leftovers(store, moment)
    if logs_older_than is not None:
        found += _old_logs(store, moment, logs_older_than)
    # What lies within something that goes as a whole is not listed twice.
    gone = {removal.path for removal in found}
    return [removal for removal in found if gone.isdisjoint(removal.path.parents)]


def referenced(store: Store) -> set[str]:
    """`kind/fingerprint` of everything that a plan or a search mentions.

    Raises:
        StoreError: there is neither plan nor search, or a search that does not say what it has run.
    """
    if not sweep_names(store):
        raise StoreError(f"store {store.location}: has no plan and no search, so that everything is unreferenced")
    planned = {name for line in read_plans(store)["upstream"].to_pylist() for name in line}
    return planned | search_stages(store)


def sweep_names(store: Store) -> set[str]:
    """Every sweep that has been planned or searched here."""
    return {path.name for room in ("sweeps", "searches") for path in (store.location / room).glob("*") if path.is_dir()}


def search_stages(store: Store, sweep: str = "*") -> set[str]:
    """`kind/fingerprint` of everything that the searches of one sweep, or of all, have run or are running.

    Raises:
        StoreError: a search that does not say so.
    """
    found: set[str] = set()
    for view in search_views(store, sweep):
        try:
            column = pq.read_table(view, columns=["upstream"], page_checksum_verification=True)["upstream"]
        except (OSError, KeyError, pa.ArrowException) as problem:
            raise StoreError(f"{view}: does not tell which stages its search has run ({problem})") from problem
        found |= {name for line in column.to_pylist() for name in line or ()}
    return found


def search_views(store: Store, sweep: str = "*") -> list[Path]:
    """The tables of all searches. Raises StoreError for a search that has a journal and no table yet."""
    folder = store.location / "searches"
    for journal in sorted(folder.glob(f"{sweep}/*.journal")):
        if not journal.with_suffix(".parquet").is_file():
            raise StoreError(
                f"{journal}: has no table of its trials yet; go on with that search, or remove the journal"
            )
    return sorted(path for path in folder.glob(f"{sweep}/*.parquet") if not path.stem.endswith("-importances"))


def driver_keys(store: Store) -> frozenset[str]:
    """The records of all drivers there have been."""
    return frozenset(store.keys("drivers", ".json"))


def at_work(
    store: Store,
    *,
    waiting: Callable[[Sequence[Driver]], None],
    observer: Observer | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Driver]:
    """The drivers that live. Returns as soon as one certainly does, or when all others are certainly dead.

    A driver of this machine is told by the process table. One of another machine is watched until its beat moves, or
    has not moved for `stars.drivers.SILENCE_SECONDS`.

    Args:
        store: the store.
        waiting: told once which drivers have to be watched.
        observer: who watches.
        sleep: waits between two looks.
    """
    watch = observer or Observer(store)
    told = False
    while True:
        verdicts = [(driver, watch.moving(driver.name)) for driver in read_all(store) if not driver.ended]
        living = [driver for driver, moves in verdicts if moves]
        undecided = [driver for driver, moves in verdicts if moves is None]
        if living or not undecided:
            return living
        if not told:
            waiting(undecided)
            told = True
        sleep(_POLL_SECONDS)


def remove(store: Store, removals: Sequence[Removal], judged: Collection[str]) -> Iterator[Removal]:
    """Remove, in order; yields what is gone.

    Args:
        store: the store, open for writing.
        removals: what `removable` listed, after `at_work` had found nobody.
        judged: `driver_keys` before `at_work` was asked.

    Raises:
        StoreError: a driver has begun since then; what is gone is gone, the rest stays.
    """
    for removal in removals:
        if begun := driver_keys(store).difference(judged):
            raise StoreError(f"{store.location / min(begun)}: this driver began meanwhile; the rest is left as it is")
        if removal.path.is_dir():
            _remove_folder(store, removal)
        else:
            store.remove(removal.path.relative_to(store.location).as_posix())
        yield removal


def _remove_folder(store: Store, removal: Removal) -> None:
    if removal.path.parent == store.location / REMOVED:
        shutil.rmtree(removal.path)
        return
    key = f"{REMOVED}/{uuid.uuid4().hex}"
    store.create(f"{key}/why", f"{removal.path}: {removal.why}\n".encode())
    # Not one level higher: `removed/<name>/attempts` would look like a stage of the kind `removed`.
    removal.path.rename(store.location / key / "content")
    shutil.rmtree(store.location / key)


def _unreferenced(store: Store, known: Sequence[Held]) -> Iterator[Removal]:
    mentioned = referenced(store)
    ended = [stage for stage in known if stage.status != "unfinished" and stage.name not in mentioned]
    for stage in sorted(ended, key=lambda stage: stage.depth, reverse=True):
        why = "no plan and no search mentions the stage"
        # Rows first: their presence says that the predictions are there as well.
        for folder in ("results", "predictions"):
            path = store.location / folder / f"{stage.fingerprint}.parquet"
            if path.is_file():
                yield Removal(path=path, why=why, num_bytes=size(path))
        home = store.location / stage.kind / stage.fingerprint
        yield Removal(path=home, why=why, num_bytes=size(home))


def _idle(store: Store, stage: Held, abandoned: bool) -> Iterator[Removal]:
    """Attempts that no reader sees."""
    if stage.status == "unfinished" and abandoned:
        home = store.location / stage.kind / stage.fingerprint
        yield Removal(path=home, why="never finished; its checkpoints are lost", num_bytes=size(home))
        return
    for folder in attempts(store, stage.kind, stage.fingerprint):
        checkpoints = size(folder / "checkpoints")
        if stage.status == "finished" and folder.name != stage.attempt:
            yield Removal(path=folder, why="another attempt has finished the stage", num_bytes=size(folder))
        elif stage.status == "finished" and checkpoints:
            why = "checkpoints of a finished attempt"
            yield Removal(path=folder / "checkpoints", why=why, num_bytes=checkpoints)
        elif stage.status not in ("finished", "unfinished") and abandoned:
            why = "failed; a retry loses its checkpoints, the outcome stays"
            yield Removal(path=folder, why=why, num_bytes=size(folder))


def _leftovers(store: Store, now: float) -> Iterator[Removal]:
    """What killed processes have left behind, and what only living ones need."""
    for path in sorted((store.location / REMOVED).glob("*")):
        yield Removal(path=path, why="removed before; the removal was killed", num_bytes=size(path))
    for name, why in (("ray", "working files of Ray"), ("leases", "leases of drivers that have ended")):
        if (store.location / name).is_dir():
            yield Removal(path=store.location / name, why=why, num_bytes=size(store.location / name))
    marks = (store.location / "probe").glob("*")
    unpacked = (store.location / "data").glob(".*.partial")
    for found, why in (
        (marks, "marks of drivers that have ended"),
        (unpacked, "half-written data set"),
        (_half_written(store), "half-written file"),
    ):
        for path in sorted(found):
            if _written(path, now) < now - YOUNG_SECONDS:
                yield Removal(path=path, why=why, num_bytes=size(path))


def _half_written(store: Store) -> Iterator[Path]:
    """Files under a passing name, in the folders where the store writes; people's own folders are not looked into."""
    folders = {stage_kind for stage_kind, _ in store.stages()}
    for name in sorted(folders | {"results", "predictions", "sweeps", "searches", "drivers"}):
        yield from (path for path, _ in files_below(store.location / name) if _HALF_WRITTEN.search(path.name))


def _old_logs(store: Store, now: float, days: float) -> Iterator[Removal]:
    for path in sorted((store.location / "logs").glob("*.log")):
        if _written(path, now) < now - days * 86400:
            yield Removal(path=path, why=f"log older than {days:g} days", num_bytes=size(path))


def _written(path: Path, now: float) -> float:
    """When a file, or the last of a folder's files, was written, in seconds since 1970; `now` if it has gone."""
    try:
        return max(path.lstat().st_mtime, *(status.st_mtime for _, status in files_below(path)), 0.0)
    except FileNotFoundError:
        return now
