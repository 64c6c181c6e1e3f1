"""From the store to one tidy frame: every planned point, joined with the numbers that were measured for it.

Nothing is computed here and nothing is written: what is planned and not there stands in the frame with value NaN.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from stars.outcome import StoreError
from stars.results import READABLE, SCHEMA, read, states
from stars.store import Store
from stars.sweep import PLAN_SCHEMA, PLAN_VERSION, AxisValue, read_plans

CONTEXT = "context."
_LEADING = ("sweep", "paper", "reference")
_ROW = tuple(SCHEMA.names)
_FIXED = frozenset({*_LEADING, "state", *_ROW})
# Axes are names of Python parameters, so none of them can be this.
_POSITION = "position of the point"
_NULLABLE = {pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype()}


@dataclass(frozen=True, kw_only=True)
class _Point:
    """One planned number, read back from a plan."""

    sweep: str | None
    paper: str | None
    reference: str | None
    axes: Mapping[str, AxisValue]
    context: Mapping[str, AxisValue]
    fingerprint: str
    upstream: tuple[str, ...]

    def key(self) -> tuple[object, ...]:
        """What makes two lines of two plans the same point; 1 and 1.0 are the same axis value, 1 and True are not."""
        return (self.sweep, self.reference, _identity(self.axes), self.fingerprint, _identity(self.context))


def load(store: Store | Path | str, sweep: str | None = None, plan: pa.Table | None = None) -> pd.DataFrame:
    """Every planned point with its numbers: one line per number, one line with value NaN where there is none.

    Columns: `sweep`, `paper`, `reference` (empty for a point of the grid); one per axis, named as the axis; one per
    entry of the plan's context, prefixed `context.`; `state` (`finished`, `diverged`, `oom`, `missing`);
    `fingerprint`; and those of `stars.results.SCHEMA`. Whole numbers, with gaps or without, are nullable integers;
    an axis has the type of its values. `value` is as stored: accuracies are fractions.

    A point that several plans hold stands once. Order: sweeps by name; within one, the grid, then the references as
    planned; along an axis numbers ascend and words stand as planned.

    Args:
        store: the store, or its folder; a folder is opened for reading only.
        sweep: only this one; otherwise all, and also the numbers that no plan mentions (their `sweep` is missing).
        plan: points in `stars.sweep.PLAN_SCHEMA` to use in place of the plans in the store; numbers that it does not
            mention are then left out.

    Raises:
        StoreError: no such folder, a damaged file, or rows and plans of another schema version.
        ValueError: a sweep without a plan, or an axis with the name of another column.
    """
    opened = store if isinstance(store, Store) else Store(store, read_only=True)
    planned = _plans(opened, sweep) if plan is None else plan
    measured = read(opened)
    _require_version(planned, {PLAN_VERSION}, f"{opened.location / 'sweeps'}: planned points")
    _require_version(measured, READABLE, f"{opened.location / 'results'}: rows")
    points = _ordered(_distinct(_points(planned)))
    if sweep is None and plan is None:
        points += _unplanned(points, measured)
    elif sweep is not None:
        points = [point for point in points if point.sweep == sweep]
    frame = _frame(points)
    rows = measured.to_pandas(types_mapper=_NULLABLE.get)
    joined = frame.merge(rows, on="fingerprint", how="left", validate="many_to_many")
    return _with_states(joined, points, opened)


def axes(frame: pd.DataFrame) -> list[str]:
    """The columns of a loaded frame that are axes, in planned order; those without any value are left out."""
    return [
        str(name)
        for name in frame.columns
        if name not in _FIXED and not str(name).startswith(CONTEXT) and frame[name].notna().any()
    ]


def contexts(frame: pd.DataFrame) -> list[str]:
    """The columns of a loaded frame that say what the command line chose."""
    return [str(name) for name in frame.columns if str(name).startswith(CONTEXT)]


def notes(frame: pd.DataFrame) -> list[str]:
    """What a reader of the numbers should know and no number says, one sentence each; empty when there is nothing.

    Rows of several code versions or library versions, of code that differed from its commit, and of checkpoints that
    were chosen on the test split.
    """
    measured = frame[frame["value"].notna()]
    what = ["split", "probe", "feature", "k", "draw", "variant", "metric", "selected_on", "epoch"]
    rows = measured.drop_duplicates(["fingerprint", *what])
    found = []
    codes = rows["code"].value_counts().sort_index()
    if len(codes) > 1:
        listed = ", ".join(f"{name} ({number})" for name, number in codes.items())
        found.append(f"The numbers come from {len(codes)} code versions: {listed}.")
    if differing := _differing(rows["libraries"].unique()):
        found.append(f"The numbers come from several library versions: {'; '.join(differing)}.")
    dirty = int(rows["code"].str.endswith("+dirty").sum())
    if dirty:
        found.append(f"{dirty} of {len(rows)} numbers come from code that differed from its commit (+dirty).")
    tested = int((rows["selected_on"] == "test").sum())
    if tested:
        found.append(f"{tested} of {len(rows)} numbers come from a checkpoint that was chosen on the test split.")
    return found


def plain(content: Any) -> AxisValue | None:
    """A cell as a Python value; None where it is missing."""
    if pd.isna(content):
        return None
    item: AxisValue = content.item() if hasattr(content, "item") else content
    return item


def _differing(documents: Iterable[str]) -> list[str]:
    """The entries in which JSON objects differ, each with its contents."""
    versions: dict[str, dict[str, None]] = {}
    for document in documents:
        for name, version in json.loads(document).items():
            versions.setdefault(name, {})[str(version)] = None
    return [f"{name} {', '.join(sorted(found))}" for name, found in sorted(versions.items()) if len(found) > 1]


def _plans(store: Store, sweep: str | None) -> pa.Table:
    folder = store.location / "sweeps"
    names = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if sweep is not None and sweep not in names:
        raise ValueError(f"sweep {sweep!r} has no plan in {store.location}; planned are: {', '.join(names) or 'none'}")
    return read_plans(store, sweep)


def _require_version(table: pa.Table, readable: Collection[int], place: str) -> None:
    found = set(table["schema_version"].to_pylist())
    if not found <= set(readable):
        shown, allowed = (", ".join(map(str, sorted(numbers))) for numbers in (found, readable))
        raise StoreError(f"{place} of schema version {shown}; this code reads {allowed} alone")


def _points(planned: pa.Table) -> Iterable[_Point]:
    names = [name for name in PLAN_SCHEMA.names if name not in ("kind", "schema_version")]
    for line in planned.select(names).to_pylist():
        yield _Point(
            **{
                **line,
                "axes": json.loads(line["axes"]),
                "context": json.loads(line["context"]),
                "upstream": tuple(line["upstream"]),
            }
        )


def _distinct(points: Iterable[_Point]) -> list[_Point]:
    found: dict[tuple[object, ...], _Point] = {}
    for point in points:
        found.setdefault(point.key(), point)
    return list(found.values())


def _ordered(points: Sequence[_Point]) -> list[_Point]:
    """Sweep, context, grid before references as planned, then the axes: numbers ascending, words as planned."""
    references: dict[object, int] = {}
    names: dict[object, dict[str, None]] = {}
    words: dict[object, int] = {}
    for point in points:
        # The grid comes first, also where the plan that is read first holds references only.
        references.setdefault((point.sweep, point.reference), len(references) if point.reference else -1)
        names.setdefault(point.sweep, {}).update(dict.fromkeys(point.axes))
        for name, given in point.axes.items():
            words.setdefault((point.sweep, name, given), len(words))

    def rank(point: _Point, name: str) -> tuple[int, float]:
        given = point.axes.get(name)
        if given is None:
            return (0, 0.0)
        return (2, words[point.sweep, name, given]) if isinstance(given, str) else (1, float(given))

    def place(point: _Point) -> tuple[object, ...]:
        along = tuple(rank(point, name) for name in names[point.sweep])
        context = json.dumps(point.context, sort_keys=True)
        return (point.sweep, context, references[point.sweep, point.reference], along, point.fingerprint)

    return sorted(points, key=place)


def _unplanned(points: Sequence[_Point], measured: pa.Table) -> list[_Point]:
    orphans = sorted(set(measured["fingerprint"].to_pylist()) - {point.fingerprint for point in points})
    return [
        _Point(sweep=None, paper=None, reference=None, axes={}, context={}, fingerprint=orphan, upstream=())
        for orphan in orphans
    ]


def _frame(points: Sequence[_Point]) -> pd.DataFrame:
    """One line per point, without its numbers."""
    columns: dict[str, pd.Series] = {
        name: pd.Series([getattr(point, name) for point in points], dtype="str") for name in _LEADING
    }
    for point in points:
        if taken := sorted(_FIXED & point.axes.keys()):
            raise ValueError(
                f"sweep {point.sweep}: axis {taken[0]!r} has the name of a results column; rename the axis"
            )
    for name in dict.fromkeys(name for point in points for name in point.axes):
        columns[name] = _column([point.axes.get(name) for point in points])
    for name in dict.fromkeys(name for point in points for name in sorted(point.context)):
        columns[CONTEXT + name] = _column([point.context.get(name) for point in points])
    columns[_POSITION] = pd.Series(range(len(points)), dtype="int64")
    columns["fingerprint"] = pd.Series([point.fingerprint for point in points], dtype="str")
    return pd.DataFrame(columns)


def _column(values: Sequence[AxisValue | None]) -> pd.Series:
    """Values in the narrowest type that holds them all; None is a gap."""
    kinds = {type(content) for content in values if content is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int}:
        return pd.Series(values, dtype="Int64")
    if kinds and kinds <= {int, float}:
        return pd.Series([float("nan") if v is None else float(v) for v in values], dtype="float64")
    return pd.Series(values, dtype="str" if kinds == {str} else "object")


def _with_states(joined: pd.DataFrame, points: Sequence[_Point], store: Store) -> pd.DataFrame:
    """Rows prove that a point is finished; of the others the outcomes tell."""
    without = sorted(set(joined.loc[joined["outcome"].isna(), _POSITION]))
    told = dict(zip(without, states(store, [points[position].upstream for position in without]), strict=True))
    told_states = pd.Series([told.get(position) for position in joined[_POSITION]], dtype="str")
    joined["state"] = joined["outcome"].where(joined["outcome"].notna(), told_states)
    given = [name for name in joined.columns if name not in _FIXED and name != _POSITION]
    measured = [name for name in _ROW if name != "fingerprint"]
    return joined[[*_LEADING, *given, "state", "fingerprint", *measured]]


def _identity(content: Mapping[str, AxisValue]) -> frozenset[tuple[str, bool, AxisValue]]:
    return frozenset((name, isinstance(given, bool), given) for name, given in content.items())
