"""Leases and drivers: one holder at a time, the living keep theirs, the dead lose it, and nobody trusts a clock."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from cluster import pulse
from stars import drivers
from stars.drivers import BEAT_SECONDS, SILENCE_SECONDS, Observer, Process, begin
from stars.execute import Held, realise
from stars.leases import Holder, acquire, holder, lease_name, release
from stars.outcome import StoreError
from stars.store import Store
from tests.processes import ended, start
from tests.training import Tiny

WORK = "tune/0123"
ONE, OTHER = Holder(driver="a", unit="u"), Holder(driver="b", unit="v")


def always(_: str) -> bool:
    return True


def never(_: str) -> bool:
    return False


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_one_holds_it_until_it_is_given_back(store: Store) -> None:
    assert holder(store, WORK) is None
    assert acquire(store, WORK, ONE, always) == ONE
    assert acquire(store, WORK, ONE, always) == ONE, "a unit that is run again"
    assert acquire(store, WORK, OTHER, always) == ONE
    release(store, WORK, OTHER)
    assert holder(store, WORK) == ONE, "only its holder gives it back"
    release(store, WORK, ONE)
    assert holder(store, WORK) is None
    assert acquire(store, WORK, OTHER, always) == OTHER


def test_a_unit_waits_for_another_of_the_same_driver(store: Store) -> None:
    acquire(store, WORK, ONE, always)
    assert acquire(store, WORK, replace(ONE, unit="w"), never) == ONE


def test_the_dead_lose_it_and_do_not_take_it_back(store: Store) -> None:
    acquire(store, WORK, ONE, always)
    assert acquire(store, WORK, OTHER, never) == OTHER
    release(store, WORK, ONE)
    assert holder(store, WORK) == OTHER
    release(store, WORK, OTHER)
    assert holder(store, WORK) is None, "the dead one's entry is gone with it"


def race(location: Path, name: str) -> None:
    """Take the lease, and write down that this process has it."""
    me = Holder(driver=name, unit="u")
    if acquire(Store(location), WORK, me, lambda driver: driver != "dead") == me:
        (location / f"won-{name}").touch()


def test_of_many_who_take_a_dead_ones_lease_one_gets_it(store: Store) -> None:
    acquire(store, WORK, Holder(driver="dead", unit="u"), always)
    racers = [start(race, store.location, str(number)) for number in range(8)]
    assert [ended(racer) for racer in racers] == [0] * 8
    assert len(list(store.location.glob("won-*"))) == 1


def test_a_damaged_lease_is_named(store: Store) -> None:
    store.create("leases/tune.0123.0000", b"{")
    with pytest.raises(StoreError, match=r"0000: not a lease"):
        holder(store, WORK)


def elsewhere(store: Store, beat: int = 0) -> drivers.Driver:
    """A driver of another machine, with its record written."""
    mine = begin(command="python sweeps/x.py", sweep="x", run="r")
    driver = replace(mine, process=replace(mine.process, machine="another"), beat=beat)
    driver.write(store)
    return driver


def test_a_driver_of_another_machine_is_dead_when_its_beat_has_not_moved_for_long(store: Store) -> None:
    now = [0.0]
    observer = Observer(store, clock=lambda: now[0])
    driver = elsewhere(store)
    assert observer.alive(driver.name)
    for beat in range(1, 4):
        now[0] += SILENCE_SECONDS - 1
        replace(driver, beat=beat).write(store)
        assert observer.alive(driver.name), "it moved"
    now[0] += SILENCE_SECONDS - 1
    assert observer.alive(driver.name), "silent, not for long enough"
    now[0] += 2
    assert not observer.alive(driver.name)
    assert 2 * BEAT_SECONDS < SILENCE_SECONDS < 100, "a beat may be late, and the dead are known in under two minutes"


def test_whether_a_driver_moves_is_seen_only_at_its_second_beat(store: Store) -> None:
    observer = Observer(store)
    driver = elsewhere(store)
    assert observer.moving(driver.name) is None
    assert observer.moving(driver.name) is None
    replace(driver, beat=1).write(store)
    assert observer.moving(driver.name) is True
    replace(driver, beat=2, ended="finished").write(store)
    assert observer.moving(driver.name) is False


def test_the_process_table_tells_of_drivers_on_this_machine(store: Store) -> None:
    driver = begin(command="", sweep="x", run="r")
    driver.write(store)
    assert Observer(store).alive(driver.name)
    gone = replace(driver, name="0" * 32, process=Process(**{**vars(driver.process), "created": 1.0}))
    gone.write(store)
    assert not Observer(store).alive(gone.name), "another process with the same number"
    replace(driver, ended="interrupted").write(store)
    assert not Observer(store).alive(driver.name)
    assert not Observer(store).alive("unknown")


def test_a_record_is_read_back_as_written(store: Store) -> None:
    driver = replace(begin(command="c", sweep="x", run="r"), failed=({"kind": "tune"},), spent={"seconds": 1.5})
    driver.write(store)
    assert list(drivers.read_all(store)) == [driver]
    store.replace(f"drivers/{driver.name}.json", b"{}")
    with pytest.raises(StoreError, match=driver.name):
        list(drivers.read_all(store))


def test_a_disk_that_fails_for_a_while_does_not_end_the_pulse(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.01)
    driver, fails = begin(command="", sweep="x", run="r"), [False]
    replaced = store.replace

    def replace_or_fail(key: str, content: bytes) -> None:
        if fails[0]:
            raise StoreError("disk full")
        replaced(key, content)

    def beats() -> int:
        found = drivers.read(store, driver.name)
        return found.beat if found else 0

    monkeypatch.setattr(store, "replace", replace_or_fail)
    beating = pulse.Pulse(driver, store)
    with beating.beating(dict):
        fails[0] = True
        time.sleep(0.1)
        before, fails[0] = beats(), False
        deadline = time.monotonic() + 10
        while beats() <= before and time.monotonic() < deadline:
            time.sleep(0.01)
        assert beats() > before


def test_a_stage_that_a_living_driver_has_is_left_to_it(tiny: Tiny, tmp_path: Path) -> None:
    theirs = begin(command="", sweep="x", run="r")
    workplace = replace(tiny.workplace(tmp_path), holder=ONE)
    theirs.write(workplace.store)
    stage = tiny.recipe.stage1
    acquire(workplace.store, lease_name(stage), Holder(driver=theirs.name, unit="u"), always)
    with pytest.raises(Held, match=f"pretrain .* is held by driver {theirs.name[:8]}"):
        realise(tiny.recipe.stage2, workplace)
    assert workplace.store.outcome(stage) is None
    replace(theirs, ended="interrupted").write(workplace.store)
    assert realise(stage, workplace).status == "finished"
    assert holder(workplace.store, lease_name(stage)) is None
