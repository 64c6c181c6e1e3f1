"""The searcher: trainers first, as many as have room; others beside them only in what is left. No Ray cluster."""

from pathlib import Path
from typing import Any

import pytest

from cluster.driving import trained_by_ray
from cluster.options import Options
from cluster.queue import Queue
from cluster.resources import Amount, Capacity, Needs
from cluster.schedule import Ready, Searcher
from stars.execute import Unit, units
from stars.recipes import small
from stars.stage import Stage, kind
from stars.store import Store
from tests.examples import DATA, a_point


def of(cpus: float, gpus: float = 0) -> Capacity:
    """A cluster of one node."""
    return Capacity(nodes=(Amount(cpus=cpus, gpus=gpus),))


class Bench:
    """A searcher over a queue, on a cluster of a given size."""

    def __init__(self, tmp_path: Path, *targets: Stage, cpus: float = 4, gpus: float = 0, workers: int = 1) -> None:
        self.capacity = of(cpus, gpus)
        self.free = True
        self.looked = 0
        self.reports: list[tuple[str, dict[str, Any]]] = []
        self.queue = Queue(self.lane, lambda _: None)
        self.queue.add(units(targets, Store(tmp_path), lambda stage: stage.trains()))
        worker = Amount(cpus=1, gpus=1 if gpus else 0)
        self.searcher = Ready(
            self.queue,
            needs=Needs(worker=worker, num_workers=workers),
            capacity=lambda: self.capacity,
            may_start=lambda: self.free,
            ended=self.ended,
            look=self.look,
        )

    def lane(self, unit: Unit) -> str:
        return "ray" if unit.stage.trains() else "tune"

    def ended(self, name: str, report: dict[str, Any]) -> None:
        self.reports.append((name, report))
        self.queue.ended(name, report.get("status", "lost"))

    def look(self) -> None:
        self.looked += 1

    def suggest(self, trial: str) -> str | None:
        """The lane and kind suggested, or what else the searcher says."""
        config = self.searcher.suggest(trial)
        if not isinstance(config, dict):
            return config
        return f"{config['lane']} {kind(self.queue.running[config['name']].stage)}"

    def finish(self, trial: str) -> None:
        self.searcher.on_trial_complete(trial, {"status": "finished"})


def test_a_chain_is_suggested_link_by_link(tmp_path: Path) -> None:
    bench = Bench(tmp_path, a_point())
    for link in ("ray pretrain", "ray tune", "tune knn"):
        assert bench.suggest(link) == link
        assert bench.suggest("more") is None
        bench.finish(link)
    assert bench.suggest("more") == Searcher.FINISHED


def test_a_dead_process_has_an_empty_report(tmp_path: Path) -> None:
    bench = Bench(tmp_path, a_point())
    bench.suggest("a")
    bench.searcher.on_trial_complete("a", {"status": "finished"}, error=True)
    assert [report for _, report in bench.reports] == [{}]


@pytest.mark.parametrize(("cpus", "gpus", "workers", "room"), [(5, 0, 2, 2), (8, 2, 1, 2), (8, 4, 4, 1), (1, 0, 1, 1)])
def test_no_more_trainers_run_at_once_than_have_room(
    tmp_path: Path, cpus: float, gpus: float, workers: int, room: int
) -> None:
    trained = [small(DATA).stage1.__class__(**{**vars(small(DATA).stage1), "seed": seed}) for seed in range(4)]
    bench = Bench(tmp_path, *trained, cpus=cpus, gpus=gpus, workers=workers)
    assert [bench.suggest(str(number)) is not None for number in range(4)] == [True] * room + [False] * (4 - room)
    bench.finish("0")
    assert bench.suggest("later") == "ray pretrain"


