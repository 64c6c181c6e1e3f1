"""The searcher against a Tune of our own, which keeps processes as Ray's does; random graphs of units. No Ray."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from cluster.queue import Queue
from cluster.resources import Amount, Capacity, Needs
from cluster.schedule import Ready  # before Ray: it sets what Ray reads on import
from stars.execute import Unit
from stars.recipes import small
from stars.stage import Stage, fingerprint
from tests.examples import DATA

from ray.tune.search import Searcher  # isort: skip


@dataclass
class FakeTune:
    """Starts what is suggested where there is room, and keeps the process of a trial that has ended for the next one.

    Tune keeps one process while no trial waits for its place, whatever the next trial may be; as soon as one waits
    that wants another kind of process, the kept one is ended.
    """

    searcher: Ready
    num_workers: int
    slots: int
    waiting: list[tuple[str, str]] = field(default_factory=list)
    running: dict[str, str] = field(default_factory=dict)
    training: set[str] = field(default_factory=set)
    kept: str = ""
    asked: int = 0
    finished: bool = False

    def free(self) -> int:
        """Places for workers that nothing takes, a kept process included in what takes one."""
        beside = sum(lane == "tune" for lane in self.running.values())
        return self.slots - beside - self.num_workers * len(self.training) - (self.kept == "tune")

    def turn(self) -> None:
        """Ask until nothing is suggested; then start what has a place."""
        while True:
            self.asked += 1
            config = self.searcher.suggest(str(self.asked))
            if config is None and not self.running and not self.waiting:
                # Tune has nothing else to do.
                continue
            if not isinstance(config, dict):
                self.finished = config == Searcher.FINISHED
                break
            self.waiting.append((str(self.asked), config["lane"]))
            if self.kept not in ("", config["lane"]):
                self.kept = ""
        for trial, lane in list(self.waiting):
            if lane == "ray" or self.kept == "tune" or self.free() >= 1:
                # A launcher takes nothing; its workers take their places below, or wait for them.
                self.kept = "" if self.kept == lane else self.kept
                self.waiting.remove((trial, lane))
                self.running[trial] = lane
        for trial in set(self.running) - self.training:
            if self.running[trial] == "ray" and self.free() >= self.num_workers:
                self.training.add(trial)

    def end(self, trial: str, report: dict[str, str]) -> None:
        """A running trial ends."""
        lane = self.running.pop(trial)
        self.training.discard(trial)
        if not self.kept and not self.waiting:
            self.kept = lane
        self.searcher.on_trial_complete(trial, report)

    def without_place(self) -> list[str]:
        """Trials that were suggested and found no room."""
        launched = {trial for trial, lane in self.running.items() if lane == "ray"}
        return [trial for trial, _ in self.waiting] + sorted(launched - self.training)


def stages() -> Iterator[Stage]:
    """Any number of different ones."""
    seed = 0
    while True:
        yield replace(small(DATA).stage1, seed=seed)
        seed += 1


class Play:
    """A random graph of units on a cluster of some size, unit by unit, to the end."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.num_workers = dice.randint(1, 4)
        num_units, share = dice.randint(1, 25), dice.random()
        self.lanes: dict[str, str] = {}
        made: list[Stage] = []
        todo = []
        for stage, _ in zip(stages(), range(num_units), strict=False):
            self.lanes[fingerprint(stage)] = "ray" if dice.random() < share else "tune"
            needed = frozenset(dice.sample(made, min(len(made), dice.choice([0, 0, 1, 1, 2]))))
            todo.append(Unit(stage=stage, waits_for=needed))
            made.append(stage)
        self.queue = Queue(lambda unit: self.lanes[fingerprint(unit.stage)], lambda _: object())
        self.queue.add(todo)
        searcher = Ready(
            self.queue,
            needs=Needs(worker=Amount(cpus=1, gpus=0), num_workers=self.num_workers),
            capacity=lambda: Capacity(nodes=(Amount(cpus=self.tune.slots, gpus=0),)),
            may_start=lambda: True,
            ended=self.ended,
            look=self.look,
        )
        self.tune = FakeTune(searcher, self.num_workers, slots=self.num_workers + dice.randint(0, 5))

    def ended(self, name: str, report: dict[str, str]) -> None:
        """What the driver does with every kind of end."""
        if not report:
            self.queue.lost(name)
        elif report["status"] == "held":
            self.queue.hold(name, "work")
        else:
            self.queue.ended(name, report["status"])

    def look(self) -> None:
        """What others held is free."""
        for name in list(self.queue.held):
            self.queue.free(name)

    def step(self) -> None:
        """One turn of Tune, what must hold after it, and one end."""
        self.tune.turn()
        assert not self.tune.without_place(), "what was started has its place"
        # A kept process gives way, so that its place is free to whoever comes.
        free = self.tune.free() + (self.tune.kept == "tune")
        if self.queue.ready("ray"):
            assert free < self.num_workers, "a trainer waits while there is room for all its workers"
        elif self.queue.ready("tune"):
            assert free < 1, "a unit waits while there is room"
        if self.tune.running:
            status = self.dice.choices(["finished", "diverged", "held", ""], [12, 1, 1, 1])[0]
            self.tune.end(self.dice.choice(list(self.tune.running)), {"status": status} if status else {})
        if self.dice.random() < 0.1:
            self.look()
        if self.dice.random() < 0.1:
            self.tune.slots += 1


@pytest.mark.parametrize("seed", range(300))
def test_whatever_is_started_has_its_place_and_nothing_waits_beside_room(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cluster.schedule._IDLE_SECONDS", 0.0)
    play = Play(random.Random(seed))
    for _ in range(500):
        play.step()
        if play.tune.finished:
            break
    assert play.tune.finished, "it comes to an end"
    assert not len(play.queue)


@pytest.mark.parametrize("lane", ["ray", "tune"])
def test_a_cluster_whose_nodes_have_gone_is_asked_for_one_unit(lane: str) -> None:
    """So that an autoscaler sees what is wanted, and a trainer's waiting comes to an end."""
    play = Play(random.Random(0))
    play.num_workers = play.tune.num_workers = 1
    play.tune.slots = 0
    play.queue = Queue(lambda _: lane, lambda _: object())
    play.queue.add([Unit(stage=stage, waits_for=frozenset()) for stage, _ in zip(stages(), range(3), strict=False)])
    play.tune.searcher._queue = play.queue
    play.tune.searcher._needs = Needs(worker=Amount(cpus=1, gpus=0), num_workers=1)
    play.tune.turn()
    assert len(play.tune.without_place()) == 1
