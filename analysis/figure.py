"""The curve of a sweep: accuracy along one axis, with intervals, every seed's own value and the reference rows.

`info` decides what is shown where and is pure; `compose` and `draw` only put it on paper.
"""

import itertools
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.cells import label_columns, num_seeds, value_name
from analysis.choice import spelled
from analysis.layout import Scale, apart, limits_of, place, spread
from analysis.load import plain
from analysis.paper import literal, save
from stars.sweep import AxisValue

# Okabe and Ito's blue: distinct from the references for every kind of colour vision, and darker than they are in grey.
_CURVE = "#0072B2"
_REFERENCE = "0.25"
_DASHES = ((0, (6, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1.5, 1, 1.5, 1, 1.5)), (0, (10, 3)))
_WIDTH, _HEIGHT, _LABEL_SIZE = 6.4, 4.0, 8.0
# One line of label text as a fraction of the height of the axes, which take about four fifths of the figure.
_LABEL_GAP = 1.35 * _LABEL_SIZE / 72 / (0.8 * _HEIGHT)
_MOST_BANDS = 2
# From the end of a line to the middle of the left side of its label.
_LEADER = {"arrowstyle": "-", "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)}
# Characters that fit into one line of the figure.
_TITLE_WIDTH, _NOTE_WIDTH = 78, 110
_TICK_LENGTH, _LABEL_LENGTH = 28, 48


@dataclass(frozen=True, kw_only=True)
class ReferenceLine:
    """A row beside the grid. Per cent.

    Attributes:
        name: of the row.
        mean: where the line is.
        low: lower end of its interval, NaN for one value.
        high: upper end.
        count: values.
        shown: whether it lies within the figure; one that does not is named at the edge.
        label: the text, with the value and the half width of its interval.
        label_at: height of the text, moved as little as keeps the labels apart.
    """

    name: str
    mean: float
    low: float
    high: float
    count: int
    shown: bool
    label: str
    label_at: float


@dataclass(frozen=True, kw_only=True)
class CurveInfo:
    """What the figure shows. Heights are per cent; a sequence has one entry per axis value.

    Attributes:
        axis: its name.
        xs: the axis values, as they are.
        positions: where they stand; `scale` says how these follow from the values.
        scale: `linear`; `logarithmic` where linear ticks would collide; `even` for words, and where both would.
        ticks: the values as text.
        slanted: whether the ticks would print over each other if they stood straight.
        means: NaN where there is no value.
        lows: lower ends of the 95 % intervals, NaN below two values.
        highs: upper ends.
        counts: values that are there.
        planned: values that were planned.
        values: each seed's own.
        references: the rows beside the grid that have a value.
        absent: names of the reference rows that have none.
        limits: lowest and highest per cent of the figure.
        x_label: of the axis.
        y_label: of the numbers.
        note: what bars and dots are.
    """

    axis: str
    xs: tuple[AxisValue, ...]
    positions: tuple[float, ...]
    scale: Scale
    ticks: tuple[str, ...]
    slanted: bool
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    counts: tuple[int, ...]
    planned: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]
    references: tuple[ReferenceLine, ...]
    absent: tuple[str, ...]
    limits: tuple[float, float]
    x_label: str
    y_label: str
    note: str


