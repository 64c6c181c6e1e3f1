"""Figure 6: which class is taken for which. Every row is a class, its cells say where its samples went.

`info` decides what is shown and is pure; `compose` and `draw` only put it on paper.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure

from analysis.paper import literal, save

# From nothing to blue: a cell without samples has the colour of the paper, on a dark page too.
_RAMP = LinearSegmentedColormap.from_list("share", [(*(0.0, 0.447, 0.698), 0.0), (*(0.0, 0.447, 0.698), 1.0)])
# Small shares, which are what a reader looks for, are drawn stronger than in proportion.
_GAMMA = 0.6
# Inches for a cell, for the names beside it and below it (by character), and around.
_CELL, _LEAST, _CHARACTER, _AROUND = 0.155, 2.0, 0.055, 1.1
_LONGEST = 32
# Above so many classes a number does not fit into its cell.
_MOST_WRITTEN = 20
_MOST_PAIRS = 10


@dataclass(frozen=True, kw_only=True)
class ConfusionInfo:
    """What the figure shows. Classes that have no sample and are never predicted are left out.

    Attributes:
        classes: names, in order.
        shares: per cent of the samples of the row's class that are taken for the column's; a row adds up to 100, or is
            NaN where the class has no sample.
        counts: samples of each class, over all runs.
        accuracy: per cent of all samples on the diagonal.
        pairs: true class, predicted class and per cent of the greatest confusions, the greatest first.
        num_runs: probes whose predictions were added up.
        note: what the figure says, in words.
    """

    classes: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    counts: tuple[int, ...]
    accuracy: float
    pairs: tuple[tuple[str, str, float], ...]
    num_runs: int
    note: str


def info(
    runs: Sequence[tuple[Int[npt.NDArray[np.int64], " sample"], Int[npt.NDArray[np.int64], " sample"]]],
    names: Sequence[str],
) -> ConfusionInfo:
    """What a figure of these predictions shows.

    Args:
        runs: labels and predicted classes, from 0, of every probe (one a seed); their samples are added up.
        names: of all classes, in order.

    Raises:
        ValueError: no sample, labels and predictions of different lengths, or a class without a name.
    """
    size = len(names)
    matrix = np.zeros((size, size), dtype=np.int64)
    for labels, predicted in runs:
        if labels.shape != predicted.shape:
            raise ValueError(f"{len(predicted)} predictions; allowed: as many as there are labels, {len(labels)}")
        for part in (labels, predicted):
            if len(part) and not 0 <= part.min() <= part.max() < size:
                raise ValueError(f"classes are {part.min()} to {part.max()}; allowed: 0 to {size - 1}, as named")
        np.add.at(matrix, (labels, predicted), 1)
    if matrix.sum() == 0:
        raise ValueError("no sample was predicted, so there is nothing to draw")
    there = np.flatnonzero(matrix.sum(axis=0) + matrix.sum(axis=1))
    matrix = matrix[np.ix_(there, there)]
    classes = tuple(names[i] for i in there.tolist())
    counts = matrix.sum(axis=1)
    shares = 100 * matrix / np.where(counts, counts, np.nan)[:, None]
    seeds = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    return ConfusionInfo(
        classes=classes,
        shares=tuple(map(tuple, shares.tolist())),
        counts=tuple(counts.tolist()),
        accuracy=100 * float(np.trace(matrix) / matrix.sum()),
        pairs=_pairs(classes, shares),
        num_runs=len(runs),
        note=f"Rows: true class, adding up to 100 %. Columns: predicted class. {matrix.sum()} predictions of {seeds}.",
    )


def compose(content: ConfusionInfo, title: str) -> Figure:
    """The figure, not yet written; an empty title is left out."""
    size = len(content.classes)
    names = [literal(name, _LONGEST) for name in content.classes]
    beside = _CHARACTER * max(map(len, names))
    edge = max(_CELL * size, _LEAST)
    figure = Figure(figsize=(edge + beside + _AROUND + 0.6, edge + beside + _AROUND), layout="constrained")
    axes = figure.add_subplot()
    if title:
        axes.set_title(textwrap.fill(literal(title), 90), fontsize=10, loc="left")
    shares = np.array(content.shares)
    image = axes.imshow(np.nan_to_num(shares), cmap=_RAMP, norm=PowerNorm(_GAMMA, 0, 100), interpolation="nearest")
    size_of_names = 7 if size <= 30 else 6
    axes.set_xticks(range(size), names, rotation=90, fontsize=size_of_names)
    axes.set_yticks(range(size), names, fontsize=size_of_names)
    axes.tick_params(length=0)
    axes.set_xlabel("predicted", fontsize=8)
    axes.set_ylabel("true", fontsize=8)
    between = np.arange(1, size) - 0.5
    # Every fifth line is stronger: the eye finds its way back to the name.
    for lines, grey, width in ((between, "0.9", 0.4), (between[4::5], "0.6", 0.5)):
        axes.hlines(lines, -0.5, size - 0.5, color=grey, linewidth=width)
        axes.vlines(lines, -0.5, size - 0.5, color=grey, linewidth=width)
    if size <= _MOST_WRITTEN:
        _write_shares(axes, shares)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
    bar.set_label("% of the true class", fontsize=8)
    bar.ax.tick_params(labelsize=7)
    figure.supxlabel(textwrap.fill(content.note, 110), fontsize=7, color="0.35")
    return figure


def draw(content: ConfusionInfo, path: Path, title: str) -> list[Path]:
    """Write the figure as PNG and as PDF beside it; returns both paths. Raises ValueError for another ending."""
    return save(compose(content, title), path)


def _pairs(classes: Sequence[str], shares: Float[npt.NDArray[np.float64], "c c"]) -> tuple[tuple[str, str, float], ...]:
    off = np.nan_to_num(shares, copy=True)
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:_MOST_PAIRS]
    found = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, off.shape), strict=True)]
    return tuple((classes[i], classes[j], float(off[i, j])) for i, j in found if off[i, j] > 0)


def _write_shares(axes: Axes, shares: Float[npt.NDArray[np.float64], "c c"]) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.5:
            colour = "#fdfdfe" if share > 45 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=5, color=colour)
