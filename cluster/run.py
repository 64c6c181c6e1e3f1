"""The driver of every sweep: plan, run what is missing on Ray, print the table."""

import contextlib
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
from rich.console import Console

from analysis.figure import draw, info
from analysis.load import load
from analysis.table import summary, to_rich
from cluster.options import Options, parse
from cluster.plan import show_plan
from stars.data.dataset import describe, split
from stars.data.packed import Packed
from stars.data.source import locate
from stars.execute import missing, republish
from stars.outcome import StoreError
from stars.pretrain import Pretrain
from stars.recipes import RECIPES, Recipe
from stars.stage import upstream
from stars.store import Store, default_location
from stars.sweep import Point, Sweep, plan_table, points, write_plan
from stars.tune import Tune

_SMALL_DATA = 5000


@dataclass(frozen=True, kw_only=True)
class Run:
    """A sweep bound to what the command line chose."""

    sweep: Sweep
    recipe: Recipe
    points: Sequence[Point]
    store: Store
    dataset: Path
    options: Options


def main(sweep: Sweep, arguments: Sequence[str] | None = None) -> None:
    """Run a sweep from the command line. Exits with 0 when every point is finished, 1 when not, 2 on bad input."""
    options = parse(sweep, arguments)
    # Bound now: Tune's own printing is sent elsewhere later.
    console = Console(file=sys.stdout, soft_wrap=not sys.stdout.isatty())
    try:
        run = bind(sweep, options, console)
    except (ValueError, StoreError, OSError) as problem:
        _refuse(problem)
    try:
        if options.plan:
            show_plan(console, run.sweep, run.points, run.store, os.cpu_count() or 1)
            return
        status = carry_out(run, console)
    except StoreError as problem:
        _refuse(problem)
    sys.exit(status)


def _refuse(problem: Exception) -> NoReturn:
    """Say what is wrong in one line, and end with status 2."""
    print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - the edge
    sys.exit(2)


def bind(sweep: Sweep, options: Options, console: Console) -> Run:
    """Check the command line against the data, before anything runs. Raises ValueError or StoreError."""
    sweep = sweep.widened(options.changes(sweep))
    if options.workers < 1:
        raise ValueError(f"--workers is {options.workers}; allowed: 1 or more")
    if options.workers > 1 and options.trainer == "tune":
        raise ValueError(f"--workers is {options.workers} with --trainer tune; allowed: 1, or another trainer")
    store = Store(options.store or default_location())
    dataset = _locate(options, store, console)
    packed = Packed.open(dataset)
    data = describe(packed, label_rule=options.label_rule, protocol=options.protocol)
    data = replace(data, coordinates_missing=options.nan)
    parts = split(data, packed)
    name = options.recipe
    if name == "auto":
        name = "small" if len(parts.train) < _SMALL_DATA else "paper"
    recipe = replace(RECIPES[name](data), reseed_pretraining=options.reseed_pretraining)
    planned = points(sweep, recipe)
    _check_batches(planned, len(parts.train), options.workers)
    if "RAY_ADDRESS" not in os.environ and options.workers > (os.cpu_count() or 1):
        raise ValueError(f"--workers is {options.workers}; allowed on this machine: at most {os.cpu_count()}")
    return Run(sweep=sweep, recipe=recipe, points=planned, store=store, dataset=dataset, options=options)


def _check_batches(planned: Sequence[Point], num_train: int, num_workers: int) -> None:
    """Every batch must be filled by the training part and divided by the workers. Raises ValueError."""
    sizes = {stage.batch_size for stage in upstream(*(p.stage for p in planned)) if isinstance(stage, Pretrain | Tune)}
    for size in sorted(sizes):
        if size > num_train:
            raise ValueError(f"--data has {num_train} training sequences; allowed: at least one batch of {size}")
        if size % num_workers:
            raise ValueError(f"--workers is {num_workers}; allowed: a divisor of the batch of {size}")


def carry_out(run: Run, console: Console) -> int:
    """Write the plan, run what is missing, show the results. Returns the exit status."""
    store, sweep = run.store, run.sweep
    plan = plan_table(sweep, run.recipe, run.points)
    plan_key = write_plan(store, plan)
    targets = [point.stage for point in run.points]
    with _log(store, sweep) as log_file:
        if missing(targets, store):
            _drive(run, console)
        else:
            console.print("everything is finished already; nothing to run", highlight=False)
    for stage in targets:
        republish(stage, store)
    _show(run, plan, console)
    console.print(f"plan     {store.location / plan_key}", highlight=False)
    console.print(f"log      {log_file}", highlight=False)
    unfinished = missing(targets, store)
    failed = Counter(last.status for stage in unfinished if (last := store.outcome(stage)) is not None)
    for status, count in failed.items():
        console.print(f"[red]{count} stages ended as {status}; --retry runs them again[/red]")
    if unfinished:
        console.print(f"[red]{len(unfinished)} stages are not finished; the same command goes on with them[/red]")
    return 1 if unfinished else 0


def _drive(run: Run, console: Console) -> None:
    """Run what is missing."""
    from cluster.drive import drive  # Ray is imported, and started, only when something is to run.

    drive(
        run.points,
        store=run.store,
        datasets={run.recipe.data.content: run.dataset},
        recipe=run.recipe.name,
        options=run.options,
        console=console,
    )


def _show(run: Run, plan: pa.Table, console: Console) -> None:
    """The table, the figure, and where everything lies."""
    store, sweep, context = run.store, run.sweep, run.recipe.context()
    frame = load(store, sweep.name, plan=plan)
    rows = summary(frame, sweep=sweep.name, metric=sweep.metric, k=sweep.neighbours, context=context)
    console.print(to_rich(rows, title=f"{sweep.paper}: {sweep.title}"))
    console.print(f"results  {store.location / 'results'}", highlight=False)
    axes = [name for name in sweep.axes if name != "seed"]
    if len(axes) != 1 or rows.loc[rows["reference"] == "", "mean"].isna().all():
        console.print("figure   none: it needs one axis beside the seeds, and a finished point", highlight=False)
        return
    data = run.recipe.data
    name = "-".join((sweep.name, run.recipe.name, data.name, data.protocol, data.label_rule, data.content[:8]))
    figure = store.location / "figures" / f"{name}.png"
    figure.parent.mkdir(exist_ok=True)
    draw(info(rows, axes[0]), figure, title=sweep.title)
    console.print(f"figure   {figure}", highlight=False)


def _locate(options: Options, store: Store, console: Console) -> Path:
    """The packed data set; making the synthetic one shows its progress."""
    with console.status("preparing data") if console.is_terminal else contextlib.nullcontext():
        return locate(options.data, store, num_processes=os.cpu_count() or 1)


@contextlib.contextmanager
def _log(store: Store, sweep: Sweep) -> Iterator[Path]:
    """A log of its own for every run."""
    folder = store.location / "logs"
    folder.mkdir(exist_ok=True)
    path = folder / f"{sweep.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}.log"
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("stars")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield path
    finally:
        logger.removeHandler(handler)
        handler.close()
