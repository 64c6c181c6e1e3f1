"""The course of a search: values against trials with the best so far, and which axes mattered.

`info` decides what is shown and is pure; `compose` and `draw` only put it on paper.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.paper import literal, save
from analysis.search import value_name

# Okabe and Ito: blue for what was trained in full, orange for the best, distinct for every kind of colour vision.
_WHOLE, _BEST, _LESS = "#0072B2", "#D55E00", "0.55"
_WIDTH, _HEIGHT = 8.4, 3.8
_TITLE_WIDTH, _NOTE_WIDTH = 100, 150
# Tukey's fence: a stopped trial further out than this many quartile distances would flatten the others; it is drawn at
# the edge.
_FENCE = 1.5


@dataclass(frozen=True, kw_only=True)
class SearchInfo:
    """What the figure shows. Heights are per cent; trials are numbered as in the journal, from 0, and may have gaps.

    Attributes:
        whole: trial and value of each that was trained in full.
        stopped: trial, value and epochs of each that was stopped.
        failed: the trials that failed.
        best: trial and value at each step of the best so far.
        limits: lowest and highest per cent of the left part.
        beyond: how many stopped trials lie outside the limits and are drawn at the edge.
        importances: axis and per cent, the greatest first; empty where they are unknown.
        unknown: why they are.
        last: number of the last trial, of any kind.
        y_label: of the values.
        note: what the marks mean.
    """

    whole: tuple[tuple[int, float], ...]
    stopped: tuple[tuple[int, float, int], ...]
    failed: tuple[int, ...]
    best: tuple[tuple[int, float], ...]
    limits: tuple[float, float]
    beyond: int
    importances: tuple[tuple[str, float], ...]
    unknown: str
    last: int
    y_label: str
    note: str


def info(frame: pd.DataFrame) -> SearchInfo:
    """What a figure of the trials that `analysis.search.trials` returned shows.

    Raises:
        ValueError: no trial has a value yet.
    """
    last = frame.groupby("trial", sort=True).last().reset_index()
    whole, stopped = [], []
    for row in last.to_dict("records"):
        at = int(row["trial"])
        if row["state"] == "finished":
            whole.append((at, 100 * row["value"]))
        elif row["state"] == "stopped":
            stopped.append((at, 100 * row["value"], int(row["horizon"])))
    if not whole and not stopped:
        raise ValueError(f"search {frame.attrs['study']}: no trial has a value yet, so there is nothing to draw")
    greater = bool(frame.attrs["greater_is_better"])
    best: list[tuple[int, float]] = []
    for at, value in whole:
        if not best or (value > best[-1][1] if greater else value < best[-1][1]):
            best.append((at, value))
    limits = _limits([v for _, v in whole], [v for _, v, _ in stopped])
    importances = sorted(frame.attrs["importances"].items(), key=lambda item: (-item[1], item[0]))
    return SearchInfo(
        whole=tuple(whole),
        stopped=tuple(stopped),
        failed=tuple(int(number) for number in last.loc[last["state"] == "failed", "trial"]),
        best=tuple(best),
        limits=limits,
        beyond=sum(not limits[0] <= value <= limits[1] for _, value, _ in stopped),
        importances=tuple((axis, 100 * share) for axis, share in importances),
        unknown="" if importances else " ".join(frame.attrs["notes"]),
        last=int(last["trial"].max()),
        y_label=f"{value_name(frame.attrs)} (%)",
        note=_note(frame),
    )


def compose(content: SearchInfo, title: str) -> Figure:
    """The figure, not yet written; an empty title is left out."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    if title:
        figure.suptitle(textwrap.fill(literal(title), _TITLE_WIDTH), fontsize=10, x=0.01, horizontalalignment="left")
    left, right = figure.subplots(1, 2, width_ratios=(1.7, 1))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    _draw_trials(left, content)
    _draw_importances(right, content)
    figure.supxlabel(textwrap.fill(content.note, _NOTE_WIDTH), fontsize=7, color="0.35")
    return figure


