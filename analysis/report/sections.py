"""One sweep in one context: its tables, its figures, every point with its number, and the command that computes it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.cells import explain, sheet, value_name
from analysis.choice import SEED, conditions, numbers, spelled
from analysis.load import axes, plain
from analysis.report import reproduce
from analysis.report.gaps import worded
from analysis.report.material import Material
from analysis.report.pictures import Album, Measured, album, named
from analysis.report.request import Request
from analysis.report.values import anchor
from analysis.report.view import Cell, Section, Table, Tabulated
from analysis.sheet import Mark
from analysis.table import summary
from stars.sweep import AxisValue

# What all numbers of a sweep usually share; it stands in the table of points only where they differ.
_PROVENANCE = ("code", "data_content", "device", "workers", "recipe", "selected_on")
_FIRST = ("recipe", "dataset", "protocol")
_SHORT = 12
_LOOKS: Mapping[Mark | None, str] = {"bold": "best", "underline": "second"}


@dataclass(kw_only=True)
class _Told:
    """The tables of a section, why there are no others, its best line and number, and numbers by fingerprint."""

    tables: list[Tabulated] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    best: tuple[str, str] = ("", "")
    numbers: dict[str, float] = field(default_factory=dict)


def section(
    material: Material,
    sweep: str,
    *,
    context: Mapping[str, AxisValue],
    points: pd.DataFrame,
    name: str,
    request: Request,
) -> tuple[Section, list[str]]:
    """One sweep in one context, and why some of its numbers could not be tabulated.

    Args:
        material: what was read.
        sweep: its name.
        context: what the command line chose.
        points: the lines of the frame.
        name: the anchor of the section.
        request: which numbers.
    """
    measured = _measured_here(material, sweep, points, name, request)
    distinct = points.drop_duplicates(["reference", "fingerprint", *axes(points)])
    return (
        Section(
            anchor=name,
            name=sweep,
            paper=str(points["paper"].iloc[0]),
            context=[(key, spelled(context[key])) for key in sorted(context, key=_rank)],
            planned=distinct["fingerprint"].nunique(),
            finished=distinct.loc[distinct["state"] == "finished", "fingerprint"].nunique(),
            best=measured.best,
            tables=measured.tables,
            points=_points(distinct, measured.numbers, name, sweep),
            shared=_shared(distinct),
            command=reproduce.command(sweep, context, {}),
            remarks=reproduce.remarks(context),
        ),
        measured.problems,
    )


def _measured_here(material: Material, sweep: str, points: pd.DataFrame, name: str, request: Request) -> _Told:
    """A table for each feature that was measured."""
    measured = points[
        points["value"].notna() & (points["metric"] == request.metric) & (points["split"] == request.split)
    ]
    # The rows of chance have no feature and go with each of the others.
    features = [feature for feature in dict.fromkeys(measured["feature"]) if feature] or [None]
    told = _Told()
    for number, feature in enumerate(features):
        held = points if feature is None else points[points["feature"].isin([feature, ""]) | points["feature"].isna()]
        held = _with_every_point(held, points)
        try:
            found = _measured(held, sweep, request)
        except ValueError as problem:
            told.problems.append(f"{feature or sweep}: {' '.join(str(problem).split())}")
            continue
        pictures = Album("")
        if request.figures != "none":
            pictures = album(material, found, f"{name}-{number}", with_embedding=request.figures == "embedding")
        title = f"{found.table.attrs['probe']}: {value_name(found.table)}" + (f", {feature}" if feature else "")
        told.tables.append(_tabulated(found, title, name, pictures))
        # A probe that measured several features shows the first.
        told.numbers = {**found.numbers, **told.numbers}
        if not told.best[0] and found.table["mean"].notna().any():
            place = list(found.conditions).index(found.best())
            told.best = (named(found.conditions[place]), told.tables[-1].number(place))
    return told


def _with_every_point(held: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """Points whose only numbers are of another feature stay planned: the table shows them as missing one."""
    rest = points[~points["fingerprint"].isin(held["fingerprint"])].copy()
    rest["value"] = float("nan")
    return pd.concat([held, rest]).sort_index() if len(rest) else held


def _measured(points: pd.DataFrame, sweep: str, request: Request) -> Measured:
    table = summary(points, sweep=sweep, metric=request.metric, k=request.k, split=request.split)
    chosen = numbers(points, metric=request.metric, k=request.k, split=request.split)
    held = {str(name): float(value) for name, value in chosen["value"].items()}
    return Measured(table=table, conditions=conditions(points), numbers=held)


def _tabulated(measured: Measured, title: str, name: str, pictures: Album) -> Tabulated:
    table = measured.table
    content, spans = sheet(table), _spans(table)
    heads = content.columns()
    value_column = heads.index(f"{value_name(table)} (%)")
    lines = []
    for i, texts in enumerate(content.lines):
        line = [Cell(text=_unpadded(text)) for text in texts]
        mean = plain(table["mean"].iloc[i])
        first = next(iter(measured.conditions[i].fingerprints.values()))
        line[value_column] = Cell(
            text=_unpadded(texts[value_column]),
            order="" if mean is None else repr(mean),
            link=f"#{name}-{first[:_SHORT]}",
            look=_LOOKS.get(content.marks.get((i, value_column)), ""),
            span=spans[i],
        )
        lines.append(line)
    # The first column names the lines, whatever the axis holds.
    headers = [(head, i > 0 and i not in content.left) for i, head in enumerate(heads)]
    return Tabulated(
        title=title,
        value_column=value_column,
        table=Table(name=f"{table.attrs['sweep']}, {title}", headers=headers, lines=lines),
        caption=explain(table).split("\n"),
        pictures=pictures.pictures,
        left_out=pictures.left_out,
    )


def _unpadded(text: str) -> str:
    """A cell without the spaces that align it in a terminal."""
    return " ".join(text.split()).replace("( ", "(")


def _spans(table: pd.DataFrame) -> list[tuple[float, float, float] | None]:
    """Every line's interval on the range of the grid; a reference outside it has none, so that it flattens nothing."""
    grid = table[table["reference"] == ""] if (table["reference"] == "").any() else table
    ends = [v for name in ("low", "mean", "high") for v in grid[name] if not math.isnan(v)]
    if not ends or max(ends) - min(ends) <= 0:
        return [None] * len(table)
    low, width = min(ends), max(ends) - min(ends)
    found: list[tuple[float, float, float] | None] = []
    for line in table.to_dict("records"):
        mean = line["mean"]
        lower, upper = (mean if math.isnan(line[end]) else line[end] for end in ("low", "high"))
        places = ((lower - low) / width, (mean - low) / width, (upper - low) / width)
        inside = not math.isnan(mean) and 0 <= places[1] <= 1
        found.append((max(places[0], 0.0), places[1], min(places[2], 1.0)) if inside else None)
    return found


