"""Stores that look as sweeps leave them, filled without training anything."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from stars.data.dataset import Data
from stars.execute import republish
from stars.outcome import Outcome
from stars.recipes import Recipe
from stars.results import NUMBERS, PREDICTIONS, Number, write_numbers
from stars.runtime import save_checkpoint
from stars.stage import Stage, fingerprint, kind, needs, upstream
from stars.store import Attempt, Store
from stars.sweep import Point, Sweep, plan_table, points, write_plan
from sweeps.lr_decay import SWEEP
from tests.examples import DATA, plain

MEASURED = {
    "seconds": 1.0,
    "gpu_seconds": 0.0,
    "device": "cpu",
    "workers": 1,
    "recipe": "small",
    "code": "abc",
    "libraries": "{}",
}


def finish(store: Store, stage: Stage, *, value: float = 0.5) -> Outcome:
    """An attempt that finishes; a probe publishes its number, which is `value`."""
    attempt = begun(store, stage)
    if kind(stage) in ("knn", "chance"):
        count = 10 if kind(stage) == "knn" else None
        number = Number(split="test", probe=kind(stage), feature="", k=count, metric="accuracy", value=value, count=8)
        write_numbers(attempt.output, [number])
        (attempt.output / PREDICTIONS).write_bytes(fingerprint(stage).encode())
        assert (attempt.output / NUMBERS).is_file()
    outcome = end(store, attempt, "finished")
    republish(stage, store)
    return outcome


def begun(store: Store, stage: Stage, *, checkpoint: bool = False) -> Attempt:
    """An attempt that somebody has begun, and perhaps brought to a checkpoint."""
    attempt = store.begin(stage)
    (attempt.output / "deep").mkdir()
    (attempt.output / "deep" / "weights.bin").write_bytes(fingerprint(stage).encode() * 10)
    if checkpoint:
        save_checkpoint(attempt.checkpoints, {}, 5)
    return attempt


def end(store: Store, attempt: Attempt, status: Any, reason: str = "") -> Outcome:
    """Commit an attempt; its inputs have outcomes where they are there."""
    outcomes = {name: store.outcome(needed) for name, needed in needs(attempt.stage).items()}
    read = {name: outcome.digest() for name, outcome in outcomes.items() if outcome}
    return store.commit(attempt, status=status, reason=reason, inputs=read, measured=MEASURED)


def bound(data: Data, decays: Sequence[float], seeds: int) -> tuple[Sweep, Recipe]:
    """The decay sweep, smaller, and what it builds on."""
    return SWEEP.widened({"layer_decay": tuple(decays), "seed": range(seeds)}), plain(data)


def grid(*, data: Data = DATA, decays: Sequence[float] = (0.2, 1.0), seeds: int = 2) -> list[Point]:
    """The points of the decay sweep."""
    return points(*bound(data, decays, seeds))


def planned(store: Store, *, data: Data = DATA, decays: Sequence[float] = (0.2, 1.0), seeds: int = 2) -> list[Point]:
    """Plan the decay sweep; nothing of it has been run."""
    found = grid(data=data, decays=decays, seeds=seeds)
    write_plan(store, plan_table(*bound(data, decays, seeds), found))
    return found


def finish_all(store: Store, wanted: Sequence[Point]) -> None:
    """Finish everything that points need; a point's number grows with its place."""
    for stage in upstream(*(point.stage for point in wanted)):
        places = [place for place, point in enumerate(wanted) if point.stage == stage]
        finish(store, stage, value=0.5 + 0.01 * places[0] if places else 0.5)


def stranger() -> list[Stage]:
    """A probe that no plan mentions with everything it needs, inputs first; nothing of it is shared with a plan."""
    recipe = plain(replace(DATA, name="elsewhere", content="1" * 64))
    return upstream(recipe.knn(recipe.tune(0)))


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
