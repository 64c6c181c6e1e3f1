"""The command that writes the report."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import tyro

from analysis.report.page import build, render
from analysis.report.request import Request
from stars.store import Store, default_location
from stars.terminal import command


def report(
    store: Annotated[Path | None, tyro.conf.Positional] = None,
    *,
    out: Path = Path("report.html"),
    metric: str = "accuracy",
    k: int | None = 10,
    split: Literal["train", "val", "test"] = "test",
    figures: Literal["none", "all", "embedding"] = "all",
) -> None:
    """Write everything that a store holds as one HTML page that needs no server and no network.

    Args:
        store: the store; by default $STARS_STORE, else ~/.stars/store.
        out: the page.
        metric: which numbers the tables hold.
        k: neighbours, for KNN numbers.
        split: samples the numbers are measured on.
        figures: all; also t-SNE panels (embedding), seconds a sweep; or none.
    """
    opened = Store(default_location() if store is None else store, read_only=True)
    request = Request(metric=metric, k=k, split=split, figures=figures)
    page = build(opened, request, datetime.now(UTC), command())
    text = render(page)
    out.write_text(text, encoding="utf-8")
    sys.stdout.write(f"{out}  {len(text.encode()) / 2**20:.1f} MiB, {len(page.sections)} sweeps\n")
