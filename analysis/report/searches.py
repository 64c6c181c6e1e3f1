"""The searches of a store: the best trials of each, the course it took, and which axes mattered."""

from functools import partial
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import search, search_figure
from analysis.figures import coordinates
from analysis.load import plain
from analysis.report.pictures import Album
from analysis.report.request import Request
from analysis.report.view import Cell, Search, Table
from analysis.sheet import ABSENT, per_cent
from stars.store import Store
from stars.trials import studies


def sections(store: Store, request: Request) -> list[Search]:
    """Every search that has a view, by name. Raises StoreError naming a damaged file."""
    folder = store.location / "searches"
    sweeps = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    named = [(sweep, study) for sweep in sweeps for study in studies(store, sweep)]
    return [_section(store, sweep, study, number, request) for number, (sweep, study) in enumerate(named)]


def _section(store: Store, sweep: str, study: str, number: int, request: Request) -> Search:
    frame = search.trials(store, sweep, study)
    best = search.best(frame)
    pictures = Album(f"search-{number}")
    if request.figures != "none":
        pictures.add("Course and importances", partial(_course, frame))
        pictures.add("Parallel coordinates", partial(_coordinates, frame))
    names = search.axes(frame)
    value = f"{search.value_name(frame.attrs)} (%)"
    lines = []
    for place, row in enumerate(best.to_dict("records")):
        half = per_cent(row["half_width"])
        text = per_cent(row["mean"]) + ("" if half == ABSENT else f" ± {half}")
        cells = [Cell(text=search.described(plain(row[name]))) for name in names]
        look = "best" if place == 0 else ""
        lines.append([Cell(text=str(row["trial"])), *cells, Cell(text=text, order=repr(row["mean"]), look=look)])
    return Search(
        anchor=f"search-{number}",
        title=f"{search.describe(frame)}, {study}",
        table=Table(
            name=f"Trials of {study} that were trained in full",
            headers=[("trial", True), *((name, _numeric(best[name])) for name in names), (value, True)],
            lines=lines,
        ),
        caption=[best.attrs["said"], *frame.attrs["notes"]],
        pictures=pictures.pictures,
        left_out=pictures.left_out,
    )


def _numeric(values: "pd.Series[Any]") -> bool:
    """Whether an axis holds numbers, where it exists."""
    held = [plain(value) for value in values]
    return not any(isinstance(value, (str, bool)) for value in held)


def _course(frame: pd.DataFrame) -> tuple[Figure, str]:
    content = search_figure.info(frame)
    shares = "; ".join(f"{axis} {share:.0f} %" for axis, share in content.importances) or content.unknown
    best = (
        f"Best: {content.best[-1][1]:.1f} (trial {content.best[-1][0]})." if content.best else "No trial is whole yet."
    )
    return search_figure.compose(content, ""), f"{best} Importance: {shares}."


def _coordinates(frame: pd.DataFrame) -> tuple[Figure, str]:
    content = coordinates.info(frame)
    uprights = ", ".join(coordinate.name for coordinate in content.coordinates)
    return coordinates.compose(content, ""), f"{len(content.trials)} trials along {uprights}. {content.note}"
