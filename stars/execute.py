"""Realise a stage: run what is missing of it, each distinct stage once, and commit every outcome.

The core runs a stage by calling it. Executors elsewhere only decide in which process that happens; they all come
through `perform`.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from stars.data.dataset import Data
from stars.drivers import Observer
from stars.fit import Diverged
from stars.leases import Holder, acquire, lease_name, release
from stars.outcome import Outcome, Status, StoreError
from stars.provenance import code_version, device_name, library_versions
from stars.results import publish, published
from stars.runtime import PlainRuntime, Runtime
from stars.stage import Stage, children, fingerprint, kind, needs
from stars.store import Attempt, Store


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where stages run: the store, and the packed data sets by their content hash.

    `recipe` is the name that rows carry; it changes no number. `holder` is in whose name leases are taken; without one
    nobody is kept from doing the same work.
    """

    store: Store
    datasets: Mapping[str, Path]
    recipe: str = ""
    holder: Holder | None = None


class Held(Exception):  # noqa: N818 - not an error: another is at it
    """A stage is being computed by another driver, or by another unit of the same."""

    def __init__(self, stage: Stage, by: Holder) -> None:
        """Name the stage and who holds it."""
        super().__init__(f"{kind(stage)} {fingerprint(stage)[:12]} is held by driver {by.driver[:8]}")
        self.stage, self.by = stage, by


MakeRuntime = Callable[[Workplace, Attempt], Runtime]


def plain(workplace: Workplace, attempt: Attempt) -> Runtime:
    """This process, on the CPU, silently."""
    return PlainRuntime(store=workplace.store, attempt=attempt)


def realise(target: Stage, workplace: Workplace, make_runtime: MakeRuntime = plain, *, retry: bool = False) -> Outcome:
    """Run what is missing of `target`, inputs first. Returns its outcome, or that of the input that failed.

    What has failed before is not run again unless `retry`.

    Raises:
        Held: another is at one of the stages.
        Interrupted: the runtime asked for an end.
        Exception: a defect, see `perform`.
    """
    store = workplace.store
    for stage in missing([target], store):
        with claimed(stage, workplace):
            last = store.outcome(stage)
            if last is None or (retry and last.status != "finished"):
                attempt = store.begin(stage)
                perform(attempt, workplace, make_runtime(workplace, attempt))
                last = ended(stage, store)
        if last.status != "finished":
            return last
    republish(target, store)
    return ended(target, store)


@contextlib.contextmanager
def claimed(stage: Stage, workplace: Workplace) -> Iterator[None]:
    """Within, the stage is this workplace's to run. Raises Held when a living driver has it already."""
    store, me = workplace.store, workplace.holder
    if me is None:
        yield
        return
    by = acquire(store, lease_name(stage), me, Observer(store).alive)
    if by != me:
        raise Held(stage, by)
    try:
        yield
    finally:
        release(store, lease_name(stage), me)


def ended(stage: Stage, store: Store) -> Outcome:
    """The outcome of a stage that has been run. Raises StoreError when there is none."""
    outcome = store.outcome(stage)
    if outcome is None:
        raise StoreError(f"{kind(stage)} {fingerprint(stage)[:12]} left no outcome")
    return outcome


def republish(stage: Stage, store: Store) -> None:
    """Write the rows of a finished probe whose driver was killed between the outcome and the rows."""
    outcome = store.outcome(stage)
    if outcome is not None and outcome.status == "finished" and not published(store, stage):
        publish(store, stage, outcome, store.output(stage))


def perform(attempt: Attempt, workplace: Workplace, runtime: Runtime) -> None:
    """Run one stage whose inputs exist; worker 0 commits how it ended and publishes its rows.

    Raises:
        Exception: whatever is no outcome of the experiment but a defect of ours or of the machine; nothing is
            committed then, and the next run starts from the last checkpoint. `Interrupted` is one of these.
    """
    stage, store = attempt.stage, workplace.store
    status: Status = "finished"
    reason, horizon = "", None
    started = time.perf_counter()
    try:
        stage.run(inputs(stage, workplace), attempt.output, runtime)
    except Diverged as problem:
        status, reason, horizon = "diverged", str(problem), problem.step
    except (MemoryError, RuntimeError) as problem:
        if not _out_of_memory(problem):
            raise
        status, reason = "oom", str(problem) or type(problem).__name__
        if runtime.world_size > 1:
            # The other workers still wait in a collective: record the outcome here, then bring the group down.
            measured = _measured(workplace, runtime, time.perf_counter() - started)
            store.commit(attempt, status=status, reason=reason, inputs=_read(attempt, store), measured=measured)
            raise
    measured = _measured(workplace, runtime, time.perf_counter() - started)
    runtime.barrier()
    if runtime.rank == 0:
        read = _read(attempt, store)
        store.commit(attempt, status=status, reason=reason, horizon=horizon, inputs=read, measured=measured)
        republish(stage, store)


