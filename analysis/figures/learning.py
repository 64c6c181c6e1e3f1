"""Learning curves: the loss of every epoch, thin for each seed and thick for their mean.

`info` decides what is shown and is pure; `compose` and `draw` only put it on paper.
"""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.paper import PALETTE, literal, save

Losses = Float[npt.NDArray[np.float64], " epoch"]
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)))
MOST_LINES = len(PALETTE)


@dataclass(frozen=True, kw_only=True)
class Line:
    """One condition: its name, the loss of every epoch by seed, and their mean as far as the shortest reaches."""

    name: str
    seeds: tuple[tuple[float, ...], ...]
    mean: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class LearningInfo:
    """What the figure shows.

    Attributes:
        panels: lines by the kind of stage that was trained.
        note: what the lines are, and which conditions are left out.
    """

    panels: tuple[tuple[str, tuple[Line, ...]], ...]
    note: str


def info(stages: Mapping[str, Mapping[str, Sequence[Losses]]]) -> LearningInfo:
    """What a figure of these losses shows.

    Of more conditions than can be told apart, as many as can are shown, evenly taken in their order.

    Args:
        stages: losses by kind of stage and condition, one array a seed.

    Raises:
        ValueError: no loss, or one that is not finite.
    """
    panels, left_out = [], 0
    for kind, conditions in stages.items():
        held = {name: curves for name, curves in conditions.items() if curves and all(map(len, curves))}
        for name, curves in held.items():
            if not all(np.isfinite(curve).all() for curve in curves):
                raise ValueError(f"{kind}, {name}: a loss is not finite; allowed: finite losses")
        names = list(held)
        if len(names) > MOST_LINES:
            kept = np.linspace(0, len(names) - 1, MOST_LINES).round().astype(int)
            left_out += len(names) - MOST_LINES
            names = [names[i] for i in kept]
        if names:
            panels.append((kind, tuple(_line(name, held[name]) for name in names)))
    if not panels:
        raise ValueError("no stage left a learning curve, so there is nothing to draw")
    several = any(len(line.seeds) > 1 for _, lines in panels for line in lines)
    note = "Thick: mean over the seeds; thin: each seed." if several else "One run each."
    if left_out:
        note += f" {left_out} conditions in between are not shown."
    return LearningInfo(panels=tuple(panels), note=f"Mean loss of every epoch. {note}")


def compose(content: LearningInfo, title: str) -> Figure:
    """The figure, not yet written; an empty title is left out."""
    figure = Figure(figsize=(max(3.9 * len(content.panels), 5.2), 3.4), layout="constrained")
    if title:
        figure.suptitle(textwrap.fill(literal(title), 90), fontsize=10, x=0.01, horizontalalignment="left")
    for axes, (kind, lines) in zip(
        figure.subplots(1, len(content.panels), squeeze=False).flat, content.panels, strict=True
    ):
        axes.set_title(literal(kind, 48), fontsize=9, loc="left")
        axes.set_xlabel("epoch")
        axes.set_ylabel("loss")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(axis="y", color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        for line, colour, dashes in zip(lines, PALETTE, itertools.cycle(_DASHES), strict=False):
            if len(line.seeds) > 1:
                for losses in line.seeds:
                    axes.plot(range(1, len(losses) + 1), losses, color=colour, alpha=0.3, linewidth=0.6)
            # A single epoch is a point, which a line without marks would not show.
            mark = "o" if len(line.mean) == 1 else None
            xs = range(1, len(line.mean) + 1)
            look = {"marker": mark, "linestyle": dashes, "color": colour, "linewidth": 1.6}
            axes.plot(xs, line.mean, **look, label=literal(line.name, 32))
        if len(lines) > 1:
            axes.legend(fontsize=7, frameon=False)
    figure.supxlabel(textwrap.fill(content.note, 110), fontsize=7, color="0.35")
    return figure


def draw(content: LearningInfo, path: Path, title: str) -> list[Path]:
    """Write the figure as PNG and as PDF beside it; returns both paths. Raises ValueError for another ending."""
    return save(compose(content, title), path)


def _line(name: str, curves: Sequence[Losses]) -> Line:
    shortest = min(map(len, curves))
    mean = np.mean([curve[:shortest] for curve in curves], axis=0)
    return Line(name=name, seeds=tuple(tuple(curve.tolist()) for curve in curves), mean=tuple(mean.tolist()))
