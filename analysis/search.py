"""A search read back: its trials, the best of those that were trained in full, which axes mattered; and how it prints.

Only trials that were trained in full stand in the table: a stopped one has the number of a shorter training, and the
two are not compared. How many were stopped, and where, is said below it.
"""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from analysis.choice import spelled
from analysis.load import plain
from analysis.sheet import ABSENT, per_cent
from analysis.statistics import interval
from stars.store import Store
from stars.sweep import AxisValue
from stars.trials import read_importances, read_trials, studies

AXIS = "axis."
_COLUMNS = ("trial", "state", "reason", "horizon", "value", "values", "started", "ended")
_BEST_COLUMNS = ("mean", "half_width", "count", "values")


def trials(store: Store | Path | str, sweep: str, study: str = "") -> pd.DataFrame:
    """Every trial of one search at every horizon that it reached, in order.

    Columns: `trial`, `state`, `reason`, `horizon` (epochs), `value` (mean over the seeds, a fraction; NaN while it runs
    and where it failed), `values` (by seed), `started`, `ended` (UTC); and `axis.<name>` for every axis, missing where
    the axis does not exist. `attrs` hold sweep, study, metric, k, context, `greater_is_better`, `horizons`, and
    `importances` (share by axis) with their `notes`.

    Args:
        store: the store, or its folder; a folder is opened for reading only.
        sweep: its name.
        study: the start of the name of the one study to use, where there are several.

    Raises:
        StoreError: no such folder, or a damaged file.
        ValueError: no search, or several to choose from.
    """
    opened = store if isinstance(store, Store) else Store(store, read_only=True)
    there = studies(opened, sweep)
    found = [name for name in there if name.startswith(study) or name.removeprefix(f"{sweep}-").startswith(study)]
    if len(found) != 1:
        known = ", ".join(there) or "none"
        raise ValueError(f"study {study!r} is the start of {len(found)} searches of {sweep}; there are: {known}")
    rows = read_trials(opened, sweep, found[0]).to_pylist()
    if not rows:
        raise ValueError(f"search {found[0]} has no trial yet")
    shared, lines = rows[0], read_importances(opened, sweep, found[0]).to_pylist()
    frame = pd.DataFrame([_line(row) for row in rows])
    points = [json.loads(row["axes"]) for row in rows]
    for axis in (line["axis"] for line in lines):
        values = [point.get(axis) for point in points]
        # Where a whole number is missing, pandas would make all of them real.
        frame[f"{AXIS}{axis}"] = pd.Series(values, dtype=object if None in values else None)
    frame.attrs = {
        "sweep": sweep,
        "study": found[0],
        "metric": shared["metric"],
        "k": shared["k"],
        "context": json.loads(shared["context"]),
        "greater_is_better": shared["greater_is_better"],
        "horizons": tuple(shared["horizons"]),
        "importances": {line["axis"]: line["importance"] for line in lines if line["importance"] is not None},
        "notes": _notes(lines),
    }
    return frame


def best(frame: pd.DataFrame) -> pd.DataFrame:
    """The trials that were trained in full, the best first: `trial`, the axes, `mean`, `half_width`, `count`, `values`.

    The interval is Student's t over the seeds, 95 %. `attrs` as in `trials`, and `said`: what the table leaves out.
    """
    full = frame.attrs["horizons"][-1]
    whole = frame[(frame["state"] == "finished") & (frame["horizon"] == full)]
    lines = []
    for row in whole.to_dict("records"):
        around = interval(list(row["values"].values()))
        lines.append(
            {
                "trial": row["trial"],
                **{axis: plain(row[f"{AXIS}{axis}"]) for axis in axes(frame)},
                "mean": around.mean,
                "half_width": around.half_width,
                "count": around.count,
                "values": tuple(row["values"].values()),
            }
        )
    table = pd.DataFrame(lines, columns=["trial", *axes(frame), *_BEST_COLUMNS])
    descending = bool(frame.attrs["greater_is_better"])
    table = table.sort_values(["mean", "trial"], ascending=[not descending, True], ignore_index=True)
    table.attrs = {**frame.attrs, "said": _said(frame)}
    return table


def axes(frame: pd.DataFrame) -> list[str]:
    """The names of the axes of a frame that `trials` returned."""
    return [str(name).removeprefix(AXIS) for name in frame.columns if str(name).startswith(AXIS)]


