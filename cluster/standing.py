"""How a store stands, as plain information: its drivers, its sweeps and its searches. Reads only, prints nothing.

Everything comes from files that are replaced or created in one operation, so it can be read while drivers write.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from analysis.cells import label_columns, value_name
from analysis.choice import spelled
from analysis.load import axes, contexts, load, plain
from analysis.table import summary
from stars.drivers import BEAT_SECONDS, SILENCE_SECONDS, Driver, Observer, read_all
from stars.store import Store
from stars.sweep import read_plans
from stars.trials import read_trials, studies

SHOWN_SECONDS = 86400.0
"""A driver that ended longer ago is not shown."""
_POLL_SECONDS = 0.5
# What a reader calls a context; the rest (hashes, rules) is named only where contexts differ in it.
_SHOWN_CONTEXT = ("recipe", "dataset", "protocol")

Life = Literal["at work", "silent", "died", "ended"]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A driver and whether it lives.

    Attributes:
        driver: what it says of itself.
        life: `at work`; `ended`; `died` without ending; or `silent`, on another machine, which nobody can tell yet.
        lasted: seconds from its start to its last sign of life, or to now.
        silence: seconds since its last sign of life, by the clock of the disk.
        followed: whether another driver has begun the same work since.
    """

    driver: Driver
    life: Life
    lasted: float
    silence: float
    followed: bool


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One sweep in one context.

    Attributes:
        sweep, context: which.
        planned, finished, missing: distinct points; missing are those that have not been run to an end.
        failed: points by status.
        reasons: how often which step failed how, most frequent first: `(kind, status, reason), points`.
        best: the best mean so far with its interval, in words; why there is none, where there is none.
    """

    sweep: str
    context: str
    planned: int
    finished: int
    missing: int
    failed: Mapping[str, int]
    reasons: tuple[tuple[tuple[str, str, str], int], ...]
    best: str


@dataclass(frozen=True, kw_only=True)
class Searched:
    """One search: trials by state, and the best of those that were trained in full."""

    study: str
    sweep: str
    states: Mapping[str, int]
    best: str


def drivers(
    store: Store,
    *,
    observer: Observer | None = None,
    now: float | None = None,
    patience: float = 1.5 * BEAT_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[list[Seen], int]:
    """Drivers that live or did within the last day, by their start; and the number of older ones.

    Args:
        store: the store.
        observer: who tells living from dead.
        now: seconds since 1970; by default the clock's.
        patience: seconds to watch the drivers of other machines, whose beat tells; those of this machine tell at once.
        sleep: waits between two looks.
    """
    watch = observer or Observer(store)
    found = list(read_all(store))
    moves = {driver.name: watch.moving(driver.name) for driver in found if not driver.ended}
    waited = 0.0
    while waited < patience and None in moves.values():
        sleep(_POLL_SECONDS)
        waited += _POLL_SECONDS
        moves |= {name: watch.moving(name) for name, verdict in moves.items() if verdict is None}
    moment = time.time() if now is None else now
    last = {driver.run: driver.started for driver in found}
    seen = [_seen(store, driver, moves.get(driver.name, False), moment, last) for driver in found]
    shown = [entry for entry in seen if entry.life == "at work" or entry.silence < SHOWN_SECONDS]
    return shown, len(seen) - len(shown)


def _seen(store: Store, driver: Driver, moves: bool | None, now: float, last: Mapping[str, str]) -> Seen:
    written = (store.location / "drivers" / f"{driver.name}.json").stat().st_mtime
    silence = max(0.0, now - written)
    life: Life = "ended" if driver.ended else "at work" if moves else "silent" if moves is None else "died"
    if life == "silent" and silence >= SILENCE_SECONDS:
        life = "died"
    until = now if life == "at work" else written
    lasted = driver.spent.get("seconds", max(0.0, until - datetime.fromisoformat(driver.started).timestamp()))
    followed = last[driver.run] > driver.started
    return Seen(driver=driver, life=life, lasted=lasted, silence=silence, followed=followed)


def standings(store: Store, sweep: str | None = None) -> list[Standing]:
    """Every planned sweep, or one, in each of its contexts."""
    planned = sorted(path.name for path in (store.location / "sweeps").glob("*") if path.is_dir())
    if not planned or (sweep is not None and sweep not in planned):
        return []
    frame = load(store, sweep)
    chains = _chains(store, sweep)
    return [
        _standing(store, name, frame[places], differing, chains)
        for name in ([sweep] if sweep is not None else planned)
        for places, differing in _by_context(frame, name)
    ]


def _chains(store: Store, sweep: str | None) -> dict[str, list[str]]:
    """What every planned probe needs, inputs first, by its fingerprint."""
    plans = read_plans(store, sweep)
    return dict(zip(plans["fingerprint"].to_pylist(), plans["upstream"].to_pylist(), strict=True))


def _by_context(frame: pd.DataFrame, sweep: str) -> Iterator[tuple["pd.Series[bool]", str]]:
    """Where in the frame each context of a sweep stands, and the words for it."""
    columns = contexts(frame)
    names = [column.partition(".")[2] for column in columns]
    keys = [tuple(map(plain, line)) for line in frame[columns].itertuples(index=False)]
    ours = (frame["sweep"] == sweep).tolist()
    distinct = list(dict.fromkeys(key for key, mine in zip(keys, ours, strict=True) if mine))
    different = {name for i, name in enumerate(names) if len({key[i] for key in distinct}) > 1}
    for key in distinct:
        entries = dict(zip(names, key, strict=True))
        words = [spelled(entries[name]) for name in _SHOWN_CONTEXT if entries.get(name) is not None]
        words += [f"{name}={spelled(entries[name])[:12]}" for name in names if name in different - {*_SHOWN_CONTEXT}]
        places = pd.Series([mine and one == key for one, mine in zip(keys, ours, strict=True)], index=frame.index)
        yield places, ", ".join(words)


def _standing(store: Store, sweep: str, frame: pd.DataFrame, context: str, chains: Mapping[str, list[str]]) -> Standing:
    points = frame.drop_duplicates(["reference", *axes(frame), "fingerprint"])
    states = Counter(points["state"])
    failed = points[~points["state"].isin(["finished", "missing"])]
    reasons = Counter(_reason(store, chains[name]) for name in failed["fingerprint"])
    return Standing(
        sweep=sweep,
        context=context,
        planned=len(points),
        finished=states["finished"],
        missing=states["missing"],
        failed={status: count for status, count in sorted(states.items()) if status not in ("finished", "missing")},
        reasons=tuple(reasons.most_common()),
        best=best(frame, sweep),
    )


def _reason(store: Store, chain: list[str]) -> tuple[str, str, str]:
    """The first step of a point that failed: its kind, how it ended and why."""
    for step in chain:
        outcome, _ = store.last_outcome(*step.split("/"))
        if outcome is not None and outcome.status != "finished":
            return step.partition("/")[0], outcome.status, outcome.reason
    # Finished between two looks at it.
    return chain[-1].partition("/")[0], "finished", ""


def best(frame: pd.DataFrame, sweep: str) -> str:
    """The best mean of the grid of one sweep in one context, with its interval and what it is, in words.

    On the test split where there are numbers of it; accuracy where there is any; with k = 10 where that is measured,
    else the greatest k.
    """
    measured = frame[frame["value"].notna()]
    if measured.empty:
        return "-"
    split = _prefer("test", measured["split"])
    metric = _prefer("accuracy", measured.loc[measured["split"] == split, "metric"])
    neighbours = measured.loc[(measured["split"] == split) & (measured["metric"] == metric), "k"].dropna().astype(int)
    k = None if neighbours.empty else 10 if 10 in set(neighbours) else int(neighbours.max())
    try:
        table = summary(frame, sweep=sweep, metric=metric, k=k, split=split)
    except ValueError as problem:
        return f"cannot be told: {problem}"
    grid = table[(table["reference"] == "") & table["mean"].notna()].to_dict("records")
    if not grid:
        return "-"
    line = max(grid, key=lambda line: line["mean"])
    at = " ".join(f"{name}={spelled(plain(line[name]))}" for name in label_columns(table))
    count, planned = int(line["count"]), int(line["planned"])
    seeds = f"n = {count}" if count == planned else f"n = {count} of {planned}"
    what = f"{value_name(table)}, {split}"
    return f"{_number(metric, line['mean'], line['half_width'])} ({seeds}){f' at {at}' if at else ''}\n{what}"


def _prefer(wanted: str, given: "pd.Series[Any]") -> str:
    return wanted if wanted in set(given) else str(given.mode().iloc[0])


def _number(metric: str, mean: float, half_width: float) -> str:
    """A mean with its interval; accuracies in per cent, as tables show them."""
    scale, digits, unit = (100, 1, " %") if metric == "accuracy" else (1, 4, "")
    around = "" if math.isnan(half_width) else f" ± {scale * half_width:.{digits}f}"
    return f"{scale * mean:.{digits}f}{around}{unit}"


def searches(store: Store, sweep: str | None = None) -> list[Searched]:
    """Every search, or those of one sweep, as its table in the store tells."""
    folder = store.location / "searches"
    names = sorted(path.name for path in folder.glob("*") if path.is_dir() and sweep in (None, path.name))
    return [_searched(store, name, study) for name in names for study in studies(store, name)]


def _searched(store: Store, sweep: str, study: str) -> Searched:
    rows = read_trials(store, sweep, study).to_pylist()
    states = Counter({row["trial"]: row["state"] for row in rows}.values())
    full = [row for row in rows if row["state"] == "finished" and row["horizon"] == max(row["horizons"])]
    told = [row for row in full if row["value"] is not None]
    if not told:
        return Searched(study=study, sweep=sweep, states=states, best="-")
    choose = max if told[0]["greater_is_better"] else min
    top = choose(told, key=lambda row: row["value"])
    at = " ".join(f"{name}={spelled(given)}" for name, given in json.loads(top["axes"]).items())
    words = f"{_number(top['metric'], top['value'], math.nan)} at {at}"
    return Searched(study=study, sweep=sweep, states=states, best=words)


def known(store: Store) -> list[str]:
    """Every sweep that the store knows: planned, searched, or somebody's work."""
    rooms = (store.location / "sweeps", store.location / "searches")
    folders: set[Path] = {path for room in rooms for path in room.glob("*") if path.is_dir()}
    return sorted({path.name for path in folders} | {driver.sweep for driver in read_all(store)} - {""})