def draw(content: SearchInfo, path: Path, title: str) -> list[Path]:
    """Write the figure as PNG (200 dots per inch) and as PDF beside it. Returns both paths.

    Raises:
        ValueError: a path that does not end in `.png`.
    """
    return save(compose(content, title), path)


def _limits(whole: list[float], stopped: list[float]) -> tuple[float, float]:
    """A range that holds all that was trained in full, and the stopped ones near it."""
    quarter, half, rest = np.quantile([*whole, *stopped], (0.25, 0.5, 0.75))
    # At least one point, so that trials that are nearly equal do not fence each other out.
    reach = _FENCE * max(rest - quarter, 1.0)
    near = [value for value in stopped if quarter - reach <= value <= rest + reach]
    shown = [*whole, *near] or [half]
    low, high = float(min(shown)), float(max(shown))
    room = max(0.08 * (high - low), 0.5)
    return low - room, high + room


def _note(frame: pd.DataFrame) -> str:
    epochs = frame.attrs["horizons"]
    early = " or ".join(map(str, epochs[:-1]))
    said = f"Filled: trained in full ({epochs[-1]} epochs). Line: the best of these so far."
    if early:
        said += f" Hollow: stopped after {early} epochs, with the value it had there; triangle: further out."
    said += " Cross: failed. Values: mean over the seeds, on the validation data."
    return said + " Importance: fANOVA, among those trained in full."


def _draw_trials(axes: Axes, content: SearchInfo) -> None:
    low, high = content.limits
    axes.set_title("Trials", fontsize=9, loc="left")
    axes.set_xlabel("trial")
    axes.set_ylabel(literal(content.y_label, 48))
    axes.set_ylim(low, high)
    axes.set_xlim(-0.5 - 0.02 * content.last, content.last + 0.5 + 0.02 * content.last)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    for at, value, _ in content.stopped:
        marker = "o" if low <= value <= high else "v" if value < low else "^"
        height = min(max(value, low), high)
        axes.plot(at, height, marker, color=_LESS, markersize=4.5, fillstyle="none", clip_on=False, zorder=3)
    for at, value in content.whole:
        axes.plot(at, value, "o", color=_WHOLE, markersize=6, markeredgecolor="white", zorder=5)
    for at in content.failed:
        axes.plot(at, low, "x", color="black", markersize=5, clip_on=False, zorder=6)
    if content.best:
        xs, ys = zip(*content.best, (content.last, content.best[-1][1]), strict=True)
        axes.step(xs, ys, where="post", color=_BEST, linewidth=1.4, zorder=4)
        at, value = content.best[-1]
        axes.plot(at, value, "o", color=_BEST, markersize=7, markeredgecolor="white", zorder=7)
        axes.annotate(
            f"{value:.1f} (trial {at})",
            (at, value),
            (0, 6),
            textcoords="offset points",
            ha="left" if at < content.last / 2 else "right",
            fontsize=8,
            color=_BEST,
        )


def _draw_importances(axes: Axes, content: SearchInfo) -> None:
    axes.set_title("Importance", fontsize=9, loc="left")
    if not content.importances:
        axes.set_axis_off()
        axes.text(0, 0.95, textwrap.fill(literal(content.unknown), 34), fontsize=8, va="top", transform=axes.transAxes)
        return
    names = [axis for axis, _ in content.importances]
    shares = [share for _, share in content.importances]
    heights = range(len(names))
    axes.barh(heights, shares, color=_WHOLE, height=0.6)
    axes.set_yticks(heights, [literal(name, 32) for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("share (%)")
    axes.set_xlim(0, 1.15 * max(shares))
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    for height, share in zip(heights, shares, strict=True):
        axes.annotate(f"{share:.0f}", (share, height), (3, 0), textcoords="offset points", va="center", fontsize=8)