def _out_of_memory(problem: Exception) -> bool:
    """Torch has a class for a full GPU, and only a message for full main memory."""
    return isinstance(problem, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(problem)


def inputs(stage: Stage, workplace: Workplace) -> dict[str, Path]:
    """The folder of every stage (verified) and data set in the stage's fields.

    Raises:
        StoreError: a data set that is not here, or an input that is not finished or damaged.
    """
    folders = {name: workplace.store.output(needed) for name, needed in needs(stage).items()}
    for name, data in children(stage, Data).items():
        if data.content not in workplace.datasets:
            raise StoreError(f"data set {data.name} ({data.content[:12]}) is not among the prepared ones given")
        folders[name] = workplace.datasets[data.content]
    return folders


def missing(targets: Iterable[Stage], store: Store) -> list[Stage]:
    """The distinct unfinished stages that the targets need, inputs first. Stops at what is finished."""
    order: dict[Stage, None] = {}
    seen: set[Stage] = set()

    def visit(stage: Stage) -> None:
        if stage not in seen:
            seen.add(stage)
            if not store.finished(stage):
                for needed in needs(stage).values():
                    visit(needed)
                order[stage] = None

    for target in targets:
        visit(target)
    return list(order)


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What is run in one go: a stage with those missing inputs that nobody else reads.

    `waits_for` are the stages of other units that must be finished first.
    """

    stage: Stage
    waits_for: frozenset[Stage]


def units(targets: Sequence[Stage], store: Store, alone: Callable[[Stage], bool]) -> list[Unit]:
    """Cut the missing work into units, inputs first.

    A stage is a unit of its own when it is a target, when several others read it, or when `alone` says so (because
    its executor is another one).
    """
    todo, wanted = missing(targets, store), set(targets)
    readers: dict[Stage, int] = dict.fromkeys(todo, 0)
    for stage in todo:
        for needed in set(needs(stage).values()) & readers.keys():
            readers[needed] += 1
    heads = {stage for stage in todo if stage in wanted or readers[stage] > 1 or alone(stage)}

    def ahead(stage: Stage) -> frozenset[Stage]:
        found: set[Stage] = set()
        for needed in set(needs(stage).values()) & readers.keys():
            found |= {needed} if needed in heads else ahead(needed)
        return frozenset(found)

    return [Unit(stage=stage, waits_for=ahead(stage)) for stage in todo if stage in heads]


def work(stage: Stage) -> str:
    """What kind of work the stage is: one that trains for no epoch costs nothing like one that does."""
    idle = getattr(stage, "epochs", None) == 0
    return f"{kind(stage)}, no epoch" if idle else kind(stage)


def measured_seconds(store: Store, stages: Iterable[Stage]) -> dict[str, float]:
    """Median seconds of the finished ones among `stages`, by `work`; what was never measured is absent."""
    seconds: dict[str, list[float]] = {}
    for stage in stages:
        outcome = store.outcome(stage)
        if outcome is not None and outcome.status == "finished":
            seconds.setdefault(work(stage), []).append(float(outcome.measured["seconds"]))
    return {name: statistics.median(values) for name, values in seconds.items()}


def _read(attempt: Attempt, store: Store) -> dict[str, str]:
    """The digest of every input's outcome: the exact bytes that were read, not only their experiment."""
    return {name: ended(needed, store).digest() for name, needed in needs(attempt.stage).items()}


def _measured(workplace: Workplace, runtime: Runtime, seconds: float) -> dict[str, object]:
    return {
        "seconds": round(seconds, 3),
        "gpu_seconds": round(seconds * runtime.world_size, 3) if runtime.device.type == "cuda" else 0.0,
        "device": device_name(runtime.device),
        "workers": runtime.world_size,
        "recipe": workplace.recipe,
        "code": code_version(),
        "libraries": library_versions(),
    }
