"""What may be removed from a store and what may not; and removals that are killed."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stars.drivers import SILENCE_SECONDS, Driver, Observer, begin
from stars.inventory import held
from stars.outcome import StoreError
from stars.parquet import to_bytes
from stars.stage import Stage, fingerprint, kind
from stars.store import Store
from stars.upkeep import YOUNG_SECONDS, Removal, at_work, driver_keys, referenced, removable, remove
from tests.examples import a_point
from tests.stores import begun, end, finish, finish_all, planned, snapshot, stranger


def home(store: Store, stage: Stage) -> Path:
    return store.location / kind(stage) / fingerprint(stage)


def paths(found: list[Removal]) -> list[Path]:
    return [removal.path for removal in found]


def carry_out(store: Store, **options: Any) -> None:
    for _ in remove(store, removable(store, **options), driver_keys(store)):
        pass


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A sweep that is finished."""
    store = Store(tmp_path / "filled")
    finish_all(store, planned(store))
    return store


@pytest.fixture
def stage() -> Stage:
    """A training stage of the sweep's plan."""
    return a_point(layer_decay=0.2, seed=0).features.encoder


def test_of_a_finished_sweep_nothing_goes(store: Store) -> None:
    assert removable(store, abandoned=True, unreferenced=True, logs_older_than=0) == []


def test_other_attempts_at_a_finished_stage_go(store: Store, stage: Stage) -> None:
    late = begun(store, stage, checkpoint=True)
    (removal,) = removable(store)
    assert removal.path == late.output.parent
    assert removal.num_bytes == 640 + sum(path.stat().st_size for path in late.checkpoints.iterdir())
    carry_out(store)
    assert not late.output.parent.exists()
    assert Store(store.location).output(stage).is_dir(), "verified"
    assert removable(store) == []


def test_checkpoints_that_a_finished_attempt_left_go(store: Store, stage: Stage) -> None:
    folder = store.output(stage).parent / "checkpoints"
    folder.mkdir()
    (folder / "000000005-00.safetensors").write_bytes(b"state")
    entry = held(store, kind(stage), fingerprint(stage))
    assert (entry.output_bytes, entry.checkpoint_bytes, entry.idle_bytes) == (640, 0, 5)
    assert paths(removable(store)) == [folder]
    carry_out(store)
    assert Store(store.location).output(stage).is_dir()


def test_the_attempt_that_a_retry_has_replaced_goes_and_its_outcome_stays(store: Store) -> None:
    retried = stranger()[0]
    failed = begun(store, retried, checkpoint=True)
    end(store, failed, "diverged", "loss is nan")
    assert removable(store) == [], "until the retry has finished, its checkpoints count"
    finish(store, retried)
    assert paths(removable(store)) == [failed.output.parent]
    carry_out(store)
    assert store.last_outcome(kind(retried), fingerprint(retried))[1] == 2


def test_what_is_not_finished_goes_only_as_abandoned(store: Store) -> None:
    unfinished, failed = stranger()[:2]
    begun(store, unfinished, checkpoint=True)
    attempt = begun(store, failed, checkpoint=True)
    end(store, attempt, "oom")
    assert removable(store) == []
    assert sorted(paths(removable(store, abandoned=True))) == sorted([home(store, unfinished), attempt.output.parent])
    carry_out(store, abandoned=True)
    assert store.checkpoints(unfinished) == store.checkpoints(failed) == []
    assert not home(store, unfinished).exists()
    outcome = store.outcome(failed)
    assert outcome is not None
    assert outcome.status == "oom"


def test_unreferenced_stages_go_readers_first_and_rows_before_their_stage(store: Store) -> None:
    chain = stranger()
    for stage in chain:
        finish(store, stage)
    unfinished = replace(chain[0], seed=7)  # type: ignore[call-arg]
    begun(store, unfinished, checkpoint=True)
    assert removable(store) == []
    probe = fingerprint(chain[-1])
    rows = [store.location / folder / f"{probe}.parquet" for folder in ("results", "predictions")]
    assert paths(removable(store, unreferenced=True)) == [*rows, *(home(store, stage) for stage in reversed(chain))]
    before = snapshot(store.location)
    carry_out(store, unreferenced=True)
    gone = {path for path in before if path not in snapshot(store.location)}
    assert {path.split("/")[1].partition(".")[0] for path in gone} == {fingerprint(stage) for stage in chain}


