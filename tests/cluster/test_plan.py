"""`--plan`: the disk that a sweep takes and will take."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from rich.console import Console

from cluster.plan import Room, room, show_plan
from stars.execute import missing
from stars.stage import upstream
from stars.store import Store
from stars.sweep import Point
from sweeps.lr_decay import SWEEP
from tests.stores import finish, finish_all, grid, planned

Usage = namedtuple("Usage", "total used free")


def measured(store: Store, wanted: list[Point]) -> Room:
    targets = [point.stage for point in wanted]
    return room(store, upstream(*targets), missing(targets, store))


def shown(store: Store, wanted: list[Point], width: int = 100) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        show_plan(console, SWEEP, wanted, store, 2)
    return capture.get()


def test_what_was_never_finished_is_unknown(tmp_path: Path) -> None:
    store = Store(tmp_path)
    found = measured(store, grid())
    assert found.on_disk == found.each == {}
    assert found.expected == 0
    assert {"pretrain", "tune", "features", "knn", "chance"} <= set(found.unknown)
    assert "unknown" in shown(store, grid())


def test_what_is_to_come_is_the_median_of_what_is_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first, *_, last = grid(decays=(0.2, 1.0), seeds=1)[:2]
    finish_all(store, [first])
    found = measured(store, [first, last])
    assert found.on_disk["tune"] == found.each["tune"] == 640
    todo = missing([last.stage], store)
    assert found.expected == sum(found.each[name] for name in ("tune", "features", "knn"))
    assert len(todo) == 3
    assert found.unknown == ()
    assert found.free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    finish(store, todo[0])
    again = measured(store, [first, last])
    assert (again.on_disk["tune"], again.each["tune"]) == (1280, 640)
    line = next(line for line in shown(store, [first, last]).splitlines() if "features" in line)
    assert [cell.strip() for cell in line.split("│")[-3:-1]] == ["640 B", "640 B"], "on disk, and still to come"


def test_a_disk_that_will_not_suffice_is_said_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    wanted = grid()
    finish_all(store, wanted[:1])
    needed = measured(store, wanted).expected
    for free, warns in ((int(needed), False), (int(needed) - 1000, True)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: Usage(0, 0, free))
        assert measured(store, wanted).suffices() != warns
        assert ("will not suffice: 1.0 kB more" in shown(store, wanted)) == warns


def test_of_a_finished_sweep_nothing_is_to_come(tmp_path: Path) -> None:
    store = Store(tmp_path)
    wanted = planned(store)
    finish_all(store, wanted)
    assert measured(store, wanted).expected == 0
    assert "0 B to come" in shown(store, wanted)
