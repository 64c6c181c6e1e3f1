"""The commands that print tables: of a sweep, of the paper, of what is reproduced, and of two probes' disagreement."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import tyro

from analysis import agreement, printing
from analysis.load import load
from analysis.places import tables_of
from analysis.reproduction import compare
from analysis.sheet import Sheet, per_cent
from analysis.tables import Format, of_paper, of_reproduction, render
from stars.store import Store, default_location

_Place = Annotated[Path | None, tyro.conf.Positional]


def table(
    sweep: Annotated[str, tyro.conf.Positional],
    *,
    store: Path | None = None,
    format: Format = "markdown",  # noqa: A002 - the option's name
    out: Path | None = None,
    paper: tyro.conf.FlagCreatePairsOff[bool] = False,
    recipe: str = "paper",
    metric: str = "accuracy",
    k: int | None = 10,
    split: Literal["train", "val", "test"] = "test",
    context: tuple[str, ...] = (),
) -> None:
    """Print the table of a sweep; or, laid out as the paper does, the published table that it reproduces.

    Args:
        sweep: its name; or the number of a table of the paper.
        store: the store; by default $STARS_STORE, else ~/.stars/store.
        format: of the text. csv holds numbers in full.
        out: write it here instead.
        paper: the published tables that the sweep names, with our numbers beside the published ones.
        recipe: whose numbers stand in a table of the paper.
        metric: which numbers, for a sweep.
        k: neighbours, for KNN numbers of a sweep.
        split: samples the numbers of a sweep are measured on.
        context: entries name=value that choose among the contexts (data set, recipe …) of a sweep.
    """
    location = store or default_location()
    if sweep.isdecimal():
        _give(render(sweep, load(location), format, recipe=recipe), out)
    elif paper:
        frame = load(location)
        compared = compare(frame, recipe)
        _give("\n".join(of_paper(number, compared, format) for number in _tables_of(frame, sweep)), out)
    else:
        chosen = dict(_entry(text) for text in context)
        text = render(sweep, load(location, sweep), format, metric=metric, k=k, split=split, context=chosen)
        _give(text, out)


def reproduce(
    store: _Place = None,
    *,
    recipe: str = "paper",
    format: Format = "markdown",  # noqa: A002 - the option's name
    out: Path | None = None,
) -> None:
    """Set every published number beside ours: difference, tolerance, verdict, and the reason where there is none.

    Args:
        store: the store; by default $STARS_STORE, else ~/.stars/store.
        recipe: whose numbers count.
        format: of the text. csv holds the methods of others too.
        out: write it here instead.
    """
    _give(of_reproduction(compare(load(store or default_location()), recipe), format), out)


def disagreement(
    first: Annotated[str, tyro.conf.Positional],
    second: Annotated[str, tyro.conf.Positional],
    *,
    store: Path | None = None,
    k: int | None = 10,
) -> None:
    """Test whether two probes of the same test samples differ (McNemar, exact), from their predictions.

    Args:
        first: fingerprint of a probe, or its beginning.
        second: of the other.
        store: the store; by default $STARS_STORE, else ~/.stars/store.
        k: neighbours, where a probe predicts with several numbers of them.
    """
    found = agreement.compare(Store(store or default_location(), read_only=True), first, second, k)
    difference = per_cent((found.first_only - found.second_only) / found.count)
    line = (str(found.first_only), str(found.second_only), str(found.count), difference, f"{found.p_value:.3g}")
    heads = ("only the first right", "only the second right", "samples", "difference (points)", "p")
    content = Sheet(
        title=f"{first} and {second}, sample by sample",
        headers=[(head,) for head in heads],
        lines=[line],
        left=frozenset(),
        caption="p: McNemar's exact test, two-sided. It says nothing about other seeds.",
    )
    _give(printing.markdown(content), None)


def _tables_of(frame: pd.DataFrame, sweep: str) -> list[int]:
    """The numbers of the tables that a sweep says it reproduces."""
    said = frame.loc[frame["sweep"] == sweep, "paper"].unique()
    if not len(said):
        planned = ", ".join(frame["sweep"].dropna().unique()) or "none"
        raise ValueError(f"sweep {sweep!r} has no plan in the store; planned are: {planned}")
    named = [number for text in said for number in tables_of(text)]
    if not named:
        raise ValueError(f"sweep {sweep} reproduces {said[0]!r}, which is no table; allowed: without --paper")
    return named


def _entry(text: str) -> tuple[str, str]:
    name, equals, content = text.partition("=")
    if not (name and equals):
        raise ValueError(f"{text!r} is not an entry; allowed: name=value")
    return name, content


def _give(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")