def info(table: pd.DataFrame, axis: str, at: Mapping[str, AxisValue] | None = None) -> CurveInfo:
    """What a figure of the summary along one axis shows.

    Args:
        table: what `analysis.table.summary` returned.
        axis: along which.
        at: the value of every other axis that has several, also as text; a reference that takes it is shown where it
            agrees.

    Raises:
        ValueError: an unknown axis, another axis left open, or nothing to show.
    """
    grid, beside = _cut(table, axis, dict(at or {}))
    xs = tuple(content for value in grid[axis] if (content := plain(value)) is not None)
    ticks = tuple(map(spelled, xs))
    positions, scale = place(xs)
    values = tuple(tuple(100 * v for v in line) for line in grid["values"])
    means, lows, highs = (tuple(100 * v for v in grid[name]) for name in ("mean", "low", "high"))
    known = beside[beside["count"] > 0]
    limits = limits_of([*means, *lows, *highs, *itertools.chain(*values)], [100 * mean for mean in known["mean"]])
    scaled = {"linear": "", "logarithmic": " (logarithmic)", "even": " (not to scale)"}[scale]
    return CurveInfo(
        axis=axis,
        xs=xs,
        positions=positions,
        scale=scale,
        ticks=ticks,
        slanted=not apart(positions, ticks),
        means=means,
        lows=lows,
        highs=highs,
        counts=tuple(int(count) for count in grid["count"]),
        planned=tuple(int(count) for count in grid["planned"]),
        values=values,
        references=_references(known, limits),
        absent=tuple(beside.loc[beside["count"] == 0, "reference"]),
        limits=limits,
        x_label=axis + ("" if isinstance(xs[0], str) else scaled),
        y_label=f"{value_name(table)} (%)",
        note=_note(grid),
    )


def compose(content: CurveInfo, title: str) -> Figure:
    """The figure, not yet written; an empty title is left out."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.add_subplot()
    if title:
        axes.set_title(textwrap.fill(literal(title), _TITLE_WIDTH), fontsize=10, loc="left")
    axes.set_xlabel(literal(content.x_label, 60))
    axes.set_ylabel(literal(content.y_label, 48))
    axes.set_ylim(*content.limits)
    # Past the last value, so that no bar touches the frame; 0.5 where a single value gives no width.
    margin = 0.06 * (max(content.positions) - min(content.positions)) or 0.5
    axes.set_xlim(min(content.positions) - margin, max(content.positions) + margin)
    axes.set_xticks(content.positions, [literal(tick, _TICK_LENGTH) for tick in content.ticks])
    if content.slanted:
        for tick in axes.get_xticklabels():
            tick.set(rotation=30, horizontalalignment="right", rotation_mode="anchor")
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _draw_references(axes, content)
    _draw_curve(axes, content)
    figure.supxlabel(textwrap.fill(content.note, _NOTE_WIDTH), fontsize=7, color="0.35")
    return figure


def draw(content: CurveInfo, path: Path, title: str) -> list[Path]:
    """Write the figure as PNG (200 dots per inch) and as PDF beside it. Returns both paths.

    Raises:
        ValueError: a path that does not end in `.png`.
    """
    return save(compose(content, title), path)


def _note(grid: pd.DataFrame) -> str:
    said = "Bars: 95 % interval of the mean (Student's t). Dots beside them: each seed."
    if not (grid["count"] > 1).any():
        said = "One value each: the spread between seeds is unknown."
    if (grid["count"] < grid["planned"]).any():
        said += " 4/5 at the foot: values there, of those planned."
    return f"{said} Planned: {num_seeds(grid)}."


def _cut(table: pd.DataFrame, axis: str, at: dict[str, AxisValue]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The lines of the grid along one axis, and the references that go with them."""
    labels = label_columns(table)
    if axis not in labels:
        raise ValueError(f"axis {axis!r} is unknown; the summary has {', '.join(labels) or 'none'}")
    if unknown := sorted(at.keys() - set(labels)):
        raise ValueError(f"axis {unknown[0]!r} is unknown; the summary has {', '.join(labels)}")
    kept = table
    for other in labels:
        if other == axis:
            continue
        there = [content for value in kept[other].unique() if (content := plain(value)) is not None]
        if other in at:
            wanted = spelled(at[other])
            if wanted not in map(spelled, there):
                raise ValueError(f"{other} is {wanted}; the summary has {', '.join(map(spelled, there))}")
            kept = kept[[plain(v) is None or spelled(plain(v)) == wanted for v in kept[other]]]
        elif len(there) > 1:
            raise ValueError(f"axis {other} is open; choose one of {', '.join(map(spelled, there))}")
    in_grid = kept["reference"] == ""
    grid = kept[in_grid]
    if not (grid["count"] > 0).any():
        raise ValueError(f"sweep {table.attrs['sweep']}: no point of the grid has a value, so there is nothing to draw")
    return grid, kept[~in_grid]


