"""The status of a store: who is at work, how far everything is, and what failed."""

import json
import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from cluster.standing import SHOWN_SECONDS, drivers, searches, standings
from cluster.status import duration, show_status
from stars.drivers import SILENCE_SECONDS, Driver, begin
from stars.parquet import to_bytes
from stars.store import Store
from stars.trials import TRIALS_SCHEMA, VIEW_VERSION, view_key
from tests.examples import DATA
from tests.stores import begun, end, finish_all, planned, snapshot


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "filled")


def a_driver(store: Store, *, machine: str = "", age: float = 0.0, **changes: Any) -> Driver:
    """A record that was last written `age` seconds ago."""
    driver = replace(begin(command="python sweeps/lr_decay.py", sweep="lr_decay", run="sweeps/lr_decay/0"), **changes)
    if machine:
        driver = replace(driver, process=replace(driver.process, machine=f"{machine} boot pid"))
    driver.write(store)
    written = time.time() - age
    os.utime(store.location / "drivers" / f"{driver.name}.json", (written, written))
    return driver


def dead(driver: Driver) -> Any:
    """A process of this machine that is no more."""
    return replace(driver.process, created=driver.process.created - 100)


def shown(store: Store, sweep: str | None = None, width: int = 100) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        assert show_status(console, store, sweep=sweep) == 0
    return capture.get()


def words(text: str) -> str:
    """The text without the breaks that columns put into it."""
    return " ".join(text.split())


def test_an_empty_store_says_so(store: Store) -> None:
    text = shown(store)
    assert "no driver is at work" in text
    assert "nothing is planned" in text


def test_a_driver_at_work_is_shown_with_all_it_says(store: Store) -> None:
    a_driver(
        store,
        job="raysubmit_1",
        units={"total": 300, "done": 120, "failed": 2, "running": 1},
        running=({"kind": "tune", "fingerprint": "f" * 64, "since": "12:00", "detail": "epoch 3 of 6"},),
        failed=({"kind": "tune", "fingerprint": "e" * 64, "status": "diverged", "reason": "nan"},) * 2,
        capacity={"cpus": 16, "gpus": 8},
        in_use={"cpus": 4, "gpus": 3},
        spent={"seconds": 3780, "gpu_seconds": 7200, "cpu_seconds": 1800, "usd": 4.1},
        left_seconds=7800,
    )
    text = words(shown(store, width=160))
    for part in ("at work for 1 h 3 min", "raysubmit_1", "120 of 300 done", "1 running", "2 failed", "2 tune diverged"):
        assert part in text
    for part in ("3 of 8", "2.00 GPU hours", "0.50 CPU hours", "$4.10", "2 h 10 min", "epoch 3 of 6", "f" * 12):
        assert part in text


def test_a_driver_that_died_is_told_from_one_that_ended(store: Store) -> None:
    started = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    gone = a_driver(store, age=3600, started=started, process=dead(begin(command="", sweep="", run="")))
    a_driver(store, ended="interrupted", run="sweeps/lr_decay/1")
    seen, _ = drivers(store)
    assert [(entry.life, entry.followed) for entry in seen] == [("died", False), ("ended", False)]
    assert seen[0].lasted == pytest.approx(3600, abs=60), "to its last sign of life"
    text = words(shown(store, width=160))
    assert "died after 1 h 0 min; the same command goes on" in text
    assert "interrupted after" in text
    a_driver(store, run=gone.run)
    assert drivers(store)[0][0].followed
    assert "another went on" in words(shown(store, width=160))


def test_old_drivers_are_counted_only_unless_they_live(store: Store) -> None:
    a_driver(store, ended="finished", age=SHOWN_SECONDS + 60)
    a_driver(store, process=dead(begin(command="", sweep="", run="")), age=SHOWN_SECONDS + 60)
    alive = a_driver(store, age=SHOWN_SECONDS + 60)
    seen, num_older = drivers(store)
    assert [entry.driver.name for entry in seen] == [alive.name]
    assert num_older == 2


@pytest.mark.parametrize(("age", "life"), [(5.0, "silent"), (SILENCE_SECONDS + 5, "died")])
def test_a_driver_elsewhere_that_shows_no_sign(store: Store, age: float, life: str) -> None:
    a_driver(store, machine="elsewhere", age=age)
    (seen,), _ = drivers(store, patience=2.0, sleep=lambda _: None)
    assert seen.life == life


def test_a_driver_elsewhere_is_at_work_when_its_beat_moves(store: Store) -> None:
    driver = a_driver(store, machine="elsewhere")
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            replace(driver, beat=1).write(store)

    (seen,), _ = drivers(store, patience=60, sleep=sleep)
    assert seen.life == "at work"
    assert len(waits) == 2, "no longer than needed"


def test_nobody_waits_for_drivers_of_this_machine(store: Store) -> None:
    def never(_: float) -> None:
        raise AssertionError("the process table tells at once")

    a_driver(store)
    a_driver(store, ended="finished")
    assert len(drivers(store, sleep=never)[0]) == 2


def test_a_sweep_is_counted_by_points_with_the_reasons_of_failure(store: Store) -> None:
    points = planned(store, decays=(0.2, 1.0), seeds=2)
    finish_all(store, points[:2])
    tuned = points[2].stage.features.encoder  # type: ignore[attr-defined]
    end(store, begun(store, tuned), "diverged", "the loss is nan after 30 steps")
    (standing,) = standings(store)
    distinct = len(points)
    assert (standing.planned, standing.finished, standing.missing) == (distinct, 2, distinct - 3)
    assert standing.failed == {"diverged": 1}
    assert standing.reasons == ((("tune", "diverged", "the loss is nan after 30 steps"), 1),)
    assert standing.best == "50.5 ± 6.4 % (n = 2) at layer_decay=0.2\naccuracy, k = 10, test"
    text = words(shown(store))
    assert "1 diverged" in text
    assert "the loss is nan after 30 steps" in text


