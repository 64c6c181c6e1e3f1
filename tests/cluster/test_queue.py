"""The queue: order, waiting, what a failure takes along, lost processes, and units that others hold. No Ray."""

import time
from pathlib import Path

from cluster.queue import Queue
from stars.execute import Unit, units
from stars.recipes import small
from stars.stage import Stage, fingerprint, kind
from stars.store import Store
from tests.examples import DATA, a_point


def cut(tmp_path: Path, *targets: Stage) -> list[Unit]:
    """Units of targets of which nothing is done; what trains is a unit of its own."""
    return units(targets, Store(tmp_path), lambda stage: stage.trains())


def queue(*more: Unit, lane: str = "tune") -> Queue:
    """A queue with one lane in use, where progress is what `progress` below says."""
    made = Queue(lambda _: lane, lambda _: "nothing")
    assert made.add(more) == []
    return made


def take(from_queue: Queue) -> str:
    """The kind of the unit taken, empty when none is ready."""
    unit = from_queue.take("tune")
    return kind(unit.stage) if unit else ""


def name_of(unit: Unit) -> str:
    return fingerprint(unit.stage)


def test_readers_wait_for_their_input(tmp_path: Path) -> None:
    todo = queue(*cut(tmp_path, a_point(seed=0), a_point(seed=1)))
    assert [take(todo), take(todo)] == ["pretrain", ""]
    [stage1] = todo.running
    [gone] = todo.ended(stage1, "finished")
    assert (kind(gone.unit.stage), gone.status, gone.because) == ("pretrain", "finished", "")
    assert [take(todo) for _ in range(3)] == ["tune", "tune", ""]
    for name in list(todo.running):
        todo.ended(name, "finished")
    assert [take(todo) for _ in range(3)] == ["knn", "knn", ""]
    assert len(todo) == 2
    assert todo.total == 5


def test_a_failure_takes_its_readers_along_and_no_others(tmp_path: Path) -> None:
    todo = queue(*cut(tmp_path, a_point(seed=0), a_point(seed=1)))
    take(todo)
    todo.ended(*todo.running, "finished")
    take(todo), take(todo)
    failed, other = todo.running
    gone = todo.ended(failed, "diverged")
    assert [(kind(end.unit.stage), end.status) for end in gone] == [("tune", "diverged"), ("knn", "diverged")]
    assert gone[1].because == failed
    todo.ended(other, "finished")
    assert take(todo) == "knn"


def test_what_comes_later_and_needs_what_failed_cannot_run(tmp_path: Path) -> None:
    todo = queue(*cut(tmp_path, a_point(seed=0)))
    take(todo)
    todo.ended(*todo.running, "oom")
    again = [unit for unit in cut(tmp_path, a_point(seed=1)) if kind(unit.stage) != "pretrain"]
    assert [(kind(end.unit.stage), end.status) for end in todo.add(again)] == [("tune", "oom"), ("knn", "oom")]
    assert len(todo) == 0


def test_units_are_queued_once(tmp_path: Path) -> None:
    todo = queue(*cut(tmp_path, a_point(seed=0)))
    todo.add(cut(tmp_path, a_point(seed=0), a_point(seed=1)))
    assert todo.total == 5, "stage 1 once; tuning and probe twice"
    take(todo)
    todo.add(cut(tmp_path, a_point(seed=2)))
    assert todo.total == 7
    assert take(todo) == "", "all wait for the stage 1 that runs"


def test_a_lost_unit_is_run_again_as_long_as_it_comes_forward(tmp_path: Path) -> None:
    saved = iter([1, 2, 3, 4, 4, 4])
    todo = Queue(lambda _: "tune", lambda _: next(saved))
    todo.add(cut(tmp_path, a_point()))
    for _ in range(5):
        assert take(todo) == "pretrain"
        assert todo.lost(*todo.running) == []
    assert take(todo) == "pretrain"
    gone = todo.lost(*todo.running)
    assert [(kind(end.unit.stage), end.status) for end in gone] == [
        ("pretrain", "lost"),
        ("tune", "lost"),
        ("knn", "lost"),
    ]


def test_a_held_unit_lets_others_run_and_comes_back(tmp_path: Path) -> None:
    untrained = small(DATA).untrained(0)
    [first, second] = cut(tmp_path, untrained, small(DATA).untrained(1))
    todo = queue(first, second)
    take(todo)
    todo.hold(name_of(first), "pretrain/…")
    assert take(todo) == "pretrain"
    assert todo.take("tune") is None
    todo.free(name_of(first))
    assert todo.take("tune") == first


def test_what_could_not_begin_stands_behind_the_others(tmp_path: Path) -> None:
    first, second = cut(tmp_path, small(DATA).untrained(0), small(DATA).untrained(1))
    todo = queue(first, second)
    for _ in range(5):
        assert todo.take("tune") == first
        todo.again(name_of(first))
        assert todo.take("tune") == second
        todo.again(name_of(second))
    assert len(todo) == 2


def test_ten_thousand_units_are_queued_and_taken_quickly(tmp_path: Path) -> None:
    many = [Unit(stage=small(DATA).untrained(seed), waits_for=frozenset()) for seed in range(10_000)]
    for unit in many:
        name_of(unit)
    todo = queue()
    begun = time.process_time()
    todo.add(many)
    for _ in many:
        unit = todo.take("tune")
        assert unit is not None
        todo.ended(name_of(unit), "finished")
    assert time.process_time() - begun < 2, "a loop over all units at every step would take minutes"