def to_rich(table: pd.DataFrame, most: int = 10) -> Table:
    """What `best` returned as a table for a terminal: per cent, at most `most` trials."""
    headers, lines = _cells(table, most)
    shown = Table(
        title=Text(describe(table), style="bold"),
        caption=Text(_caption(table, most)),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for header in headers:
        shown.add_column(Text(header), justify="right", no_wrap=True)
    for number, line in enumerate(lines):
        shown.add_row(*(Text(cell, style="bold" if number == 0 else "") for cell in line))
    return shown


def to_markdown(table: pd.DataFrame, most: int = 10) -> str:
    """The same as Markdown."""
    headers, lines = _cells(table, most)
    rows = [headers, ["---:"] * len(headers), *lines]
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    return f"**{describe(table)}**\n\n{body}\n\n{_caption(table, most)}\n"


def to_csv(table: pd.DataFrame) -> str:
    """Every trial that was trained in full, and every column, for another program: fractions in full precision."""
    return table.assign(values=table["values"].map(json.dumps)).to_csv(index=False, lineterminator="\n")


def describe(frame: pd.DataFrame) -> str:
    """A title: the sweep and the context. For what `trials` returned, and `best`."""
    context = frame.attrs["context"]
    chosen = " ".join(
        f"{name}={spelled(context[name])}" for name in ("recipe", "dataset", "protocol") if name in context
    )
    return f"{frame.attrs['sweep']}: search" + (f" ({chosen})" if chosen else "")


def value_name(attrs: Mapping[Any, Any]) -> str:
    """What the numbers are, without their unit: `accuracy, k = 10`."""
    return str(attrs["metric"]) if attrs["k"] is None else f"{attrs['metric']}, k = {attrs['k']}"


def described(value: AxisValue | None) -> str:
    """A suggested value in four digits, "-" where the axis does not exist."""
    return f"{value:.4g}" if isinstance(value, float) else spelled(value)


def _line(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **{name: row[name] for name in _COLUMNS},
        "value": float("nan") if row["value"] is None else row["value"],
        "values": {int(seed): value for seed, value in json.loads(row["values"] or "{}").items()},
    }


def _notes(lines: list[dict[str, Any]]) -> tuple[str, ...]:
    """Why there are no importances, or what one of them means."""
    if all(line["importance"] is None for line in lines):
        return tuple(dict.fromkeys(f"importance unknown: {line['reason']}" for line in lines))
    return tuple(f"{line['axis']}: {line['reason']}" for line in lines if line["reason"])


def _said(frame: pd.DataFrame) -> str:
    last = frame.groupby("trial").last()
    said = [f"{len(last)} trials, {(last['state'] == 'finished').sum()} trained in full"]
    stopped = Counter(int(horizon) for horizon in last.loc[last["state"] == "stopped", "horizon"])
    for horizon, count in sorted(stopped.items()):
        said.append(f"{count} stopped after {horizon} epoch{'s' if horizon > 1 else ''}")
    failed = Counter(last.loc[last["state"] == "failed", "reason"])
    if failed:
        reasons = "; ".join(reason if count == 1 else f"{reason}, {count} times" for reason, count in failed.items())
        said.append(f"{failed.total()} failed ({reasons})")
    if running := int((last["state"] == "running").sum()):
        said.append(f"{running} still running")
    return ", ".join(said) + "."


def _caption(table: pd.DataFrame, most: int) -> str:
    attrs = table.attrs
    shown = f" The best {most} of {len(table)} are shown." if len(table) > most else ""
    lines = [
        attrs["said"] + shown,
        f"{value_name(attrs)}, in per cent, on the validation data; mean ± half width of the 95 % interval over the "
        f"seeds. The best of many is too good by chance: what it is worth, its number on the test data says.",
    ]
    if attrs["importances"]:
        ranked = sorted(attrs["importances"].items(), key=lambda item: -item[1])
        shares = ", ".join(f"{axis} {per_cent(share)} %" for axis, share in ranked)
        lines.append(f"Importance (fANOVA, over the trials trained in full): {shares}.")
    return "\n".join([*lines, *attrs["notes"]])


def _cells(table: pd.DataFrame, most: int) -> tuple[list[str], list[list[str]]]:
    names = [str(name) for name in table.columns if name not in ("trial", *_BEST_COLUMNS)]
    lines = []
    for row in table.head(most).to_dict("records"):
        half = per_cent(row["half_width"])
        number = per_cent(row["mean"]) + ("" if half == ABSENT else f" ± {half}")
        lines.append([str(row["trial"]), *(described(plain(row[name])) for name in names), number])
    return ["trial", *names, f"{value_name(table.attrs)} (%)"], lines
