"""Kill the processes of a sweep at random moments until it has ended all the same, and look at what that did.

Everything that a command starts carries a mark in its environment, by which it is found: the victims, and what is left
when the command is gone. Ray's own agents overwrite their environment, so descendants are remembered too.
"""

import itertools
import os
import re
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

import psutil

from stars.drivers import read_all
from stars.store import Store

Victim = Literal["driver", "actor", "worker"]

# What Ray calls them. A Train worker keeps the title of the last call that set it up.
_TITLES: dict[Victim, tuple[str, ...]] = {
    "actor": ("ray::ImplicitFunc",),
    "worker": ("ray::RayTrainWorker", "ray::execute."),
}
_MARK = "STARS_FAULTS_MARK"
_LOOK_SECONDS = 0.2
_GONE_SECONDS = 90.0
"""How long processes may take to leave. When a driver is killed all of Ray's go within three seconds but two agents:
they want to report the death to a server that is dead too, and give up after a minute that no setting shortens."""


class Broken(Exception):  # noqa: N818 - a promise is
    """The command ended in a way that no kill explains."""


class Life:
    """One run of a command, and every process that it has started."""

    def __init__(self, command: Sequence[str], output: Path) -> None:
        """Start it; what it prints is added to `output`."""
        self._mark = uuid.uuid4().hex
        self._seen: dict[tuple[int, float], psutil.Process] = {}
        with output.open("a") as stream:
            self.driver = subprocess.Popen(
                command,
                env={**os.environ, _MARK: self._mark},
                stdout=stream,
                stderr=subprocess.STDOUT,
                # A process group of its own, so that a Ctrl-C can be sent to all of it, as a terminal does.
                start_new_session=True,
            )

    def ended(self) -> bool:
        """Whether the command is over; looks at the processes too."""
        self.processes()
        return self.driver.poll() is not None

    def processes(self) -> list[psutil.Process]:
        """Those that live now, the driver among them."""
        for process in [*self._marked(), *self._descendants()]:
            self._seen.setdefault((process.pid, process.create_time()), process)
        return [process for process in self._seen.values() if _lives(process)]

    def victims(self, victim: Victim) -> list[tuple[psutil.Process, str]]:
        """The processes of that kind, with their titles, in the order of their start."""
        if victim == "driver":
            return [(psutil.Process(self.driver.pid), "driver")] if not self.ended() else []
        titled = [(process, _title(process)) for process in self.processes()]
        found = [(process, title) for process, title in titled if title.startswith(_TITLES[victim])]
        return sorted(found, key=lambda each: (each[0].create_time(), each[0].pid))

    def wait_until_gone(self) -> list[str]:
        """Wait for all of its processes. Returns the titles of those that stayed, which are then killed."""
        self.driver.wait()
        deadline = time.monotonic() + _GONE_SECONDS
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
        titles = [_title(process) for process in left]
        for process in left:
            _kill(process)
        return titles

    def _marked(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter():
            try:
                if process.environ().get(_MARK) == self._mark:
                    yield process
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                # It ended while it was looked at, or it is somebody else's.
                continue

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.driver.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def _lives(process: psutil.Process) -> bool:
    """One that is dead and waits for its burial does not live."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def _kill(process: psutil.Process) -> bool:
    """Kill it at once; False when it was gone already."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return False
    return True


@dataclass(kw_only=True)
class Disturbed:
    """What was seen of runs that were killed.

    Attributes:
        kills: the titles of the killed, in order.
        lives: how often the command was typed.
        stores: one for every time that the grid was run to its end.
        redone: finished stages that were begun again, or whose outcome changed.
        orphans: titles of the processes that outlived a command.
        seconds: of all.
        repeated: every time that a training was set back: seconds that had been trained since then.
    """

    kills: list[str] = field(default_factory=list)
    lives: int = 0
    stores: list[Path] = field(default_factory=list)
    redone: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    seconds: float = 0.0
    repeated: list[float] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Whom to kill, how often, and how long after the victim is there.

    Attributes:
        victim: which processes.
        num_kills: in all.
        random: draws victims and pauses.
        longest_pause: seconds between a victim's start, or the kill before it, and a kill, at most.
        say: told how far it is.
    """

    victim: Victim
    num_kills: int
    random: Random
    longest_pause: float
    say: Callable[[str], None]


Finished = Mapping[str, tuple[bytes, frozenset[str]]]


def undisturbed(command: Sequence[str], output: Path) -> None:
    """Run the command to a good end; it prints to `output`. Raises Broken when it fails or leaves processes."""
    life = Life(command, output)
    try:
        while not life.ended():
            time.sleep(_LOOK_SECONDS)
    finally:
        life.driver.kill()
        left = life.wait_until_gone()
    if life.driver.returncode or left:
        raise Broken(f"status {life.driver.returncode}, left {left}:\n{output.read_text()[-3000:]}")


def disturb(plan: Plan, command: Sequence[str], folder: Path) -> Disturbed:
    """Run the command, with `--store` added, in fresh stores below `folder` until so many kills have been made.

    The last run goes on undisturbed to its end.

    Raises:
        Broken: the command failed for a reason that is no death.
    """
    seen, begun = Disturbed(), time.monotonic()
    while len(seen.kills) < plan.num_kills:
        store = folder / f"{plan.victim}-{len(seen.stores)}"
        finished: dict[str, tuple[bytes, frozenset[str]]] = {}
        typed = list[Life]()
        try:
            while not typed or not _over(typed[-1], store):
                typed.append(Life([*command, "--store", str(store)], store.with_suffix(".txt")))
                seen.lives += 1
                _kill_some(plan, typed[-1], store, seen, finished)
                while not typed[-1].ended():
                    time.sleep(_LOOK_SECONDS)
        finally:
            # Not before the next life: nobody waits a minute before typing a command again.
            for life in typed:
                life.driver.kill()
                seen.orphans += life.wait_until_gone()
        seen.stores.append(store)
        seen.redone += redone(finished, store)
        seen.repeated += repeated(store)
        plan.say(f"{plan.victim}: the grid is finished; {len(seen.kills)} kills, {seen.lives} lives")
    seen.seconds = time.monotonic() - begun
    return seen


def _kill_some(
    plan: Plan, life: Life, store: Path, seen: Disturbed, finished: dict[str, tuple[bytes, frozenset[str]]]
) -> None:
    """Kill as planned until all kills are made or the command is over; `finished` gathers what was finished before."""
    while len(seen.kills) < plan.num_kills and _wait_for(plan, life):
        snapshot = finished_stages(store)
        # Sorted by their start, so that the seed says which one it is.
        found = life.victims(plan.victim)
        if not found:
            continue
        process, title = plan.random.choice(found)
        if _kill(process):
            seen.kills.append(title)
            plan.say(f"{plan.victim}: kill {len(seen.kills)} of {plan.num_kills}, {len(snapshot)} stages are finished")
            finished.update((stage, state) for stage, state in snapshot.items() if stage not in finished)
            if plan.victim == "driver":
                return


def _over(life: Life, store: Path) -> bool:
    """Whether everything is finished. Raises Broken for an end that neither a kill nor units that died explain."""
    status = life.driver.returncode
    if status not in {0, -signal.SIGKILL} and not gave_up_the_dead(store):
        printed = store.with_suffix(".txt").read_text()
        raise Broken(f"the command ended with status {status}:\n{printed[-3000:]}")
    return status == 0


def _wait_for(plan: Plan, life: Life) -> bool:
    """Wait for a victim, and then for the pause; False when the command ends first."""
    while not life.ended():
        if life.victims(plan.victim):
            break
        time.sleep(_LOOK_SECONDS)
    deadline = time.monotonic() + plan.random.uniform(0.0, plan.longest_pause)
    while not life.ended():
        if time.monotonic() >= deadline:
            return True
        time.sleep(_LOOK_SECONDS)
    return False


def gave_up_the_dead(store: Path) -> bool:
    """Whether the last driver ended because units died again and again, and for nothing else."""
    last = list(read_all(Store(store, read_only=True)))[-1]
    statuses = {failure["status"] for failure in last.failed}
    return last.ended == "unfinished" and statuses == {"lost"}


def finished_stages(store: Path) -> Finished:
    """Of every stage with an outcome: the outcome's bytes, and the names of the attempts begun at it."""
    found: dict[str, tuple[bytes, frozenset[str]]] = {}
    for path in sorted(store.glob("*/*/outcome*.json")):
        attempts = frozenset(attempt.name for attempt in (path.parent / "attempts").iterdir())
        found[path.relative_to(store).as_posix()] = (path.read_bytes(), attempts)
    return found


def redone(before: Finished, store: Path) -> list[str]:
    """What was finished before a kill and is not now as it was then."""
    now = finished_stages(store)
    return [stage for stage, state in before.items() if now.get(stage) != state]


@dataclass(frozen=True, order=True)
class Step:
    """A report of a training in a log."""

    when: float
    step: int
    unit: str


def repeated(store: Path) -> list[float]:
    """Every setback of a training, from the steps in the drivers' logs: seconds of training to be done again.

    Two kills between two reports are one setback. Steps that were done and never reported are missing: a figure is too
    low by up to the time between two reports, 1 s in an actor, 4 to 6 s in a `TorchTrainer`.
    """
    lines = reports(store)
    units = [[line for line in lines if line.unit == unit] for unit in sorted({line.unit for line in lines})]
    return [
        _seconds_since(own[:number], line.step - 1)
        for own in units
        for number, line in enumerate(own)
        # The first report of a life comes after its first step.
        if number and line.step <= own[number - 1].step
    ]


def _seconds_since(lines: Sequence[Step], step: int) -> float:
    """Seconds that the last life in `lines` had trained since it was at that step, or since its first report."""
    for later, earlier in itertools.pairwise(reversed(lines)):
        if earlier.step >= later.step:
            return lines[-1].when - later.when
        if earlier.step <= step:
            share = (step - earlier.step) / (later.step - earlier.step)
            return lines[-1].when - (earlier.when + share * (later.when - earlier.when))
    return lines[-1].when - lines[0].when


def reports(store: Path) -> list[Step]:
    """What the drivers' logs say of trainings, in the order of time."""
    return sorted(line for log in store.glob("logs/*.log") for line in _steps(log))


def _steps(log: Path) -> Iterator[Step]:
    """The log's lines about training: `<date> <time>,<ms> DEBUG <unit> <kind> step <step>, loss …`."""
    pattern = re.compile(r"^(\S+ \S+),(\d+) DEBUG (\w{12} \w+) step (\d+),")
    for line in log.read_text().splitlines():
        if found := pattern.match(line):
            second = time.mktime(time.strptime(found[1], "%Y-%m-%d %H:%M:%S"))
            yield Step(second + int(found[2]) / 1000, int(found[4]), found[3])