def test_what_a_search_mentions_stays(store: Store) -> None:
    chain = stranger()
    for stage in chain:
        finish(store, stage)
    kept = chain[:-1]
    names = pa.array([[f"{kind(stage)}/{fingerprint(stage)}" for stage in kept], None], pa.list_(pa.string()))
    store.create("searches/lr_decay/study.journal", b"")
    with pytest.raises(StoreError, match=r"study\.journal: has no table"):
        removable(store, unreferenced=True)
    store.replace("searches/lr_decay/study.parquet", to_bytes(pa.table({"upstream": names})))
    store.create("searches/lr_decay/study-importances.parquet", to_bytes(pa.table({"axis": ["a"]})))
    assert paths(removable(store, unreferenced=True))[-1] == home(store, chain[-1])
    assert {fingerprint(stage) for stage in kept} <= {name.split("/")[1] for name in referenced(store)}
    store.replace("searches/lr_decay/study.parquet", to_bytes(pa.table({"trial": [1]})))
    with pytest.raises(StoreError, match=r"study\.parquet: does not tell"):
        removable(store, unreferenced=True)


def test_without_any_plan_nothing_counts_as_unreferenced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, stranger()[0])
    with pytest.raises(StoreError, match="no plan and no search"):
        removable(store, unreferenced=True)


LEFTOVERS = [
    ("probe/mark", True),
    ("ray/train/run/state.json", False),
    ("leases/tune/00/0000", False),
    ("removed/00/content/attempts/00/output/file", False),
    ("results/00.parquet#1", True),
    ("sweeps/lr_decay/00.parquet#12", True),
    ("pretrain/00/attempts/00/checkpoints/000000005-00.part", True),
    ("pretrain/00/attempts/00/output/deep/.weights.bin.00.part", True),
    ("data/.ntu60.00.partial/joints.npy", True),
]
KEPT = [
    "figures/lr_decay.png",
    "figures/name.part",
    "data/ntu60/joints.npy",
    "drivers/00.json#",
    "logs/lr_decay.log",
    "searches/lr_decay/study.log",
    "tensorboard/lr_decay/events#1",
    "notes.part",
]


@pytest.mark.parametrize(("key", "only_old"), LEFTOVERS)
def test_leftovers_go_when_nobody_can_need_them(store: Store, key: str, only_old: bool) -> None:
    path = store.location / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")
    if only_old:
        assert removable(store) == [], "it may be somebody's who leaves no record"
    now = time.time() + YOUNG_SECONDS + 60
    (removal,) = removable(store, now=now)
    assert path.is_relative_to(removal.path)
    assert removal.num_bytes == 5
    for _ in remove(store, [removal], driver_keys(store)):
        pass
    assert not path.exists()


def test_a_data_set_that_is_being_packed_stays_while_a_file_of_it_is_young(store: Store) -> None:
    folder = store.location / "data" / ".ntu60.00.partial"
    folder.mkdir(parents=True)
    (folder / "joints.npy").write_bytes(b"")
    long_ago = time.time() - 2 * YOUNG_SECONDS
    os.utime(folder, (long_ago, long_ago))
    assert removable(store) == []
    os.utime(folder / "joints.npy", (long_ago, long_ago))
    assert paths(removable(store)) == [folder]


def test_what_lies_in_something_that_goes_is_not_counted_twice(store: Store) -> None:
    attempt = begun(store, stranger()[0])
    (attempt.checkpoints / "000000005-00.part").write_bytes(b"half")
    now = time.time() + 2 * YOUNG_SECONDS
    assert paths(removable(store, now=now)) == [attempt.checkpoints / "000000005-00.part"]
    (removal,) = removable(store, abandoned=True, now=now)
    assert removal.path == home(store, stranger()[0])
    assert removal.num_bytes == 644


@pytest.mark.parametrize("key", KEPT)
def test_what_people_or_others_need_stays(store: Store, key: str) -> None:
    path = store.location / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    assert removable(store, abandoned=True, unreferenced=True, now=time.time() + 10 * YOUNG_SECONDS) == []


