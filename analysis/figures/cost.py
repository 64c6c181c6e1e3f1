"""Figure 1: accuracy against training time, one mark a method, with intervals both ways.

`info` decides what is shown and is pure; `compose` and `draw` only put it on paper.
"""

import itertools
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from analysis.layout import spread
from analysis.paper import PALETTE, literal, save
from analysis.statistics import interval

# One fewer than there are colours, so that pairs of the two repeat late.
_MARKERS = ("o", "s", "^", "D", "v", "P")
_UNITS = ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
# Times further apart than this factor are drawn on a logarithmic scale.
_WIDE = 30.0


@dataclass(frozen=True, kw_only=True)
class Method:
    """What is known of one method.

    Attributes:
        name: of it.
        values: its numbers, fractions.
        seconds: of training behind each number, everything that was trained for it included.
    """

    name: str
    values: Sequence[float]
    seconds: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One method in the figure: times in the unit of the figure, numbers in per cent; NaN below two values.

    Attributes:
        name: of it.
        time: mean.
        time_half_width: of its 95 % interval.
        value: mean.
        half_width: of its 95 % interval.
        count: numbers.
    """

    name: str
    time: float
    time_half_width: float
    value: float
    half_width: float
    count: int


@dataclass(frozen=True, kw_only=True)
class CostInfo:
    """What the figure shows.

    Attributes:
        marks: one a method, the fastest first.
        unit: of the times.
        logarithmic: whether times are.
        limits: lowest and highest per cent.
        y_label: of the numbers.
        note: what the times are, and where they were taken.
    """

    marks: tuple[Mark, ...]
    unit: str
    logarithmic: bool
    limits: tuple[float, float]
    y_label: str
    note: str


def info(methods: Sequence[Method], y_label: str, devices: Sequence[str]) -> CostInfo:
    """What a figure of these methods shows; one without a number, or without any training, is left out.

    Args:
        methods: what is compared.
        y_label: of the numbers.
        devices: where they were trained.

    Raises:
        ValueError: a method with other than one time a number, or nothing to show.
    """
    for method in methods:
        if len(method.values) != len(method.seconds):
            raise ValueError(
                f"{method.name}: {len(method.seconds)} times; allowed: one for each of {len(method.values)} numbers"
            )
    known = [method for method in methods if method.values and min(method.seconds) > 0]
    if not known:
        raise ValueError("no method has both a number and a training time, so there is nothing to draw")
    longest = max(max(method.seconds) for method in known)
    scale, unit = next(((s, u) for s, u in _UNITS if longest >= 2 * s), _UNITS[-1])
    marks = sorted((_mark(method, scale) for method in known), key=lambda mark: mark.time)
    ends = [end for m in marks for end in (m.value - (_or_zero(m.half_width)), m.value + _or_zero(m.half_width))]
    room = max(0.1 * (max(ends) - min(ends)), 0.5)
    where = ", ".join(sorted(set(devices))) or "an unknown device"
    return CostInfo(
        marks=tuple(marks),
        unit=unit,
        logarithmic=marks[-1].time > _WIDE * marks[0].time,
        limits=(min(ends) - room, max(ends) + room),
        y_label=y_label,
        note=f"Time: seconds of every training stage behind the number, as measured on {where}. "
        f"Bars: 95 % intervals (Student's t).",
    )


def compose(content: CostInfo, title: str) -> Figure:
    """The figure, not yet written; an empty title is left out."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    if title:
        axes.set_title(textwrap.fill(literal(title), 78), fontsize=10, loc="left")
    axes.set_xlabel(f"training time ({content.unit})")
    axes.set_ylabel(literal(content.y_label, 48))
    if content.logarithmic:
        axes.set_xscale("log")
    axes.set_ylim(*content.limits)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    styles = zip(itertools.cycle(_MARKERS), itertools.cycle(PALETTE))
    heights = spread([mark.value for mark in content.marks], _gap(content), *content.limits)
    for mark, height, (marker, colour) in zip(content.marks, heights, styles, strict=False):
        axes.errorbar(
            mark.time,
            mark.value,
            xerr=None if math.isnan(mark.time_half_width) else min(mark.time_half_width, 0.99 * mark.time),
            yerr=None if math.isnan(mark.half_width) else mark.half_width,
            marker=marker,
            color=colour,
            markersize=6,
            markeredgecolor="white",
            capsize=2.5,
            elinewidth=1,
        )
        axes.annotate(
            f"{literal(mark.name, 32)} {mark.value:.1f}",
            xy=(mark.time, mark.value),
            xytext=(1.03, height),
            textcoords=("axes fraction", "data"),
            fontsize=8,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": colour, "shrinkB": 5, "relpos": (0, 0.5)},
        )
    figure.supxlabel(textwrap.fill(literal(content.note), 110), fontsize=7, color="0.35")
    return figure


def draw(content: CostInfo, path: Path, title: str) -> list[Path]:
    """Write the figure as PNG and as PDF beside it; returns both paths. Raises ValueError for another ending."""
    return save(compose(content, title), path)


def _mark(method: Method, scale: float) -> Mark:
    value = interval([100 * number for number in method.values])
    time = interval([seconds / scale for seconds in method.seconds])
    return Mark(
        name=method.name,
        time=time.mean,
        time_half_width=time.half_width,
        value=value.mean,
        half_width=value.half_width,
        count=value.count,
    )


def _or_zero(number: float) -> float:
    return 0.0 if math.isnan(number) else number


def _gap(content: CostInfo) -> float:
    """One line of a label, in per cent of the numbers: labels of 8 points on axes about three inches high."""
    return 1.35 * 8 / 72 / 3.0 * (content.limits[1] - content.limits[0])
