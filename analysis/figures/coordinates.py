"""Parallel coordinates of a search: every trial a line through its settings to its value.

`info` decides what is shown and is pure; `compose` and `draw` only put it on paper.
"""

import math
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from analysis.choice import spelled
from analysis.load import plain
from analysis.paper import literal, save
from analysis.search import AXIS, axes, described, value_name
from stars.sweep import AxisValue

# Values further apart than this factor are drawn on a logarithmic scale.
_WIDE = 20.0
# From low to high; every shade shows on white and on black, and the ends differ for every kind of colour vision.
_SHADES = LinearSegmentedColormap.from_list("values", ("#E69F00", "#56B4E9", "#0072B2"))


@dataclass(frozen=True, kw_only=True)
class Coordinate:
    """One upright: its name, and ticks as height in [0, 1] and text; `logarithmic` where its heights are."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One line: its number, its height at every upright (NaN where the axis does not exist), and its value.

    Attributes:
        number: as in the journal.
        heights: in [0, 1].
        value: per cent.
        whole: whether it was trained in full.
    """

    number: int
    heights: tuple[float, ...]
    value: float
    whole: bool


@dataclass(frozen=True, kw_only=True)
class CoordinatesInfo:
    """What the figure shows: the uprights, the value last; and the trials, the best last, so that it lies on top."""

    coordinates: tuple[Coordinate, ...]
    trials: tuple[Trial, ...]
    note: str


def info(frame: pd.DataFrame) -> CoordinatesInfo:
    """What a figure of the trials that `analysis.search.trials` returned shows.

    Raises:
        ValueError: no trial has a value yet.
    """
    last = frame[frame["value"].notna()].groupby("trial", sort=True).last().reset_index()
    last = last[last["state"].isin(["finished", "stopped"])]
    if last.empty:
        raise ValueError(f"search {frame.attrs['study']}: no trial has a value yet, so there is nothing to draw")
    values = [100 * float(value) for value in last["value"]]
    columns = [_column(name, [plain(v) for v in last[f"{AXIS}{name}"]]) for name in axes(frame)]
    columns.append(_column(f"{value_name(frame.attrs)} (%)", list(values), logarithmic=False))
    heights = zip(*(column for _, column in columns), strict=True)
    trials = [
        Trial(number=int(number), heights=tuple(line), value=value, whole=state == "finished")
        for number, line, value, state in zip(last["trial"], heights, values, last["state"], strict=True)
    ]
    sign = 1 if frame.attrs["greater_is_better"] else -1
    return CoordinatesInfo(
        coordinates=tuple(coordinate for coordinate, _ in columns),
        trials=tuple(sorted(trials, key=lambda trial: (trial.whole, sign * trial.value))),
        note="Every line is a trial; coloured: trained in full, from orange (low) to blue (high); grey: stopped early, "
        "with the value it had there. A line is broken where the axis does not exist. Thick: the best.",
    )


def compose(content: CoordinatesInfo, title: str) -> Figure:
    """The figure, not yet written; an empty title is left out."""
    count = len(content.coordinates)
    figure = Figure(figsize=(max(1.5 * count, 6.4), 4.0), layout="constrained")
    if title:
        figure.suptitle(textwrap.fill(literal(title), 90), fontsize=10, x=0.01, horizontalalignment="left")
    picture = figure.add_subplot()
    picture.set(xlim=(-0.3, count - 0.6), ylim=(-0.05, 1.05), yticks=[])
    names = [
        textwrap.fill(literal(c.name, 48), 16) + ("\n(logarithmic)" if c.logarithmic else "")
        for c in content.coordinates
    ]
    picture.set_xticks(range(count), names, fontsize=8)
    picture.tick_params(length=0)
    picture.spines[:].set_visible(False)
    for i, coordinate in enumerate(content.coordinates):
        picture.axvline(i, color="0.35", linewidth=0.8, zorder=5)
        for height, text in coordinate.ticks:
            halo = {"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
            picture.text(i + 0.03, height, literal(text, 18), fontsize=7, va="center", zorder=6, bbox=halo)
    whole = [trial.value for trial in content.trials if trial.whole]
    norm = Normalize(min(whole, default=0), max(whole, default=1) + 1e-9)
    for trial in content.trials:
        best = trial is content.trials[-1]
        colour = _SHADES(float(norm(trial.value))) if trial.whole else "0.75"
        width = 2.6 if best and trial.whole else 1.0
        xs = range(count)
        picture.plot(xs, trial.heights, color=colour, linewidth=width, alpha=0.85, marker="o", markersize=2.5)
    figure.supxlabel(textwrap.fill(content.note, 120), fontsize=7, color="0.35")
    return figure


def draw(content: CoordinatesInfo, path: Path, title: str) -> list[Path]:
    """Write the figure as PNG and as PDF beside it; returns both paths. Raises ValueError for another ending."""
    return save(compose(content, title), path)


def _column(
    name: str, values: list[AxisValue | None], *, logarithmic: bool = True
) -> tuple[Coordinate, tuple[float, ...]]:
    """An upright and the height of every value on it."""
    given = [value for value in values if value is not None]
    numbers = [float(v) for v in given if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if given and len(numbers) == len(given):
        wide = logarithmic and min(numbers) > 0 and max(numbers) > _WIDE * min(numbers)
        place = math.log10 if wide else float
        low, high = place(min(numbers)), place(max(numbers))
        span = high - low or 1.0
        heights = tuple(math.nan if v is None else (place(float(v)) - low) / span for v in values)
        ticks = tuple(((place(at) - low) / span, described(at)) for at in _ticks(given, low, high, wide=wide))
        return Coordinate(name=name, ticks=ticks, logarithmic=wide), heights
    words = list(dict.fromkeys(map(spelled, given)))
    span = max(len(words) - 1, 1)
    at_word = {word: i / span for i, word in enumerate(words)}
    heights = tuple(math.nan if v is None else at_word[spelled(v)] for v in values)
    return Coordinate(name=name, ticks=tuple((h, w) for w, h in at_word.items()), logarithmic=False), heights


def _ticks(given: list[AxisValue], low: float, high: float, *, wide: bool) -> list[float]:
    """Five values between two heights, rounded; of whole numbers those that are whole."""
    between = np.linspace(low, high, 5)
    values = [float(f"{10**at if wide else at:.3g}") for at in between.tolist()]
    if all(isinstance(value, int) for value in given):
        values = [float(round(value)) for value in values]
    return list(dict.fromkeys(values))
