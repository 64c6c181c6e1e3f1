"""Where the parts of a figure go: axis values, limits, and labels that do not collide. Nothing here draws."""

import itertools
import math
from collections.abc import Sequence
from typing import Literal, TypeAlias

from analysis.choice import spelled
from stars.sweep import AxisValue

Scale: TypeAlias = Literal["linear", "logarithmic", "even"]

# Fractions of the width of the axes: one character of a tick, the space between two ticks, and what a slanted tick
# takes whatever its length.
_TICK_CHARACTER, _TICK_SPACE, _TICK_SLANTED = 0.018, 0.014, 0.04
# A reference further from the curve than this many spans of it, and than so many points, would flatten the curve: it
# is named at the edge.
_NEAR_SPANS, _NEAR_POINTS = 3.0, 15.0


def place(xs: Sequence[AxisValue]) -> tuple[tuple[float, ...], Scale]:
    """Where axis values stand: to scale or, where their ticks would collide, on a logarithmic scale, or evenly.

    Ticks that are slanted are preferred to even spacing, straight ones to slanted ones.
    """
    numbers = [float(x) for x in xs if isinstance(x, (int, float)) and not isinstance(x, bool)]
    ticks = [spelled(x) for x in xs]
    if len(numbers) == len(xs):
        scaled: list[tuple[list[float], Scale]] = [(numbers, "linear")]
        if min(numbers) > 0:
            scaled.append(([math.log10(x) for x in numbers], "logarithmic"))
        for slanted, (positions, scale) in itertools.product((False, True), scaled):
            if apart(positions, ticks, slanted=slanted):
                return tuple(positions), scale
    return tuple(float(i) for i in range(len(xs))), "even"


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Heights moved as little as possible (least squares) so that any two are at least `gap` apart, within limits.

    Their order stays. Where the limits cannot hold them all, they fill the range evenly.
    """
    if not heights:
        return []
    gap = min(gap, (high - low) / max(len(heights) - 1, 1))
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    # Without the gaps it is isotonic regression: neighbours in the wrong order are pooled at their mean.
    blocks: list[tuple[float, int]] = []
    for rank, i in enumerate(order):
        mean, size = heights[i] - rank * gap, 1
        while blocks and blocks[-1][0] > mean:
            other, count = blocks.pop()
            mean, size = (mean * size + other * count) / (size + count), size + count
        blocks.append((mean, size))
    flat = [mean for mean, size in blocks for _ in range(size)]
    top = high - (len(heights) - 1) * gap
    moved = dict(zip(order, flat, strict=True))
    ranks = {i: rank for rank, i in enumerate(order)}
    return [min(max(moved[i], low), top) + ranks[i] * gap for i in range(len(heights))]


def apart(positions: Sequence[float], ticks: Sequence[str], *, slanted: bool = False) -> bool:
    """Whether no tick prints over its neighbour."""
    width = max(positions) - min(positions)
    ordered = sorted(zip(positions, map(len, ticks), strict=True))
    return all(
        after - before >= width * (_TICK_SLANTED if slanted else _TICK_CHARACTER * (left + right) / 2 + _TICK_SPACE)
        for (before, left), (after, right) in itertools.pairwise(ordered)
    )


def limits_of(heights: Sequence[float], references: Sequence[float]) -> tuple[float, float]:
    """A range that holds the curve and the references near it, with room for labels."""
    known = [height for height in heights if not math.isnan(height)]
    low, high = min(known), max(known)
    # At least one point, so that a single value is not drawn as if it varied.
    span = max(high - low, 1.0)
    reach = max(_NEAR_SPANS * span, _NEAR_POINTS)
    near = [mean for mean in references if low - reach <= mean <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    room = max(0.1 * (high - low), 0.5)
    return low - room, high + room
