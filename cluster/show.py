"""What a finished command prints: the table, the figure, and where everything lies."""

import contextlib
import logging
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from analysis import search, search_figure
from analysis.figure import draw, info
from analysis.load import load
from analysis.table import summary, to_rich
from cluster.binding import Run
from stars.execute import missing
from stars.stage import Stage
from stars.store import Store
from stars.sweep import Sweep

_LOG_BYTES = 16 * 2**20


def show_grid(run: Run, plan: pa.Table, console: Console) -> None:
    """The table and the figure of the planned points."""
    store, sweep, context = run.store, run.sweep, run.recipe.context()
    name = plan["sweep"][0].as_py()
    frame = load(store, name, plan=plan)
    rows = summary(frame, sweep=name, metric=sweep.metric, k=sweep.neighbours, context=context)
    console.print(to_rich(rows, title=f"{sweep.paper}: {sweep.title}"))
    console.print(f"results  {store.location / 'results'}", highlight=False)
    axes = [axis for axis in sweep.axes if axis != "seed"]
    if sweep.searched or len(axes) != 1 or rows.loc[rows["reference"] == "", "mean"].isna().all():
        console.print("figure   none: it needs one axis beside the seeds, and a finished point", highlight=False)
        return
    figure = figure_path(run, name)
    draw(info(rows, axes[0]), figure, title=sweep.title)
    console.print(f"figure   {figure}", highlight=False)


def show_search(run: Run, study: str, console: Console) -> None:
    """The trials that were trained in full, and the figure of all."""
    frame = search.trials(run.store, run.sweep.name, study)
    console.print(search.to_rich(search.best(frame)))
    if frame["value"].isna().all():
        console.print("figure   none: no trial has a value", highlight=False)
        return
    figure = figure_path(run, study)
    search_figure.draw(search_figure.info(frame), figure, search.describe(frame))
    console.print(f"figure   {figure}", highlight=False)


def figure_path(run: Run, name: str) -> Path:
    """Where a figure of this run goes: a place for every choice of data, protocol and recipe."""
    data = run.recipe.data
    parts = (name, run.recipe.name, data.name, data.protocol, data.label_rule, data.content[:8])
    path = run.store.location / "figures" / f"{'-'.join(parts)}.png"
    path.parent.mkdir(exist_ok=True)
    return path


def show_unfinished(targets: Sequence[Stage], store: Store, console: Console) -> int:
    """Say what is missing and how to go on. Returns how many stages are."""
    unfinished = missing(targets, store)
    failed = Counter(last.status for stage in unfinished if (last := store.outcome(stage)) is not None)
    for status, count in failed.items():
        console.print(f"[red]{count} stages ended as {status}; --retry runs them again[/red]")
    if unfinished:
        console.print(f"[red]{len(unfinished)} stages are not finished; the same command goes on with them[/red]")
    return len(unfinished)


@contextlib.contextmanager
def logged(store: Store, sweep: Sweep) -> Iterator[Path]:
    """A log of its own for every run."""
    folder = store.location / "logs"
    folder.mkdir(exist_ok=True)
    path = folder / f"{sweep.name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}.log"
    # However many points there are: the newest lines, and at most twice so many bytes.
    handler = RotatingFileHandler(path, maxBytes=_LOG_BYTES, backupCount=1)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("stars")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        yield path
    finally:
        logger.removeHandler(handler)
        handler.close()
