"""One run under way under Ray Tune: every unit as soon as its inputs exist, whatever dies on the way."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape

from cluster.budget import Meter, added
from cluster.interrupt import Interruption
from cluster.options import Options
from cluster.order import How, MakeSource, Order, Source
from cluster.patience import Patience
from cluster.progress import Display
from cluster.queue import Ended, Queue
from cluster.resources import Amount, Capacity, Needs, needs, require
from cluster.session import capacity  # before Ray: it sets what Ray reads on import
from cluster.tracking.tracker import open_trackers

from cluster.executor import Job  # isort: skip
from cluster.schedule import Ready  # isort: skip
from cluster.tuner import run_tune  # isort: skip
from stars.drivers import Driver, Observer
from stars.execute import Unit, units
from stars.leases import Holder, acquire, holder, lease_name, release
from stars.pretrain import Pretrain
from stars.results import read_numbers
from stars.stage import Stage, fingerprint, kind, upstream

_LOG = logging.getLogger("stars")
_LOOK_SECONDS = 2.0
_KEPT_FAILURES = 200


@dataclass
class Driving:
    """One run under way: the queue, and what has to happen beside it."""

    order: Order
    make_source: MakeSource
    me: Driver
    before: dict[str, float]
    console: Console
    failed: list[dict[str, str]] = field(default_factory=list)
    since: dict[str, str] = field(default_factory=dict)
    targets: set[str] = field(default_factory=set)
    taken: dict[str, str] = field(default_factory=dict)
    done: int = 0
    looked: float = 0.0
    exhausted: bool = False
    placed: set[str] = field(default_factory=set)
    without_room: bool = False

    def __post_init__(self) -> None:
        """Nothing runs yet."""
        order = self.order
        self.queue = Queue(self._lane, self._progress)
        self.meter = Meter(order.options.price)
        self.observer = Observer(order.store)
        self.patience = Patience()
        self.interruption = Interruption(self._tell_units)
        self.capacity = Capacity(nodes=())
        self.display = Display(self.console, _LOG)
        self.trackers = open_trackers(order.options.track, order.store, order.sweep, order.context)
        self.record: Mapping[str, Any] = {}
        self.needs = Needs(worker=Amount(cpus=1, gpus=0), num_workers=1)
        self.source: Source = self.make_source(self._slots)

    def first_targets(self) -> list[Stage]:
        """What is to run at first; nothing when all is done, so that Ray need not be started."""
        return self._unfinished(self.source.start())

    def to_the_end(self, targets: list[Stage]) -> How:
        """Run these targets, and what the source wants after them, until nothing is left or nothing more may start."""
        self.interruption.listen()
        options = self.order.options
        self.capacity = capacity()
        self.needs = needs(
            num_workers=options.workers,
            cpus_per_trial=options.cpus_per_trial,
            gpus_per_trial=options.gpus_per_trial,
            has_gpus=self.capacity.gpus > 0,
        )
        require(self.capacity, self.needs)
        searcher = Ready(
            self.queue,
            needs=self.needs,
            capacity=lambda: self.capacity,
            may_start=self.may_start,
            ended=self.unit_ended,
            look=self.look,
        )
        with self.display.live():
            try:
                self.add(targets)
                self.look()
                self.display.say(
                    f"{len(self.queue)} units to run on {self.capacity.cpus:g} processors and "
                    f"{self.capacity.gpus:g} GPUs"
                )
                run_tune(searcher, self._job(), self.needs, self)
            finally:
                self.record = self._snapshot()
        if self.interruption.by is not None:
            return "interrupted"
        if self.exhausted and len(self.queue):
            return "budget"
        return "unfinished" if self.failed or self.without_room else "finished"

    def close(self) -> None:
        """Put away the source and the trackers, however it ended."""
        self.source.close()
        for tracker in self.trackers:
            tracker.close()
            if tracker.problem:
                self.display.say(f"[yellow]{tracker.problem}[/yellow]")

    def add(self, targets: list[Stage]) -> None:
        """Queue what the targets still need."""
        while targets := self._unfinished(targets):
            self.targets |= {fingerprint(target) for target in targets}
            gone = self.queue.add(units(targets, self.order.store, self._alone))
            targets = [more for end in gone for more in self._note(end)]
        self.display.resize(self.queue.total)

    def _unfinished(self, targets: list[Stage]) -> list[Stage]:
        """Those that must run, and in place of the others what the source wants once it hears that they are done."""
        left, told = [], list(targets)
        while told:
            target = told.pop(0)
            if self.order.store.finished(target):
                told += self.source.ended(target, "finished")
            else:
                left.append(target)
        return left

    def may_start(self) -> bool:
        """Whether anything new may be started."""
        return self.interruption.by is None and not self.exhausted and not self.without_room

    def unit_started(self, name: str) -> None:
        """A unit's trial holds its processors and GPUs from now on."""
        unit = self.queue.running[name]
        if self._lane(unit) == "tune":
            self.placed.add(name)
        self.since[name] = datetime.now(UTC).isoformat(timespec="seconds")
        self.meter.started(name, self.needs.trainer if self._lane(unit) == "ray" else self.needs.worker)
        for tracker in self.trackers:
            tracker.started(unit.stage)

    def unit_progress(self, name: str, report: Mapping[str, Any]) -> None:
        """A unit reports where it is."""
        self.placed.add(name)
        self.display.running(name, f"{report['stage']} step {report['step']}, loss {report['loss']:.4f}")
        metrics = {key: float(report[key]) for key in ("loss", "learning_rate")}
        for tracker in self.trackers:
            tracker.progress(report["stage"], report["fingerprint"], metrics, int(report["step"]))

    def unit_ended(self, name: str, report: Mapping[str, Any]) -> None:
        """A unit's trial has ended; an empty report is a process that died."""
        self.meter.ended(name)
        self.placed.discard(name)
        self.since.pop(name, None)
        # What was taken over for it here, and that it found done already, it has not given back.
        if work := self.taken.pop(name, ""):
            release(self.order.store, work, Holder(driver=self.me.name, unit=name))
        status = str(report.get("status", "lost"))
        if status == "unplaced":
            self._queue_again(name, str(report.get("problem", "")))
            return
        self.patience.renew()
        if status == "held":
            self.queue.hold(name, str(report["work"]))
            return
        if status == "lost":
            self._release(self.queue.running[name])
            gone = self.queue.lost(name)
            if not gone:
                why = str(report.get("problem", "its process died")).partition("\n")[0]
                self.display.say(f"[yellow]{name[:12]}: {escape(why)}; it is run again[/yellow]")
        else:
            gone = self.queue.ended(name, status)
        if report.get("problem"):
            _LOG.error("%s\n%s", name, report["problem"])
        seconds = float(report.get("time_total_s", 0.0))
        problem = str(report.get("problem", "")).strip().rpartition("\n")[2]
        for end in gone:
            self.add(self._note(end, seconds, problem))

    def _queue_again(self, name: str, why: str) -> None:
        """A unit found no place in time. It may wait behind others that run: that is no life in vain."""
        self._release(self.queue.running[name])
        self.queue.again(name)
        if why:
            self.display.say(f"[yellow]{name[:12]}: {escape(why)}; it is run again[/yellow]")
        self._look_for_room()

    def _look_for_room(self) -> None:
        """Whether the run goes on; not once nothing of it has had a place for long."""
        queue = self.queue
        if self.placed or not (queue.running or queue.ready("ray") or queue.ready("tune")):
            self.patience.renew()
        elif self.patience.over() and self.may_start():
            self.without_room = True
            self.display.say(
                f"[red]the cluster has had no room for any unit for {self.patience.seconds:g} s: nothing more is "
                "started; the same command goes on[/red]"
            )

    def look(self) -> None:
        """What has to be seen to every few seconds: capacity, money, other drivers, the record."""
        if time.monotonic() - self.looked < _LOOK_SECONDS:
            return
        self.looked = time.monotonic()
        self.capacity = capacity()
        for name, work in list(self.queue.held.items()):
            self._look_at(name, work)
        self._look_for_room()
        budget = self.order.budget
        if budget and not self.exhausted and budget.reached(added(self.before, self.meter.spent())):
            self.exhausted = True
            self.display.say(f"[yellow]the budget of {budget.words} is used up: nothing more is started[/yellow]")
        if self.may_start():
            self.add(self.source.more())
        self.record = self._snapshot()

    def describe(self) -> Mapping[str, Any]:
        """The record's fields; called from the pulse's thread, so it only hands over what `look` made."""
        return self.record

    def _note(self, end: Ended, seconds: float = 0.0, problem: str = "") -> list[Stage]:
        """A unit is gone: show and record it; returns what the source wants next."""
        stage, status = end.unit.stage, end.status
        name, store = fingerprint(stage), self.order.store
        if status == "interrupted":
            self.display.forget(name)
            return []
        self.done += 1
        reason = ""
        if status != "finished":
            outcome = store.outcome(stage)
            reason = problem or (f"{end.because[:12]} failed" if end.because else outcome.reason if outcome else "")
            reason = reason or ("its process died again and again" if status == "lost" else "an input failed")
            self.failed.append({"kind": kind(stage), "fingerprint": name, "status": status, "reason": reason})
        self.display.ended(name, kind(stage), status, seconds, reason)
        measured = read_numbers(store, stage) if status == "finished" else []
        numbers = {number.title(): number.value for number in measured if number.draw is None}
        for tracker in self.trackers:
            tracker.ended(stage, status, numbers)
        # Other units are steps on the way, of which the source knows nothing.
        return self.source.ended(stage, status) if name in self.targets else []

    def _look_at(self, name: str, work: str) -> None:
        """Whether what a unit waits for is free: given back, or in the hands of a dead driver."""
        store = self.order.store
        by = holder(store, work)
        if by is not None:
            mine = Holder(driver=self.me.name, unit=name)
            self.taken[name] = work
            if by.driver == self.me.name or acquire(store, work, mine, self.observer.alive) != mine:
                self.display.running(name, f"waiting for driver {by.driver[:8]}")
                return
        self.display.forget(name)
        self.queue.free(name)

    def _release(self, unit: Unit) -> None:
        """Give back what a dead process held."""
        me = Holder(driver=self.me.name, unit=fingerprint(unit.stage))
        for stage in upstream(unit.stage):
            # Finished ones too: it may have died between the commit and giving the lease back.
            release(self.order.store, lease_name(stage), me)

    def _lane(self, unit: Unit) -> str:
        return "ray" if self._alone(unit.stage) else "tune"

    def _slots(self) -> int:
        """How many trainers the cluster holds."""
        return self.capacity.holds(self.needs.worker) // self.needs.num_workers

    def _alone(self, stage: Stage) -> bool:
        """Whether a stage runs as a `TorchTrainer`: every training, none, or (auto) stage 1 and whatever is large."""
        return trained_by_ray(stage, self.order.options, self.capacity)

    def _progress(self, unit: Unit) -> object:
        """What is finished and saved of a unit: a life that leaves it as it was has been in vain."""
        store = self.order.store
        chain = upstream(unit.stage)
        saved = [path.name for stage in chain for path in store.checkpoints(stage)[:1]]
        return sum(store.finished(stage) for stage in chain), tuple(saved)

    def _tell_units(self) -> None:
        self.order.store.replace(f"drivers/{self.me.name}.stop", b"")
        self.display.say("[yellow]asked to end: units save and leave; ask again to leave at once[/yellow]")

    def _snapshot(self) -> Mapping[str, Any]:
        queue = self.queue
        running = tuple(
            {
                "fingerprint": name,
                "kind": kind(unit.stage),
                "since": self.since.get(name, ""),
                "detail": self.display.detail(name),
            }
            for name, unit in queue.running.items()
        )
        counts = {"total": queue.total, "done": self.done, "failed": len(self.failed), "running": len(running)}
        elapsed = self.meter.spent()["seconds"]
        left = elapsed * len(queue) / self.done if self.done else None
        return {
            "units": counts,
            "running": running,
            "failed": tuple(self.failed[-_KEPT_FAILURES:]),
            "capacity": {"cpus": self.capacity.cpus, "gpus": self.capacity.gpus},
            "in_use": self.meter.in_use(),
            "spent": self.meter.spent(),
            "left_seconds": left,
        }

    def _job(self) -> Job:
        order = self.order
        return Job(
            store=str(order.store.location),
            mark=order.store.token(),
            datasets={content: str(folder) for content, folder in order.datasets.items()},
            recipe=order.recipe,
            num_workers=self.needs.num_workers,
            worker=self.needs.worker,
            retry=order.options.retry,
            driver=self.me.name,
        )


def trained_by_ray(stage: Stage, options: Options, available: Amount | Capacity) -> bool:
    """Whether a stage runs as a `TorchTrainer`: every training, none, or (auto) stage 1 and whatever is large."""
    large = options.workers > 1 or (available.gpus > 0 and options.gpus_per_trial != 0)
    if options.trainer == "auto":
        return stage.trains() and (large or isinstance(stage, Pretrain))
    return stage.trains() and options.trainer == "ray"
