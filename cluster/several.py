"""Several sweeps in one command: planned together, or carried out one after another in one store.

Exit status: 0 every point of all is finished; 1 some are not; 2 bad input; 3 another driver is at one of them; 128 and
the signal's number when interrupted.
"""

import contextlib
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from cluster.binding import Run
from cluster.carry import carry_out
from cluster.options import Options, read
from cluster.plan import clock, remaining_seconds
from cluster.resources import DoesNotFit
from cluster.run import bind, refuse
from stars.execute import measured_seconds, missing, work
from stars.outcome import StoreError
from stars.stage import Stage, upstream
from stars.sweep import Sweep
from stars.terminal import console

ALL = "all"
_INTERRUPTED = 128


def main(sweeps: Sequence[Sweep], arguments: Sequence[str] | None = None) -> None:
    """Run the grids of sweeps from the command line; see the module for the exit status.

    Args:
        sweeps: all that there are; those that can only be searched are left out.
        arguments: `all`, or names with commas between them; then the options that every sweep has.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    grids = {sweep.name: sweep for sweep in sweeps if not sweep.searched}
    program = "python -m sweeps"
    words = f"Several sweeps at once: {program} all|NAME,NAME OPTIONS. There are: {', '.join(grids)}"
    names = given.pop(0) if given and not given[0].startswith("-") else ALL
    options = read(words, f"{program} {names}", given)
    shown = console(sys.stdout)
    try:
        if options.set or options.search is not None:
            raise ValueError(f"--set or --search with {names}; allowed: with a single sweep, by its own command")
        runs = [bind(sweep, _own(options, sweep), shown) for sweep in chosen(grids, names)]
    except (ValueError, StoreError, OSError) as problem:
        refuse(problem)
    if options.plan:
        show(runs, shown)
        return
    try:
        sys.exit(_carried_out(runs, shown))
    except (DoesNotFit, StoreError) as problem:
        refuse(problem)


def _carried_out(runs: Sequence[Run], shown: Console) -> int:
    """One after another, in one Ray session. Returns the greatest exit status; an interruption ends them all."""
    statuses = []
    with contextlib.ExitStack() as around:
        if to_run(runs):
            from cluster.session import session  # Ray is started only when something is to run.

            around.enter_context(session())
        for number, run in enumerate(runs):
            shown.rule(f"{run.sweep.name} ({number + 1} of {len(runs)})")
            statuses.append(carry_out(run, shown))
            if statuses[-1] >= _INTERRUPTED:
                break
    return max(statuses)


def _own(options: Options, sweep: Sweep) -> Options:
    """The options without the target, where that is not what the sweep means by one."""
    return options if sweep.target == "data set" else replace(options, target=None)


def chosen(grids: dict[str, Sweep], names: str) -> list[Sweep]:
    """The sweeps that are named. Raises ValueError for one that is not there."""
    if names == ALL:
        return list(grids.values())
    wanted = list(dict.fromkeys(names.split(",")))
    if unknown := [name for name in wanted if name not in grids]:
        raise ValueError(f"sweep {unknown[0]!r} has no grid here; allowed: {ALL}, or some of {', '.join(grids)}")
    return [grids[name] for name in wanted]


def show(runs: Sequence[Run], shown: Console) -> None:
    """Print what the sweeps ask for together: what each needs, what others need too, and what is left to run."""
    store, asked = runs[0].store, [upstream(*(point.stage for point in run.points)) for run in runs]
    readers = Counter(stage for distinct in asked for stage in distinct)
    table = Table(title=f"{len(runs)} sweeps: distinct stages")
    for column in ("sweep", "points", "stages", "its own", "trained", "to run"):
        table.add_column(column, justify="left" if column == "sweep" else "right")
    for run, distinct in zip(runs, asked, strict=True):
        own = sum(readers[stage] == 1 for stage in distinct)
        trained = sum(stage.trains() for stage in distinct)
        left = len(missing([point.stage for point in run.points], store))
        table.add_row(run.sweep.name, *map(str, (len(run.points), len(distinct), own, trained, left)))
    shown.print(table)
    todo = to_run(runs)
    shown.print(kinds(readers, todo))
    shared = sum(count > 1 for count in readers.values())
    shown.print(
        f"{len(readers)} distinct stages, of which {shared} are shared; each sweep by itself: "
        f"{readers.total()} in all, {readers.total() - len(readers)} more",
        highlight=False,
    )
    lanes = os.cpu_count() or 1
    estimate = remaining_seconds(todo, measured_seconds(store, readers), lanes)
    words = "unknown (a stage of these plans has never been measured)" if estimate is None else clock(estimate)
    shown.print(f"estimated time on {lanes} processes: {words if todo else 'nothing to run'}", highlight=False)


def to_run(runs: Sequence[Run]) -> list[Stage]:
    """What is to run of them all, inputs first."""
    return missing([point.stage for run in runs for point in run.points], runs[0].store)


def kinds(readers: Counter[Stage], todo: Sequence[Stage]) -> Table:
    """The distinct stages by kind of work, how many of them several sweeps share, and how many are to run.

    Args:
        readers: how many sweeps need each stage.
        todo: what is to run.
    """
    table = Table(title="all together")
    for column in ("stage", "distinct", "shared", "to run"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    wanted, left = Counter(map(work, readers)), Counter(map(work, todo))
    shared = Counter(work(stage) for stage, count in readers.items() if count > 1)
    for name in wanted:
        table.add_row(name, *map(str, (wanted[name], shared[name], left[name])))
    return table
