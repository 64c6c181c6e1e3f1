"""The paper's Tables 1 to 7, 9 and 11 as it lays them out, with our numbers beside the published ones."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.places import DATA_SETS
from analysis.sheet import ABSENT, Mark, Sheet, points, ranked

_PAPER = "STARS paper"
_ORDER = list(DATA_SETS)
_WORDS = ("group", "method", "stream", "backbone", "source")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a published table is set.

    Attributes:
        table: its number.
        title: what it compares.
        labels: the columns of words that it has, and their headers.
        by_metric: whether its columns differ in their metric; otherwise in data set and protocol.
    """

    table: int
    title: str
    labels: Mapping[str, str]
    by_metric: bool = False


_METHOD = {"method": "Method"}
LAYOUTS: Mapping[int, Layout] = {
    layout.table: layout
    for layout in (
        Layout(table=1, title="Linear evaluation", labels={**_METHOD, "stream": "Input"}),
        Layout(table=2, title="KNN evaluation, k = 1", labels=_METHOD),
        Layout(table=3, title="Fine-tuning", labels={**_METHOD, "stream": "Input", "backbone": "Backbone"}),
        Layout(table=4, title="Transfer learning", labels=_METHOD),
        Layout(table=5, title="Few-shot recognition of new classes", labels=_METHOD, by_metric=True),
        Layout(table=6, title="Tuning strategies, KNN k = 10", labels={"method": "Tuning strategy"}),
        Layout(table=7, title="Augmentations, KNN k = 10", labels={"method": "Augmentation"}),
        Layout(table=9, title="Semi-supervised evaluation", labels=_METHOD, by_metric=True),
        Layout(table=11, title="Local views in DINO tuning", labels=_METHOD, by_metric=True),
    )
}


def sheet(table: int, compared: pd.DataFrame) -> Sheet:
    """A published table with two lines more for every method that a store has numbers of: ours, and the difference.

    Args:
        table: its number.
        compared: what `reproduction.compare` returned.

    Raises:
        ValueError: a table that has no published cells.
    """
    if table not in LAYOUTS:
        raise ValueError(f"table {table} has no published cells; allowed: {', '.join(map(str, LAYOUTS))}")
    layout = LAYOUTS[table]
    lines = compared[compared["table"] == table]
    places = sorted(dict.fromkeys(map(_place, lines.to_dict("records"))), key=lambda place: _ORDER.index(place[0]))
    labels, texts, numbers = list(layout.labels), list[list[str]](), list[list[float]]()
    blocks, group = set[int](), ""
    for key, some in lines.groupby(list(_WORDS), sort=False):
        words = dict(zip(_WORDS, map(str, key), strict=True))
        if words["group"] != group:
            group = words["group"]
            blocks.add(len(texts))
            if lines["group"].nunique() > 1:
                texts.append([f"{group}:", *[""] * (len(labels) + len(places) - 1)])
                numbers.append([math.nan] * len(places))
        if not words["source"].startswith(_PAPER):
            words["method"] += f" ({words['source']})"
        cells = {_place(cell): cell for cell in some.to_dict("records")}
        ours = {place: cell for place, cell in cells.items() if not math.isnan(cell["ours"])}
        texts.append([words[name] or ABSENT for name in labels] + [_published(cells.get(place)) for place in places])
        numbers.append([cells[place]["value"] if place in cells else math.nan for place in places])
        if ours:
            blank = [""] * (len(labels) - 1)
            texts.append([f"{words['method']}, here", *blank, *(_ours(ours.get(place)) for place in places)])
            texts.append(["difference", *blank, *(_difference(ours.get(place)) for place in places)])
            numbers.append([ours[place]["ours"] if place in ours else math.nan for place in places])
            numbers.append([math.nan] * len(places))
    return Sheet(
        title=f"Table {table}: {layout.title} (top-1 accuracy, %)",
        headers=[("", head) for head in layout.labels.values()] + [_header(layout, place) for place in places],
        lines=texts,
        left=frozenset(range(len(labels))),
        marks=_marks(numbers, len(labels)),
        blocks=frozenset(blocks - {0}),
        caption=_caption(lines, compared.attrs["recipe"]),
    )


def _place(line: Mapping[Hashable, Any]) -> tuple[str, str, str]:
    return line["dataset"], line["protocol"], line["metric"]


def _header(layout: Layout, place: tuple[str, str, str]) -> tuple[str, str]:
    dataset, protocol, metric = place
    return (f"{dataset} {protocol}", metric.removesuffix(" top-1")) if layout.by_metric else (dataset, protocol)


def _published(cell: Mapping[Hashable, Any] | None) -> str:
    return ABSENT if cell is None else f"{points(cell['value'])}{cell['mark']}"


def _ours(cell: Mapping[Hashable, Any] | None) -> str:
    """Mean and the wider half of the interval, with the seeds where some are not there."""
    if cell is None:
        return ABSENT
    half = max(cell["ours"] - cell["low"], cell["high"] - cell["ours"])
    seeds = "" if cell["count"] == cell["planned"] else f" [{cell['count']}/{cell['planned']}]"
    return f"{points(cell['ours'])} ± {points(half)}{seeds}"


def _difference(cell: Mapping[Hashable, Any] | None) -> str:
    if cell is None:
        return ABSENT
    words = {"reproduced": "within", "differs": "outside"}.get(cell["verdict"], cell["reason"])
    return f"{points(cell['difference'], signed=True)} ({words})"


def _marks(numbers: Sequence[Sequence[float]], first: int) -> dict[tuple[int, int], Mark]:
    """Best and second of each column; numbers are in per cent, and the first of them stands in column `first`."""
    found: dict[tuple[int, int], Mark] = {}
    for column, held in enumerate(zip(*numbers, strict=True)):
        for line, mark in enumerate(ranked([number / 100 for number in held])):
            if mark is not None:
                found[line, first + column] = mark
    return found


def _caption(lines: pd.DataFrame, recipe: str) -> str:
    """What is ours and what is not, what ± and the signs mean, and what is known about single cells."""
    said = [f"Published numbers: {'; '.join(dict.fromkeys(lines['source']))}."]
    if (lines["mark"] == "*").any():
        said.append("*: reproduced by the authors of the STARS paper.")
    if lines["stream"].ne("").any():
        said.append("Input: single is joints; three is joints, bones and motion.")
    ours = lines[lines["ours"].notna()]
    if ours.empty:
        said.append(f"Nothing of it has been run here with the recipe {recipe}.")
    else:
        said.append(
            f"Here: the recipe {recipe}, mean ± 95 % interval over seeds or over the test samples (Wilson), whichever "
            f"is wider; within: the published number lies in it. Best is bold, second underlined, ours among them."
        )
        if ours["missing"].ne("").any():
            said.append("[4/5]: of five planned numbers four are there, and nothing is concluded.")
    for note, some in lines[lines["note"] != ""].groupby("note", sort=False):
        where = dict.fromkeys(some["method"] + " on " + some["dataset"] + " " + some["protocol"])
        said.append(f"{', '.join(where) if len(some) < len(lines) else 'All'}: {note}.")
    return "\n".join(said)