def _points(points: pd.DataFrame, chosen: Mapping[str, float], name: str, sweep: str) -> Table:
    labels = [axis for axis in axes(points) if points[axis].notna().any()]
    varying = [column for column in _PROVENANCE if points[column].nunique() > 1]
    numeric = [pd.api.types.is_any_real_numeric_dtype(points[axis]) for axis in labels]
    lines, anchors = [], []
    taken: set[str] = set()
    for line in points.to_dict("records"):
        fingerprint = line["fingerprint"]
        at = {axis: plain(line[axis]) for axis in labels}
        value = chosen.get(fingerprint)
        absent = line["state"] if line["state"] != "finished" else "no such number"
        number = (
            Cell(text=worded(absent), look=f"state {line['state']}")
            if value is None
            else Cell(text=f"{100 * value:.2f}", order=repr(float(value)), link=f"#{anchor(fingerprint)}")
        )
        lines.append(
            [
                Cell(text=line["reference"] or "grid"),
                *(Cell(text=spelled(at[axis])) for axis in labels),
                number,
                *(Cell(text=_provenance(column, plain(line[column]))) for column in varying),
                Cell(text=_seconds(plain(line["seconds"])), order=_order(plain(line["seconds"]))),
                Cell(text=reproduce.settings(at), look="code"),
            ]
        )
        place = f"{name}-{fingerprint[:_SHORT]}"
        # Seeds that mean the same computation share a fingerprint; an anchor may stand once.
        anchors.append("" if place in taken else place)
        taken.add(place)
    headers = [("line", False), *zip(labels, numeric, strict=True), ("number (%)", True)]
    headers += [*((column.replace("_", " "), False) for column in varying), ("seconds", True), ("settings", False)]
    return Table(name=f"Every point of {sweep}", headers=headers, lines=lines, anchors=anchors)


def _shared(points: pd.DataFrame) -> list[tuple[str, str]]:
    """What all numbers have in common."""
    found = []
    for column in _PROVENANCE:
        held = points[column].dropna().unique()
        if len(held) == 1:
            found.append((column.replace("_", " "), str(plain(held[0]))))
    seeds = [plain(seed) for seed in points[SEED].dropna().unique()] if SEED in points else []
    return [*found, ("seeds", ", ".join(map(str, seeds)))] if seeds else found


def _rank(name: str) -> int:
    """What a reader asks first stands first; the rest stays in its order."""
    return _FIRST.index(name) if name in _FIRST else len(_FIRST)


def _provenance(column: str, content: AxisValue | None) -> str:
    if column in ("code", "data_content") and isinstance(content, str):
        commit, plus, dirty = content.partition("+")
        return commit[:_SHORT] + plus + dirty
    return spelled(content)


def _seconds(seconds: AxisValue | None) -> str:
    return "-" if seconds is None else f"{float(seconds):.1f}"


def _order(content: AxisValue | None) -> str:
    return "" if content is None else repr(content)


def unplanned(frame: pd.DataFrame) -> Table | None:
    """Numbers that no plan mentions; None where there are none."""
    alone: Sequence[Mapping[str, object]] = frame[frame["sweep"].isna()].to_dict("records")  # type: ignore[assignment]
    if not alone:
        return None
    words = ("dataset", "protocol", "split", "probe", "feature", "k", "metric")
    lines = [
        [
            *(Cell(text=spelled(plain(line[word]))) for word in words),
            Cell(text=f"{line['value']:.4f}", order=repr(line["value"]), link=f"#{anchor(str(line['fingerprint']))}"),
            Cell(text=str(line["seeds"]), look="code"),
            Cell(text=_provenance("code", plain(line["code"])), look="code"),
        ]
        for line in alone
    ]
    headers = [(word, word == "k") for word in words] + [("value", True), ("seeds", False), ("code", False)]
    return Table(name="Numbers that no plan mentions", headers=headers, lines=lines)
