"""Experiment tracking: what the driver tells TensorBoard, Weights & Biases or MLflow while a sweep runs.

A tracker is for looking on. No number is ever read back from one: results are the store's. Only the driver calls
trackers, with what workers report to it, so that a worker needs neither their libraries nor their servers. One run of a
tracker is one stage that reports progress, as a rule one training; stages that never report leave nothing.

A new tracker is a new file here with a function `connect`, found by import.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from cluster.tracking.guard import Guarded
from stars.stage import Stage, encode, fingerprint, kind, upstream
from stars.store import Store

TRACKERS = ("tensorboard", "wandb", "mlflow")
"""The names that `open_trackers` knows; the first needs no server and no further package."""


class Tracker(Protocol):
    """Who is told how the units of a sweep fare."""

    def started(self, unit: Stage) -> None:
        """A unit was handed to a worker; it may run several of the stages that it reads. Told before any progress."""

    def progress(self, stage_kind: str, stage_fingerprint: str, metrics: Mapping[str, float], step: int) -> None:
        """A stage of a running unit reports, after its optimiser step `step`."""

    def ended(self, stage: Stage, status: str, numbers: Mapping[str, float]) -> None:
        """The unit `stage` ended (`finished`, `diverged`, `oom`, …) with these numbers, none if it has none."""

    def close(self) -> None:
        """The sweep is over; what still runs is interrupted."""


class Run(Protocol):
    """One stage's page in a tracker."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Numbers after an optimiser step."""

    def end(self, status: str, numbers: Mapping[str, float], step: int) -> None:
        """Close the page: how the unit ended, its last numbers, and the last step."""


OpenRun: TypeAlias = Callable[[Stage, int], Run]
"""Opens the page of a stage that first reports at this step; a stage that is continued finds its old page."""


class Runs:
    """Keeps a page open for each running unit that reports, and no others."""

    def __init__(self, open_run: OpenRun) -> None:
        """Begin without pages."""
        self._open_run = open_run
        self._units: dict[str, dict[str, Stage]] = {}
        self._open: dict[str, tuple[str, Run, int]] = {}

    def started(self, unit: Stage) -> None:
        """Remember which stages the unit may report on."""
        self._units[fingerprint(unit)] = {fingerprint(stage): stage for stage in upstream(unit)}

    def progress(self, stage_kind: str, stage_fingerprint: str, metrics: Mapping[str, float], step: int) -> None:
        """Write to the stage's page, opened now if need be. Raises LookupError for a stage of no running unit."""
        unit = self._unit_of(stage_kind, stage_fingerprint)
        reporting, run, last = self._open.get(unit, ("", None, 0))
        if run is None or reporting != stage_fingerprint:
            if run is not None:
                run.end("finished", {}, last)
            run = self._open_run(self._units[unit][stage_fingerprint], step)
        self._open[unit] = (stage_fingerprint, run, step)
        run.log(metrics, step)

    def ended(self, stage: Stage, status: str, numbers: Mapping[str, float]) -> None:
        """Close the unit's page, if it has one, with the unit's numbers under the name of its kind."""
        name = fingerprint(stage)
        self._units.pop(name, None)
        if name in self._open:
            _, run, last = self._open.pop(name)
            run.end(status, {f"{kind(stage)}/{number}": value for number, value in numbers.items()}, last)

    def close(self) -> None:
        """Close every page."""
        while self._open:
            _, (_, run, last) = self._open.popitem()
            run.end("interrupted", {}, last)
        self._units.clear()

    def _unit_of(self, stage_kind: str, stage_fingerprint: str) -> str:
        reporting = (unit for unit, (name, *_) in self._open.items() if name == stage_fingerprint)
        waiting = (unit for unit, stages in self._units.items() if stage_fingerprint in stages)
        found = next(reporting, None) or next(waiting, None)
        if found is None:
            raise LookupError(f"{stage_kind} {stage_fingerprint[:12]} reports, but no running unit has that stage")
        return found


def open_trackers(names: Sequence[str], store: Store, sweep: str, context: Mapping[str, Any]) -> list[Guarded]:
    """Connect to TensorBoard, which needs no asking, and to the trackers named.

    Args:
        names: of `TRACKERS`.
        store: TensorBoard's files lie in `tensorboard/<sweep>`; so do the others' where they have no server.
        sweep: name of the sweep, under which a tracker groups.
        context: what a page should show beside the stage's own fields, such as the recipe and the command.

    Raises:
        ValueError: an unknown name, or one whose library is not installed, naming the extra to install.
    """
    if unknown := sorted(set(names) - set(TRACKERS)):
        raise ValueError(f"--track is {unknown[0]}; allowed: {', '.join(TRACKERS)}")
    opened = []
    for name in dict.fromkeys((TRACKERS[0], *names)):
        try:
            module = importlib.import_module(f"cluster.tracking.{name}")
        except ModuleNotFoundError as problem:
            if problem.name != name:
                raise
            raise ValueError(
                f"--track is {name}; allowed: only with the package {name}, as in pip install 'stars-skeleton[{name}]'"
            ) from problem
        opened.append(Guarded(Runs(module.connect(store, sweep, context)), name))
    return opened


def hyperparameters(stage: Stage) -> dict[str, bool | int | float | str | None]:
    """Every field of the stage's value, nested ones under dotted names: `start.epochs`."""
    flat: dict[str, bool | int | float | str | None] = {}

    def walk(prefix: str, content: Any) -> None:
        if isinstance(content, Mapping):
            for name, part in content.items():
                walk(f"{prefix}.{name}" if prefix else name, part)
        elif isinstance(content, list):
            for i, part in enumerate(content):
                walk(f"{prefix}.{i}", part)
        else:
            flat[prefix] = content

    walk("", encode(stage))
    return flat


def label(stage: Stage) -> str:
    """What a stage's page is called: its kind and the first digits of its fingerprint."""
    return f"{kind(stage)}-{fingerprint(stage)[:12]}"
