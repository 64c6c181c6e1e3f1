"""Figure 4: features of several methods in two dimensions by t-SNE, the same classes in the same colours everywhere.

`sample` chooses what is shown, `info` computes where it stands and both are pure; `compose` and `draw` only put it on
paper.
"""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.paper import PALETTE, literal, save

# Seven colours times these: classes are told apart by form too.
_MARKERS = ("o", "^", "s", "X", "D")
_MOST_CLASSES = len(PALETTE) * len(_MARKERS)
_PANEL = 3.1


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One method. `points` holds x and y of every sample, scaled into [0, 1]; `classes` its class, as in the legend."""

    name: str
    points: tuple[tuple[float, float], ...]
    classes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class EmbeddingInfo:
    """What the figure shows.

    Attributes:
        classes: names of those that are shown.
        panels: one a method.
        note: how it was made.
    """

    classes: tuple[str, ...]
    panels: tuple[Panel, ...]
    note: str


def sample(
    labels: Int[npt.NDArray[np.int64], " sample"], seed: int, num_classes: int = 15, num_samples: int = 100
) -> Int[npt.NDArray[np.int64], " shown"]:
    """Indices of the samples to show: of some classes, up to so many of each, drawn from a seed; ascending.

    Args:
        labels: class of every sample.
        seed: of the choice.
        num_classes: how many; the paper shows 15 (figure 4).
        num_samples: the most of each.

    Raises:
        ValueError: more classes than can be told apart, or less than one sample.
    """
    if not 1 <= num_classes <= _MOST_CLASSES:
        raise ValueError(f"num_classes is {num_classes}; allowed: 1 to {_MOST_CLASSES}, which can be told apart")
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; allowed: 1 or more")
    generator = np.random.default_rng(seed)
    there = np.unique(labels)
    chosen = np.sort(generator.permutation(there)[:num_classes])
    found = [np.sort(generator.permutation(np.flatnonzero(labels == label))[:num_samples]) for label in chosen]
    return np.sort(np.concatenate(found)).astype(np.int64)


def info(
    methods: Mapping[str, Float[npt.NDArray[np.float32], "sample width"]],
    labels: Int[npt.NDArray[np.int64], " sample"],
    names: Sequence[str],
    seed: int,
) -> EmbeddingInfo:
    """Where every sample stands in every panel.

    Args:
        methods: features of the same samples by method; their widths may differ.
        labels: class of every sample.
        names: of all classes, in order.
        seed: of t-SNE.

    Raises:
        ValueError: no method, fewer than five samples, or features of other samples than the labels.
    """
    # Takes a second to import, and nothing else needs it.
    from sklearn.manifold import TSNE

    if not methods or len(labels) < 5:
        raise ValueError(f"{len(methods)} methods and {len(labels)} samples; allowed: one and five, or more")
    shown = np.unique(labels)
    if len(shown) > _MOST_CLASSES:
        raise ValueError(f"{len(shown)} classes; allowed: up to {_MOST_CLASSES}, which can be told apart")
    classes = tuple(np.searchsorted(shown, labels).tolist())
    # As many neighbours as scikit-learn takes by itself, fewer where there are few samples.
    perplexity = min(30.0, (len(labels) - 1) / 3)
    panels = []
    for name, features in methods.items():
        if len(features) != len(labels):
            raise ValueError(f"{name} has features of {len(features)} samples; allowed: of the {len(labels)} labelled")
        reducer = TSNE(perplexity=perplexity, init="pca", random_state=seed)
        points = reducer.fit_transform(features.astype(np.float64))
        low, high = points.min(axis=0), points.max(axis=0)
        points = (points - low) / np.where(high > low, high - low, 1)
        panels.append(Panel(name=name, points=tuple(map(tuple, points.tolist())), classes=classes))
    return EmbeddingInfo(
        classes=tuple(names[label] for label in shown),
        panels=tuple(panels),
        note=f"t-SNE, perplexity {perplexity:.0f}, seed {seed}; {len(labels)} samples, the same in every panel. "
        f"Distances between clusters mean little.",
    )


def compose(content: EmbeddingInfo, title: str) -> Figure:
    """The figure, not yet written; an empty title is left out."""
    styles = list(itertools.islice(itertools.product(_MARKERS, PALETTE), len(content.classes)))
    count = len(content.panels)
    columns = 2 if count == 4 else min(count, 3)
    lines = -(-count // columns)
    legend_lines = -(-len(content.classes) // 4)
    size = (max(_PANEL * columns, 6.4), 3.0 * lines + 0.17 * legend_lines + 0.75)
    figure = Figure(figsize=size, layout="constrained")
    if title:
        figure.suptitle(textwrap.fill(literal(title), 90), fontsize=10, x=0.01, horizontalalignment="left")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[count:]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, content.panels, strict=False):
        points, classes = np.array(panel.points), np.array(panel.classes)
        for i, (marker, colour) in enumerate(styles):
            mine = points[classes == i]
            axes.scatter(mine[:, 0], mine[:, 1], s=11, marker=marker, color=colour, alpha=0.8, linewidths=0)
        axes.set_title(literal(panel.name, 48), fontsize=9)
        axes.set(xticks=[], yticks=[], xlim=(-0.05, 1.05), ylim=(-0.05, 1.05))
        for spine in axes.spines.values():
            spine.set_color("0.8")
    marks = [Line2D([], [], marker=m, color=c, linestyle="", markersize=5, markeredgewidth=0) for m, c in styles]
    names = [literal(name, 28) for name in content.classes]
    figure.legend(
        marks,
        names,
        loc="outside lower center",
        ncols=min(4, len(names)),
        fontsize=7,
        frameon=False,
        title=textwrap.fill(content.note, 110),
        title_fontsize=7,
    )
    return figure


def draw(content: EmbeddingInfo, path: Path, title: str) -> list[Path]:
    """Write the figure as PNG and as PDF beside it; returns both paths. Raises ValueError for another ending."""
    return save(compose(content, title), path)
