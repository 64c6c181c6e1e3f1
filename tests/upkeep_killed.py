"""Kill a removal, or a copy, at lines all over it, and look at what is left. Run as a program by `test_upkeep`.

Prints one JSON object: at how many places it was killed, of how many stages, and how many of them it then found there.
Every life is a forked child, so that SIGKILL is real; the parent itself does nothing but fork.
"""

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any

from stars import copying, upkeep
from stars.copying import copy
from stars.stage import Stage, fingerprint, kind, needs, upstream
from stars.store import Store
from stars.upkeep import driver_keys, removable, remove
from tests.commit_killed import in_child
from tests.processes import dying_at_line
from tests.stores import begun, end, finish, finish_all, grid, planned, snapshot, stranger

# No common divisor with the lines that every stage takes: the places shift from one stage to the next.
_STEP = 47
SIZE: dict[str, Any] = {"decays": (0.2,), "seeds": 1}


class Watched:
    """The code that may die, with that of the library function that empties a folder."""

    def __contains__(self, code: object) -> bool:
        return isinstance(code, CodeType) and code.co_filename in (copying.__file__, upkeep.__file__, shutil.__file__)


def fill(location: Path) -> None:
    """A small finished sweep, and a chain that no plan mentions, which begins with a stage that failed once."""
    store = Store(location)
    finish_all(store, planned(store, **SIZE))
    chain = stranger()
    end(store, begun(store, chain[0]), "diverged")
    for stage in chain:
        finish(store, stage)


def needed() -> list[Stage]:
    """The stages of the sweep, inputs first."""
    return upstream(*(point.stage for point in grid(**SIZE)))


def check(location: Path, must: list[Stage], may: list[Stage]) -> int:
    """Whatever is there must be whole, with its inputs; rows belong to stages. Returns how many of `may` are there."""
    store = Store(location)
    there = [stage for stage in [*must, *may] if store.outcome(stage) is not None and store.finished(stage)]
    assert set(must) <= set(there)
    for stage in there:
        store.output(stage)
        assert all(store.finished(read) for read in needs(stage).values()), "its provenance is there"
    finished = {fingerprint(stage) for stage in there}
    rows, predictions = ({Path(key).stem for key in store.keys(f, ".parquet")} for f in ("results", "predictions"))
    assert rows <= predictions <= finished, "rows say that the predictions are there"
    assert {stage_kind for stage_kind, _ in store.stages()} <= {kind(stage) for stage in [*must, *may]}
    return len(there) - len(must)


def remove_all(location: Path) -> None:
    """What the command does."""
    store = Store(location)
    for _ in remove(store, removable(store, unreferenced=True), driver_keys(store)):
        pass


def removed(whole: Path, location: Path, line: int) -> tuple[int, int]:
    """Die while removing, look, finish. Returns the exit status and how many stages were left."""
    must, may = needed(), stranger()
    shutil.copytree(whole, location)
    status = in_child(partial(dying, line, partial(remove_all, location)))
    left = check(location, must, may)
    remove_all(location)
    assert removable(Store(location), unreferenced=True) == []
    assert check(location, must, may) == 0
    return status, left


def copied(whole: Path, location: Path, line: int) -> tuple[int, int]:
    """Die while copying, look, finish. Returns the exit status and how many stages had come."""
    every = [*needed(), *stranger()]

    def work() -> None:
        report = copy(Store(whole, read_only=True), Store(location))
        assert not report.damaged
        assert not report.different

    status = in_child(partial(dying, line, work))
    come = check(location, [], every)
    work()
    left_behind = {path for path in snapshot(location) if path.endswith(".part")}
    ours, theirs = snapshot(whole), snapshot(location)
    assert all(ours.get(path) == theirs[path] for path in theirs.keys() - left_behind)
    assert all(of_the_failure(path, whole) for path in ours.keys() - theirs.keys()), "no outcome records these files"
    assert check(location, every, []) == 0
    return status, come


def of_the_failure(path: str, whole: Path) -> bool:
    """Whether a file belongs to the attempt that failed."""
    stage_kind, fingerprint_, _, attempt, *_ = Path(path).parts
    first = json.loads((whole / stage_kind / fingerprint_ / "outcome.json").read_text())
    return bool(first["status"] == "diverged" and first["attempt"] == attempt)


def dying(line: int, work: Callable[[], None]) -> None:
    """Work, but not beyond so many lines."""
    with dying_at_line(line, Watched()):
        work()


def look(task: str, whole: Path, folder: Path, line: int) -> None:
    """One life and what comes after it; leaves the answer as a file."""
    answer = {"remove": removed, "copy": copied}[task](whole, folder / "store", line)
    (folder / "answer.json").write_text(json.dumps(answer))


def main(task: str) -> None:
    """Kill at line 1, 48, 95, … until a life is long enough to finish."""
    line, killed, found = 1, 0, set()
    with tempfile.TemporaryDirectory() as place:
        whole = Path(place) / "whole"
        if in_child(partial(fill, whole)):
            sys.exit("the store could not be filled")
        while True:
            folder = Path(place) / str(line)
            folder.mkdir()
            if in_child(partial(look, task, whole, folder, line)):
                sys.exit(f"killed at line event {line}: see above")
            status, number = json.loads((folder / "answer.json").read_text())
            found.add(number)
            if status == 0:
                break
            if status != -signal.SIGKILL:
                sys.exit(f"line event {line}: the child ended with {status}")
            killed += 1
            line += _STEP
            shutil.rmtree(folder)
    stages = len(stranger()) + (len(needed()) if task == "copy" else 0)
    sys.stdout.write(json.dumps({"killed": killed, "stages": stages, "found": sorted(found)}))


if __name__ == "__main__":
    # What a kill leaves behind does not depend on the disk; only a power cut's would, and this takes most of the time.
    os.fsync = lambda fd: None
    if Path("/dev/shm").is_dir():
        tempfile.tempdir = "/dev/shm"
    main(sys.argv[1])