def test_a_cluster_that_grows_runs_more(tmp_path: Path) -> None:
    trained = [small(DATA).stage1.__class__(**{**vars(small(DATA).stage1), "seed": seed}) for seed in range(4)]
    bench = Bench(tmp_path, *trained, cpus=1)
    assert bench.suggest("a") == "ray pretrain"
    assert bench.suggest("b") is None
    bench.capacity = of(3)
    assert [bench.suggest(trial) for trial in "bcd"] == ["ray pretrain", "ray pretrain", None]


@pytest.mark.parametrize(("cpus", "beside"), [(1, None), (2, "tune pretrain")])
def test_others_run_beside_trainers_only_in_what_is_left(tmp_path: Path, cpus: float, beside: str | None) -> None:
    bench = Bench(tmp_path, a_point(), small(DATA).untrained(0), cpus=cpus)
    assert [bench.suggest("a"), bench.suggest("b")] == ["ray pretrain", beside]


def test_room_is_kept_for_a_trainer_that_is_ready(tmp_path: Path) -> None:
    others = [small(DATA).untrained(seed) for seed in range(3)]
    bench = Bench(tmp_path, *others[:2], cpus=2, workers=2)
    assert [bench.suggest("a"), bench.suggest("b")] == ["tune pretrain", "tune pretrain"]
    bench.queue.add(units([small(DATA).stage1, others[2]], Store(tmp_path), lambda stage: stage.trains()))
    bench.finish("a")
    assert bench.suggest("c") is None, "one of its two workers has a place"
    bench.finish("b")
    assert bench.suggest("c") == "ray pretrain"
    bench.finish("c")
    assert bench.suggest("d") == "tune pretrain"


def test_a_trainer_does_not_wait_for_what_waits_for_others(tmp_path: Path) -> None:
    """A unit that a trainer waits for must have a place, though the trainer wants all of them."""
    point = a_point()
    encoder = point.features.encoder
    bench = Bench(tmp_path, cpus=1)
    bench.lane = lambda unit: "ray" if unit.stage == encoder else "tune"  # type: ignore[method-assign]
    bench.queue = Queue(bench.lane, lambda _: None)
    bench.searcher._queue = bench.queue
    bench.queue.add(units([point], Store(tmp_path), lambda stage: stage.trains()))
    assert bench.suggest("a") == "tune pretrain"
    bench.finish("a")
    assert bench.suggest("b") == "ray tune"


def test_when_all_is_held_what_holds_it_is_looked_at(tmp_path: Path) -> None:
    bench = Bench(tmp_path, a_point())
    bench.suggest("a")
    assert bench.suggest("b") is None
    assert bench.looked == 0, "what runs will wake Tune"
    (name,) = bench.queue.running
    bench.queue.hold(name, "work")
    assert bench.suggest("b") is None
    assert bench.looked == 1


def test_nothing_more_starts_when_nothing_may(tmp_path: Path) -> None:
    bench = Bench(tmp_path, small(DATA).untrained(0), small(DATA).untrained(1))
    assert bench.suggest("a") == "tune pretrain"
    bench.free = False
    assert bench.suggest("b") is None, "what runs is waited for"
    bench.finish("a")
    assert bench.suggest("b") == Searcher.FINISHED


@pytest.mark.parametrize(
    ("options", "gpus", "trained"),
    [
        (Options(), 0, ["pretrain"]),
        (Options(), 1, ["pretrain", "tune"]),
        (Options(gpus_per_trial=0), 1, ["pretrain"]),
        (Options(workers=2), 0, ["pretrain", "tune"]),
        (Options(trainer="ray"), 0, ["pretrain", "tune"]),
        (Options(trainer="tune"), 1, []),
    ],
)
def test_which_stages_become_torch_trainers(options: Options, gpus: int, trained: list[str]) -> None:
    point = a_point()
    encoder = point.features.encoder
    chain = [encoder.start, encoder, point.features, point]  # type: ignore[attr-defined]
    available = of(1, gpus)
    assert [kind(stage) for stage in chain if trained_by_ray(stage, options, available)] == trained
