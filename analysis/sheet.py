"""A table as text, before any format: what every printer takes.

Texts stand as they are; escaping belongs to the formats (`analysis.printing`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

ABSENT = "-"
Mark: TypeAlias = Literal["bold", "underline"]


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """A table as text.

    Attributes:
        title: stands above it.
        headers: of each column, from the top: one text, or two where columns stand in groups.
        lines: the cells, line by line.
        left: columns of words, which are aligned left; all others right.
        marks: of cells, by line and column: `bold` is the best number of its column, `underline` the second.
        blocks: the lines with which a new block begins.
        caption: stands below; one sentence a line or more.
    """

    title: str
    headers: Sequence[tuple[str, ...]]
    lines: Sequence[Sequence[str]]
    left: frozenset[int]
    marks: Mapping[tuple[int, int], Mark] = field(default_factory=dict)
    blocks: frozenset[int] = frozenset()
    caption: str = ""

    def columns(self) -> list[str]:
        """Each column's header in one line."""
        return [" ".join(filter(None, header)) for header in self.headers]


def per_cent(fraction: float) -> str:
    """One decimal; "-" for NaN."""
    return points(100 * fraction)


def points(number: float, *, signed: bool = False) -> str:
    """A number that is in per cent already, with one decimal; "-" for NaN.

    Args:
        number: in per cent.
        signed: whether a positive one has its sign before it.
    """
    if math.isnan(number):
        return ABSENT
    # Adding zero turns -0.0 into 0.0.
    rounded = round(number, 1) + 0.0
    return f"{rounded:+.1f}" if signed and rounded > 0 else f"{rounded:.1f}"


def ranked(numbers: Sequence[float]) -> list[Mark | None]:
    """Best and second by the digits that are printed, so that what looks equal is marked equally.

    Greater is better. NaN has no rank; and where there is one number alone, or all are equal, none is marked.
    """
    printed = [None if math.isnan(number) else float(per_cent(number)) for number in numbers]
    order = sorted({number for number in printed if number is not None}, reverse=True)
    if len(order) < 2:
        return [None] * len(printed)
    marks: dict[float | None, Mark] = {order[0]: "bold", order[1]: "underline"}
    return [marks.get(number) for number in printed]
