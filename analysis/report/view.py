"""What the page shows, as plain values: the template puts them down and decides nothing."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says.
        order: by what it is sorted; empty: by its text.
        link: an anchor in the page, with `#`; empty for none.
        look: a class of the style sheet; empty for none.
        span: low, mean and high of an interval, each in [0, 1] of the table's range, drawn as a bar; None for none.
    """

    text: str
    order: str = ""
    link: str = ""
    look: str = ""
    span: tuple[float, float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that can be sorted.

    Attributes:
        name: what it is called for those who do not see it.
        headers: text and whether the column holds numbers.
        lines: cells.
        anchors: of the lines; empty for none.
    """

    name: str
    headers: Sequence[tuple[str, bool]]
    lines: Sequence[Sequence[Cell]]
    anchors: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure: its title, its `<svg>` element, and what it shows in words."""

    title: str
    svg: str
    words: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The points of one sweep that have no number.

    Attributes:
        title: sweep and context.
        link: to its section.
        counts: how many of each state.
        table: every one of them; None where the whole sweep could not be tabulated.
        reason: why it could not.
    """

    title: str
    link: str
    counts: Sequence[tuple[str, int]]
    table: Table | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Tabulated:
    """One summary: its table, its caption line by line, and its pictures.

    Attributes:
        title: what was measured.
        table: a line a condition.
        value_column: of the table, which holds the numbers.
        caption: what is said below it.
        pictures: what is drawn.
        left_out: title and reason of figures that could not be drawn.
    """

    title: str
    table: Table
    value_column: int
    caption: Sequence[str]
    pictures: Sequence[Picture]
    left_out: Sequence[str]

    def number(self, line: int) -> str:
        """The number of one line, as it is printed."""
        return self.table.lines[line][self.value_column].text


@dataclass(frozen=True, kw_only=True)
class Section:
    """One sweep in one context.

    Attributes:
        anchor: of the section.
        name: of the sweep.
        paper: what it reproduces.
        context: what the command line chose.
        planned: points.
        finished: of these.
        best: the condition with the greatest mean, and its number; both empty for none.
        tables: one for each feature that was measured.
        points: every point.
        shared: what all numbers have in common: code, data, device.
        command: reproduces the sweep.
        remarks: what the command cannot say.
    """

    anchor: str
    name: str
    paper: str
    context: Sequence[tuple[str, str]]
    planned: int
    finished: int
    best: tuple[str, str]
    tables: Sequence[Tabulated]
    points: Table
    shared: Sequence[tuple[str, str]]
    command: str
    remarks: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Search:
    """One search: its best trials, what is said below them, and its pictures."""

    anchor: str
    title: str
    table: Table
    caption: Sequence[str]
    pictures: Sequence[Picture]
    left_out: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One recorded value: a stage, or a data set.

    Attributes:
        anchor: of the entry.
        kind: of the stage.
        fingerprint: SHA-256 of its canonical JSON.
        document: the canonical JSON in pieces: text, and the anchor of the entry to put in its place; empty for text
            that stands as it is.
        facts: what was measured, by name.
    """

    anchor: str
    kind: str
    fingerprint: str
    document: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """The whole report.

    Attributes:
        title: of the page.
        store: where the numbers lie.
        made: when the page was made (UTC).
        command: that makes it again.
        tiles: number and what it counts.
        failures: gaps and failures, the first that is shown.
        overview: one line a sweep and context.
        sections: in the order of the overview.
        searches: after them.
        unplanned: numbers that no plan mentions; None for none.
        entries: every value behind the numbers, by kind.
    """

    title: str
    store: str
    made: str
    command: str
    tiles: Sequence[tuple[str, str, str]]
    failures: Sequence[Failure]
    overview: Table
    sections: Sequence[Section]
    searches: Sequence[Search]
    unplanned: Table | None
    entries: Sequence[tuple[str, Sequence[Entry]]]