def test_logs_go_by_age_and_only_when_asked(store: Store) -> None:
    (store.location / "logs").mkdir()
    for name, days in (("old", 31), ("young", 29)):
        path = store.location / "logs" / f"{name}.log"
        path.write_text("")
        os.utime(path, (time.time() - days * 86400,) * 2)
    assert removable(store) == []
    assert [path.name for path in paths(removable(store, logs_older_than=30))] == ["old.log"]


def test_looking_writes_nothing_and_needs_no_right_to(store: Store) -> None:
    begun(store, stranger()[0], checkpoint=True)
    before = snapshot(store.location)
    opened = Store(store.location, read_only=True)
    found = removable(opened, abandoned=True, unreferenced=True)
    assert found
    assert snapshot(store.location) == before
    with pytest.raises(StoreError, match="reading only"):
        list(remove(opened, found, driver_keys(opened)))
    assert snapshot(store.location) == before


def a_driver(store: Store, **changes: Any) -> Driver:
    driver = replace(begin(command="python sweeps/lr_decay.py", sweep="lr_decay", run="sweeps/lr_decay/0"), **changes)
    driver.write(store)
    return driver


def elsewhere(store: Store, **changes: Any) -> Driver:
    driver = begin(command="", sweep="", run="")
    return a_driver(store, process=replace(driver.process, machine="elsewhere"), **changes)


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_drivers_of_this_machine_are_told_at_once(store: Store) -> None:
    def never(_: Any) -> None:
        raise AssertionError("nobody has to be watched")

    a_driver(store, ended="finished")
    mine = begin(command="", sweep="", run="").process
    a_driver(store, process=replace(mine, created=mine.created - 100))
    assert at_work(store, waiting=never) == []
    alive = a_driver(store)
    elsewhere(store)
    assert at_work(store, waiting=never) == [alive], "one is enough"


def test_a_driver_of_another_machine_is_watched_until_its_beat_moves(store: Store) -> None:
    driver, clock = elsewhere(store), Clock()
    told: list[Sequence[Driver]] = []

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now >= 4:
            replace(driver, beat=1).write(store)

    living = at_work(store, waiting=told.append, observer=Observer(store, clock), sleep=sleep)
    assert [found.name for found in living] == [driver.name]
    assert told == [[driver]]
    assert clock.now == 4


def test_a_driver_of_another_machine_is_dead_only_after_a_long_silence(store: Store) -> None:
    elsewhere(store)
    clock = Clock()
    assert at_work(store, waiting=lambda _: None, observer=Observer(store, clock), sleep=clock.sleep) == []
    assert clock.now >= SILENCE_SECONDS


def test_a_removal_stops_when_a_driver_begins(store: Store) -> None:
    for stage in stranger()[:2]:
        begun(store, stage)
    judged = driver_keys(store)
    going = remove(store, removable(store, abandoned=True), judged)
    next(going)
    driver = a_driver(store)
    with pytest.raises(StoreError, match=f"{driver.name}.json: this driver began"):
        next(going)
    assert len(removable(store, abandoned=True)) == 1


@pytest.mark.parametrize("work", ["remove", "copy"])
def test_killed_anywhere_the_store_is_valid_and_the_same_command_goes_on(work: str) -> None:
    """At places all over the removal, and the copying, of a chain of stages with their rows."""
    program = Path(__file__).with_name("upkeep_killed.py")
    command = [sys.executable, "-m", f"tests.{program.stem}", work]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counted = json.loads(done.stdout)
    assert counted["killed"] > 20, "it has many lines, and was killed all over them"
    assert counted["found"] == list(range(counted["stages"] + 1)), "between any two stages, too"


def test_a_record_of_the_reason_goes_along_with_what_is_removed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    late = begun(store, stranger()[0])
    monkeypatch.setattr(shutil, "rmtree", lambda _: None)
    carry_out(store, abandoned=True)
    (why,) = (store.location / "removed").glob("*/why")
    assert f"{late.output.parent.parent.parent}: never finished" in why.read_text()
    assert json.dumps(sorted(p.name for p in why.parent.iterdir())) == '["content", "why"]'
