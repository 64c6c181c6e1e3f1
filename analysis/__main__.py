"""Print the table of a sweep, or of its search, again, from the Parquet of the store alone.

python -m analysis lr_decay                                            a second or two; runs nothing
python -m analysis lr_decay --context dataset=ntu60 protocol=xsub      where a sweep was planned on several data sets
python -m analysis lr_decay --format csv > lr_decay.csv
python -m analysis lr_decay --figure lr_decay.png                      also lr_decay.pdf; otherwise nothing is written
python -m analysis search --search                              the best trials of a search; --figure shows all
python -m analysis table lr_decay --format latex --out lr_decay.tex     also html and csv
python -m analysis table 6 --format html                               Table 6 of the paper, with our numbers
python -m analysis reproduce STORE                                     every published number beside ours, and a verdict
python -m analysis disagreement FINGERPRINT FINGERPRINT                whether two probes' predictions differ
python -m analysis report STORE --out report.html                      everything that a store holds, as one page
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import pyarrow as pa
import tyro

from analysis import search, search_figure
from analysis.cells import describe, label_columns
from analysis.commands import disagreement, reproduce, table
from analysis.figure import draw, info
from analysis.load import load
from analysis.report.commands import report
from analysis.table import summary, to_csv, to_markdown, to_rich
from stars.outcome import StoreError
from stars.parquet import read_all
from stars.store import default_location
from stars.sweep import PLAN_SCHEMA
from stars.terminal import console

# What is no name of a sweep.
_COMMANDS: Mapping[str, Callable[..., None]] = {
    "report": report,
    "table": table,
    "reproduce": reproduce,
    "disagreement": disagreement,
}


@dataclass(frozen=True, kw_only=True)
class Request:
    """Print the table of a sweep from what is in the store; nothing is computed again.

    Attributes:
        sweep: its name, as in `sweeps/<name>` of the store.
        store: the store; by default $STARS_STORE, else ~/.stars/store.
        format: `csv` holds fractions and every column, the others per cent.
        metric: which numbers.
        k: neighbours, for KNN numbers.
        split: samples the numbers are measured on.
        feature: which vector of the encoder, where a probe measured several.
        selected_on: what chose the checkpoint; `any` prefers those that the test split did not choose.
        context: entries `name=value` that choose among the contexts (data set, recipe …) of the sweep.
        plan: the start of the name of the one plan to use, where plans in the store contradict each other.
        figure: write the curve here (.png), and as PDF beside it.
        axis: along which the curve runs; by default the only one.
        at: `name=value` of the other axes, for the curve.
        search: the search of the sweep instead of its grid. Metric, k and context are then those of the search.
        study: the start of the name of the one search to use, where there are several.
    """

    sweep: Annotated[str, tyro.conf.Positional]
    store: Path | None = None
    format: Literal["rich", "markdown", "csv"] = "rich"
    metric: str = "accuracy"
    k: int | None = 10
    split: Literal["train", "val", "test"] = "test"
    feature: str | None = None
    selected_on: Literal["any", "none", "val", "test"] = "any"
    context: tuple[str, ...] = ()
    plan: str | None = None
    figure: Path | None = None
    axis: str | None = None
    at: tuple[str, ...] = ()
    search: tyro.conf.FlagCreatePairsOff[bool] = False
    study: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 2, and one line on the error stream, for what cannot be shown."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        if given and given[0] in _COMMANDS:
            tyro.cli(_COMMANDS[given[0]], prog=f"python -m analysis {given[0]}", args=given[1:])
        else:
            _print_sweep(tyro.cli(Request, prog="python -m analysis", args=given))
    except (ValueError, StoreError, OSError) as problem:
        sys.stderr.write(f"analysis: {' '.join(str(problem).split())}\n")
        return 2
    return 0


def _print_sweep(request: Request) -> None:
    if request.search:
        _show_search(request)
        return
    table = _tabulate(request)
    if request.figure is not None:
        content = info(table, request.axis or _only_axis(table), _entries(request.at))
        draw(content, request.figure, " ".join([describe(table), *request.at]))
    _show(table, request.format)


def _show_search(request: Request) -> None:
    frame = search.trials(_location(request), request.sweep, request.study)
    table = search.best(frame)
    if request.figure is not None:
        search_figure.draw(search_figure.info(frame), request.figure, search.describe(frame))
    if request.format == "csv":
        sys.stdout.write(search.to_csv(table))
        sys.stderr.writelines(f"note: {line}\n" for line in (table.attrs["said"], *table.attrs["notes"]))
    elif request.format == "markdown":
        sys.stdout.write(search.to_markdown(table))
    else:
        console().print(search.to_rich(table))


def _location(request: Request) -> Path:
    return request.store if request.store is not None else default_location()


def _tabulate(request: Request) -> pd.DataFrame:
    location = _location(request)
    plan = _read_plan(location, request.sweep, request.plan) if request.plan is not None else None
    return summary(
        load(location, request.sweep, plan),
        sweep=request.sweep,
        metric=request.metric,
        k=request.k,
        context=_entries(request.context),
        split=request.split,
        feature=request.feature,
        selected_on=None if request.selected_on == "any" else request.selected_on,
    )


def _read_plan(location: Path, sweep: str, start: str) -> pa.Table:
    """The one plan of a sweep whose file name starts so."""
    folder = location.expanduser() / "sweeps" / sweep
    found = sorted(path for path in folder.glob("*.parquet") if path.name.startswith(start))
    if len(found) != 1:
        there = ", ".join(path.stem[:12] for path in sorted(folder.glob("*.parquet"))) or "none"
        raise ValueError(f"plan {start!r} is the start of {len(found)} plans of {sweep}; there are: {there}")
    return read_all(found, PLAN_SCHEMA)


def _entries(texts: tuple[str, ...]) -> dict[str, str]:
    entries = {}
    for text in texts:
        name, equals, content = text.partition("=")
        if not (name and equals):
            raise ValueError(f"{text!r} is not an entry; allowed: name=value")
        entries[name] = content
    return entries


def _only_axis(table: pd.DataFrame) -> str:
    names = label_columns(table)
    if len(names) != 1:
        raise ValueError(f"--figure needs --axis, one of: {', '.join(names) or 'none, as the seed is the only axis'}")
    return names[0]


def _show(table: pd.DataFrame, form: str) -> None:
    if form == "csv":
        sys.stdout.write(to_csv(table))
        # The caption has no place in CSV.
        sys.stderr.writelines(f"note: {note}\n" for note in table.attrs["notes"])
    elif form == "markdown":
        sys.stdout.write(to_markdown(table))
    else:
        console().print(to_rich(table))


if __name__ == "__main__":
    sys.exit(main())
