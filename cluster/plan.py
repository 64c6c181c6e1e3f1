"""`--plan`: the grid, the distinct stages it shares, what is done, what remains, and how long that may take."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from stars.execute import measured_seconds, missing, work
from stars.stage import Stage, upstream
from stars.store import Store
from stars.sweep import Point, Sweep


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
    seconds = measured_seconds(store, distinct)
    for name, values in sweep.axes.items():
        console.print(f"{name}: {', '.join(map(str, values))}", highlight=False)
    grid = sum(not point.reference for point in planned)
    console.print(f"{grid} points, and {len(planned) - grid} reference points", highlight=False)
    table = Table(title=f"{sweep.name}: distinct stages")
    for column in ("stage", "distinct", "done", "to run", "seconds each"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    wanted, left = Counter(map(work, distinct)), Counter(map(work, todo))
    for name in wanted:
        each = f"{seconds[name]:.1f}" if name in seconds else "unknown"
        table.add_row(name, str(wanted[name]), str(wanted[name] - left[name]), str(left[name]), each)
    console.print(table)
    estimate = remaining_seconds(todo, seconds, lanes)
    words = "unknown (a stage of this plan has never been measured)" if estimate is None else _clock(estimate)
    console.print(f"estimated time on {lanes} processes: {words if todo else 'nothing to run'}", highlight=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