def test_the_best_is_of_the_grid_and_says_how_many_seeds_it_has(store: Store) -> None:
    points = planned(store, decays=(0.2, 1.0), seeds=2)
    finish_all(store, [points[0], points[1], points[2], *points[4:]])
    (standing,) = standings(store)
    assert standing.best.startswith("52.0 % (n = 1 of 2) at layer_decay=1.0"), "references have greater numbers"


def test_several_contexts_stand_on_lines_of_their_own(store: Store) -> None:
    other = replace(DATA, name="another", content="2" * 64)
    finish_all(store, planned(store))
    planned(store, data=other)
    found = {standing.context: standing for standing in standings(store)}
    assert len(found) == 2
    (first,) = [context for context in found if DATA.name in context]
    (second,) = [context for context in found if "another" in context]
    assert found[first].finished == found[first].planned
    assert (found[second].finished, found[second].best) == (0, "-")
    assert "content=000000000000" in first, "the entries that differ are named"


def test_numbers_that_cannot_be_told_apart_are_said_and_stop_nothing(store: Store) -> None:
    points = planned(store, decays=(0.2,), seeds=1)
    finish_all(store, points)
    (key,) = store.keys("sweeps/lr_decay", ".parquet")
    table = pq.read_table(store.location / key)
    lines = table.to_pylist()
    lines[0] |= {"fingerprint": "9" * 64, "upstream": ["knn/" + "9" * 64]}
    store.create("sweeps/lr_decay/second.parquet", to_bytes(pa.Table.from_pylist(lines, schema=table.schema)))
    (standing,) = standings(store)
    assert standing.best.startswith("cannot be told: ")


def a_search(store: Store, lines: list[dict[str, Any]], *, greater: bool = True) -> None:
    common = {
        "study": "lr_decay-0123",
        "sweep": "lr_decay",
        "reason": "",
        "values": "",
        "probes": "",
        "started": datetime.now(UTC),
        "ended": None,
        "horizons": [2, 6],
        "metric": "accuracy",
        "k": 10,
        "greater_is_better": greater,
        "context": "{}",
        "schema_version": VIEW_VERSION,
    }
    listed = {**dict.fromkeys(TRIALS_SCHEMA.names), **common}
    # A column that is added by others is filled with nothing.
    listed |= {f.name: [] for f in TRIALS_SCHEMA if pa.types.is_list(f.type) and listed[f.name] is None}
    rows = [{**listed, **line, "axes": json.dumps(line["axes"])} for line in lines]
    store.replace(view_key("lr_decay", "lr_decay-0123"), to_bytes(pa.Table.from_pylist(rows, schema=TRIALS_SCHEMA)))


@pytest.mark.parametrize(("greater", "words_of_best"), [(True, "60.0 % at layer_decay=0.3"), (False, "55.0 %")])
def test_a_search_is_counted_by_trials_and_its_best_ran_in_full(
    store: Store, greater: bool, words_of_best: str
) -> None:
    def trial(number: int, state: str, horizon: int, value: float | None, decay: float) -> dict[str, Any]:
        return {"trial": number, "state": state, "horizon": horizon, "value": value, "axes": {"layer_decay": decay}}

    lines = [
        trial(0, "finished", 2, 0.9, 0.2),
        trial(0, "finished", 6, 0.55, 0.2),
        trial(1, "finished", 2, 0.1, 0.3),
        trial(1, "finished", 6, 0.60, 0.3),
        trial(2, "stopped", 2, 0.99, 0.4),
        trial(3, "failed", 2, None, 0.5),
        trial(4, "running", 2, None, 0.6),
    ]
    a_search(store, lines, greater=greater)
    (found,) = searches(store)
    assert found.states == {"finished": 2, "stopped": 1, "failed": 1, "running": 1}
    assert found.best.startswith(words_of_best)
    assert "lr_decay-0123" in shown(store)


def test_one_sweep_alone_and_an_unknown_one(store: Store) -> None:
    planned(store)
    a_driver(store, sweep="other", command="python sweeps/other.py")
    assert "sweeps/other.py" in shown(store, width=160)
    assert "sweeps/other.py" not in shown(store, "lr_decay", width=160)
    assert "sweeps/other.py" in shown(store, "other", width=160), "at work on what is not planned yet"
    console = Console(width=100)
    with console.capture() as capture:
        assert show_status(console, store, sweep="nothing") == 2
    assert "there are: lr_decay, other" in words(capture.get())


def test_it_is_read_only_and_fits_into_100_columns(store: Store) -> None:
    points = planned(store)
    finish_all(store, points[:3])
    a_driver(store, command="python sweeps/lr_decay.py " + "--set layer_decay=0.1,0.2,0.3 " * 10)
    before = snapshot(store.location)
    opened = Store(store.location, read_only=True)
    for width in (100, 250):
        assert max(map(len, shown(opened, width=width).splitlines()[1:])) <= 100
    assert snapshot(store.location) == before


@pytest.mark.parametrize(
    ("seconds", "shown_as"),
    [(0, "0 s"), (59.6, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min"), (90000, "1 d 1 h")],
)
def test_durations_have_two_units(seconds: float, shown_as: str) -> None:
    assert duration(seconds) == shown_as
