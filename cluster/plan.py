"""`--plan`: the grid, the distinct stages it shares, what is done, what remains, and its time and disk space."""

import shutil
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from cluster.suggestion import FACTOR, Settings
from stars.execute import measured_seconds, missing, work
from stars.inventory import shown_bytes
from stars.space import described
from stars.stage import Stage, upstream
from stars.store import Store
from stars.sweep import Point, Sweep
from stars.trials import read_trials, studies


@dataclass(frozen=True, kw_only=True)
class Room:
    """The disk that the outputs of a plan take.

    Attributes:
        on_disk: bytes of the finished stages, by `work`.
        each: median bytes of a finished stage, by `work`; what was never finished is absent.
        expected: bytes of all that is to run and has been measured.
        unknown: `work` that is to run and was never finished.
        free: bytes free on the store's disk.
    """

    on_disk: dict[str, int]
    each: dict[str, float]
    expected: float
    unknown: tuple[str, ...]
    free: int

    def suffices(self) -> bool:
        """Whether what is expected fits; what is unknown counts nothing."""
        return self.expected <= self.free


def room(store: Store, distinct: Iterable[Stage], todo: Sequence[Stage]) -> Room:
    """What the finished ones of the plan's distinct stages take, and what is to be expected of those to run."""
    sizes: dict[str, list[int]] = {}
    for stage in distinct:
        outcome = store.outcome(stage)
        if outcome is not None and outcome.status == "finished":
            sizes.setdefault(work(stage), []).append(sum(file.size for file in outcome.files))
    each = {name: statistics.median(values) for name, values in sizes.items()}
    return Room(
        on_disk={name: sum(values) for name, values in sizes.items()},
        each=each,
        expected=sum(each.get(work(stage), 0.0) for stage in todo),
        unknown=tuple(dict.fromkeys(work(stage) for stage in todo if work(stage) not in each)),
        free=shutil.disk_usage(store.location).free,
    )


def remaining_seconds(todo: Sequence[Stage], seconds: dict[str, float], lanes: int) -> float | None:
    """Expected wall-clock seconds on `lanes` processes; None when a kind has never been measured.

    No shorter than the longest chain of stages that wait for one another.
    """
    if any(work(stage) not in seconds for stage in todo):
        return None
    total = sum(seconds[work(stage)] for stage in todo) / lanes
    pending = set(todo)
    chains = (sum(seconds[work(s)] for s in upstream(stage) if s in pending) for stage in todo)
    return max(total, max(chains, default=0.0))


def show_plan(console: Console, sweep: Sweep, planned: Sequence[Point], store: Store, lanes: int) -> None:
    """Print the plan; runs nothing."""
    targets = [point.stage for point in planned]
    distinct, todo = upstream(*targets), missing(targets, store)
    seconds, sizes = measured_seconds(store, distinct), room(store, distinct, todo)
    for name, values in sweep.axes.items():
        console.print(f"{name}: {', '.join(map(str, values))}", highlight=False)
    grid = sum(not point.reference for point in planned)
    console.print(f"{grid} points, and {len(planned) - grid} reference points", highlight=False)
    table = Table(title=f"{sweep.name}: distinct stages")
    for column in ("stage", "distinct", "done", "to run", "seconds each", "on disk", "still to come"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    wanted, left = Counter(map(work, distinct)), Counter(map(work, todo))
    for name in wanted:
        each = f"{seconds[name]:.1f}" if name in seconds else "unknown"
        on_disk = shown_bytes(sizes.on_disk.get(name, 0))
        coming = "unknown" if name in sizes.unknown else shown_bytes(left[name] * sizes.each.get(name, 0.0))
        done = wanted[name] - left[name]
        table.add_row(name, *map(str, (wanted[name], done, left[name])), each, on_disk, coming)
    console.print(table)
    estimate = remaining_seconds(todo, seconds, lanes)
    words = "unknown (a stage of this plan has never been measured)" if estimate is None else clock(estimate)
    console.print(f"estimated time on {lanes} processes: {words if todo else 'nothing to run'}", highlight=False)
    _show_room(console, sizes)


def show_search_plan(console: Console, settings: Settings, first: Sequence[object], num: int, store: Store) -> None:
    """Print what a search of `num` suggestions would do, and how far it is; runs nothing."""
    for axis, allowed in settings.space.ranges.items():
        where = " and ".join(f"{name} is {' or '.join(map(str, v))}" for name, v in allowed.when)
        console.print(f"{axis}: {described(allowed)}{f', where {where}' if where else ''}", highlight=False)
    seeds, epochs = ", ".join(map(str, settings.seeds)), " and ".join(map(str, settings.horizons))
    console.print(f"{len(first)} first points; every suggestion with the seeds {seeds}", highlight=False)
    console.print(f"judged on validation subjects after {epochs} epochs; about one in {FACTOR} goes on each time")
    states: Counter[str] = Counter()
    if settings.name() in studies(store, settings.sweep):
        rows = read_trials(store, settings.sweep, settings.name()).to_pylist()
        states.update({row["trial"]: row["state"] for row in rows}.values())
    how = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    console.print(
        f"study {settings.name()}: {states.total()} of {num} suggestions so far{f' ({how})' if how else ''}",
        highlight=False,
    )


def _show_room(console: Console, sizes: Room) -> None:
    coming = f"{shown_bytes(sizes.expected)} to come, not counting checkpoints"
    if sizes.unknown:
        coming += f" nor what was never measured ({', '.join(sizes.unknown)})"
    console.print(f"disk: {shown_bytes(sizes.free)} free; {coming}", highlight=False)
    if not sizes.suffices():
        lacking = shown_bytes(sizes.expected - sizes.free)
        console.print(f"[red]the disk of the store will not suffice: {lacking} more are needed[/red]", highlight=False)


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