def _references(known: pd.DataFrame, limits: tuple[float, float]) -> tuple[ReferenceLine, ...]:
    low, high = limits
    lines = known.to_dict("records")
    means = [100 * line["mean"] for line in lines]
    heights = [min(max(mean, low), high) for mean in means]
    gap = _LABEL_GAP * (high - low)
    placed = spread(heights, gap, low, high)
    found = []
    for line, mean, height in zip(lines, means, placed, strict=True):
        arrow = " ↓" if mean < low else " ↑" if mean > high else ""
        around = f" ± {100 * line['half_width']:.1f}" if line["count"] > 1 else ""
        short = f", n = {line['count']}/{line['planned']}" if line["count"] < line["planned"] else ""
        found.append(
            ReferenceLine(
                name=line["reference"],
                mean=mean,
                low=100 * line["low"],
                high=100 * line["high"],
                count=int(line["count"]),
                shown=not arrow,
                label=f"{line['reference']} {mean:.1f}{around}{short}{arrow}",
                label_at=height,
            )
        )
    return tuple(found)


def _draw_curve(axes: Axes, content: CurveInfo) -> None:
    # Beside the bar, which would hide them.
    beside = 0.018 * (axes.get_xlim()[1] - axes.get_xlim()[0])
    for x, values in zip(content.positions, content.values, strict=True):
        if len(values) > 1:
            at = [x + beside] * len(values)
            axes.plot(at, values, "o", color=_CURVE, alpha=0.35, markersize=4, markeredgewidth=0, zorder=3)
    there = [i for i, count in enumerate(content.counts) if count > 0]
    # Words have no order in which a line could lead from one to the next, and a gap is not bridged.
    if not isinstance(content.xs[0], str):
        axes.plot(content.positions, content.means, "-", color=_CURVE, linewidth=1.2, zorder=4)
    for i in there:
        x, mean = content.positions[i], content.means[i]
        if content.counts[i] > 1:
            arms = [[mean - content.lows[i]], [content.highs[i] - mean]]
            axes.errorbar(x, mean, yerr=arms, color=_CURVE, capsize=3, elinewidth=1.2, zorder=5)
        axes.plot(x, mean, "o", color=_CURVE, markersize=6, markeredgecolor="white", zorder=6)
    for x, count, planned in zip(content.positions, content.counts, content.planned, strict=True):
        if count < planned:
            # At the foot of the figure, where no curve comes between the mark and its axis value.
            foot = (x, content.limits[0])
            axes.annotate(
                f"{count}/{planned}", foot, (0, 3), textcoords="offset points", ha="center", fontsize=_LABEL_SIZE
            )


def _draw_references(axes: Axes, content: CurveInfo) -> None:
    """Lines across the figure; their names to the right of it, joined by a thin leader where they had to move."""
    right = axes.get_xlim()[1]
    for line, dashes in zip(content.references, itertools.cycle(_DASHES)):
        edge = min(max(line.mean, content.limits[0]), content.limits[1])
        if line.shown:
            axes.axhline(line.mean, color=_REFERENCE, linestyle=dashes, linewidth=1.1, zorder=2)
            # More bands would cover one another; the labels hold the intervals of all.
            if line.count > 1 and len(content.references) <= _MOST_BANDS:
                axes.axhspan(line.low, line.high, color=_REFERENCE, alpha=0.08, linewidth=0, zorder=1)
        axes.annotate(
            literal(line.label, _LABEL_LENGTH),
            xy=(right, edge),
            xytext=(1.04, line.label_at),
            textcoords=("axes fraction", "data"),
            fontsize=_LABEL_SIZE,
            color=_REFERENCE,
            va="center",
            annotation_clip=False,
            arrowprops={**_LEADER, "color": "0.6"},
        )
    if content.absent:
        axes.annotate(
            literal(f"without a value: {', '.join(content.absent)}", _TITLE_WIDTH),
            xy=(0.995, 0.985),
            xycoords="axes fraction",
            ha="right",
            va="top",
            fontsize=7,
            color="0.35",
        )
