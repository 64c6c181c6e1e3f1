"""A search read back from its view: what stands in the table, what below it, what the figure shows."""

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from analysis import search
from analysis.__main__ import main
from analysis.search_figure import draw, info
from stars.outcome import StoreError
from stars.parquet import to_bytes
from stars.store import Store
from stars.trials import IMPORTANCES_SCHEMA, TRIALS_SCHEMA, VIEW_VERSION, importances_key, view_key

START = datetime(2025, 1, 2, tzinfo=UTC)
# Trial, state, axes, values at the horizons of 2 and 6 epochs. Trial 3 was a repetition.
TRIALS: list[tuple[int, str, dict[str, Any], list[float]]] = [
    (0, "finished", {"rate": 0.001, "crop": "whole"}, [0.70, 0.72]),
    (1, "stopped", {"rate": 0.3, "crop": "whole"}, [0.77]),
    (2, "finished", {"rate": 0.0023456, "crop": "random", "patches": 3}, [0.71, 0.75]),
    (4, "failed", {"rate": 0.9, "crop": "whole"}, [0.60]),
    (5, "finished", {"rate": 0.002, "crop": "random", "patches": 4}, [0.73, 0.74]),
    (6, "stopped", {"rate": 0.05, "crop": "whole"}, [0.20]),
    (7, "running", {"rate": 0.004, "crop": "whole"}, []),
]
SHARES: dict[str, float | None] = {"rate": 0.7, "crop": 0.1, "patches": 0.2}


def write(store: Store, name: str = "s-1", shares: dict[str, float | None] = SHARES, **changes: Any) -> None:
    """Write a view."""
    rows = []
    for trial, state, axes, values in TRIALS:
        for i in range(len(values) + (state in ("running", "failed"))):
            value = values[i] if i < len(values) else None
            row = {
                "study": name,
                "sweep": "s",
                "trial": trial,
                "state": state,
                "reason": "seed 0: diverged" if state == "failed" else "",
                "axes": json.dumps(axes),
                "horizon": (2, 6)[i],
                "value": value,
                "values": "" if value is None else json.dumps({"0": value - 0.01, "1": value + 0.01}),
                "probes": "" if value is None else json.dumps({"0": "a", "1": "b"}),
                "started": START + timedelta(minutes=trial),
                "ended": None if state == "running" else START + timedelta(minutes=trial + 1),
                "horizons": [2, 6],
                "metric": "accuracy",
                "k": 10,
                "greater_is_better": True,
                "context": json.dumps({"recipe": "small", "dataset": "synthetic"}),
                "schema_version": VIEW_VERSION,
            }
            rows.append({**row, **changes})
    store.replace(view_key("s", name), to_bytes(pa.Table.from_pylist(rows, schema=TRIALS_SCHEMA)))
    lines = [
        {"study": name, "axis": axis, "importance": share, "reason": "too few" if share is None else ""}
        for axis, share in shares.items()
    ]
    store.replace(importances_key("s", name), to_bytes(pa.Table.from_pylist(lines, schema=IMPORTANCES_SCHEMA)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with one search."""
    found = Store(tmp_path / "store")
    write(found)
    return found


@pytest.fixture
def frame(store: Store) -> pd.DataFrame:
    """Its trials."""
    return search.trials(store, "s")


def test_every_trial_at_every_horizon(frame: pd.DataFrame) -> None:
    assert list(frame["trial"]) == [0, 0, 1, 2, 2, 4, 4, 5, 5, 6, 7]
    assert search.axes(frame) == ["rate", "crop", "patches"]
    whole = frame[(frame["trial"] == 2) & (frame["horizon"] == 6)].iloc[0]
    assert type(whole["axis.patches"]) is int
    assert whole["values"] == pytest.approx({0: 0.74, 1: 0.76})
    assert frame[frame["value"].isna()]["state"].tolist() == ["failed", "running"]


def test_the_table_holds_what_was_trained_in_full_and_nothing_else(frame: pd.DataFrame) -> None:
    table = search.best(frame)
    assert list(table["trial"]) == [2, 5, 0]
    assert list(table["mean"]) == pytest.approx([0.75, 0.74, 0.72])
    assert table.attrs["said"] == (
        "7 trials, 3 trained in full, 2 stopped after 2 epochs, 1 failed (seed 0: diverged), 1 still running."
    )


def test_less_may_be_better(store: Store) -> None:
    write(store, greater_is_better=False)
    frame = search.trials(store, "s")
    assert list(search.best(frame)["trial"]) == [0, 5, 2]
    assert info(frame).best == ((0, 72.0),)


def test_printed(frame: pd.DataFrame) -> None:
    text = search.to_markdown(search.best(frame), most=2)
    lines = text.splitlines()
    assert lines[0] == "**s: search (recipe=small dataset=synthetic)**"
    assert lines[2] == "| trial | rate | crop | patches | accuracy, k = 10 (%) |"
    assert lines[4] == "| 2 | 0.002346 | random | 3 | 75.0 ± 12.7 |"
    assert lines[5].startswith("| 5 | 0.002 | random | 4 | 74.0")
    assert "The best 2 of 3 are shown." in text
    assert "rate 70.0 %, patches 20.0 %, crop 10.0 %" in text
    assert "77.0" not in text, "the number of a stopped trial"
    assert [str(column.header) for column in search.to_rich(search.best(frame)).columns][1] == "rate"


def test_unknown_importances_say_why(store: Store) -> None:
    write(store, shares=dict.fromkeys(SHARES))
    frame = search.trials(store, "s")
    assert "importance unknown: too few" in search.to_markdown(search.best(frame))
    assert info(frame).importances == ()
    assert info(frame).unknown == "importance unknown: too few"


def test_the_figure_shows_every_trial_that_has_ended(frame: pd.DataFrame) -> None:
    content = info(frame)
    assert content.whole == ((0, 72.0), (2, 75.0), (5, 74.0))
    assert content.best == ((0, 72.0), (2, 75.0))
    assert content.stopped == ((1, 77.0, 2), (6, 20.0, 2))
    assert content.failed == (4,)
    assert content.last == 7
    assert content.beyond == 1, "one at a fifth of the others would flatten them"
    low, high = content.limits
    assert low < 72
    assert high > 77
    assert content.importances == (("rate", 70.0), ("patches", 20.0), ("crop", 10.0))


def test_a_search_without_a_value_cannot_be_drawn(frame: pd.DataFrame) -> None:
    running = frame[frame["state"] == "running"]
    running.attrs = frame.attrs
    with pytest.raises(ValueError, match="no trial has a value yet"):
        info(running)
    assert search.best(running).empty


def test_drawn_twice_it_is_the_same(frame: pd.DataFrame, tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw(info(frame), tmp_path / f"{name}.png", "a search")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.pdf").is_file()
    with pytest.raises(ValueError, match=r"allowed: a path that ends in \.png"):
        draw(info(frame), tmp_path / "a.jpg", "a search")


def test_several_searches_are_chosen_from(store: Store) -> None:
    write(store, "s-2")
    with pytest.raises(ValueError, match="study '' is the start of 2 searches of s; there are: s-1, s-2"):
        search.trials(store, "s")
    assert search.trials(store, "s", "s-2").attrs["study"] == "s-2"
    assert search.trials(store, "s", "2").attrs["study"] == "s-2"


def test_another_version_is_refused(store: Store) -> None:
    write(store, schema_version=VIEW_VERSION + 1)
    with pytest.raises(StoreError, match="schema version"):
        search.trials(store, "s")


def run(store: Store, *arguments: str) -> int:
    return main(["s", "--search", "--store", str(store.location), *arguments])


@pytest.mark.parametrize(("form", "words"), [("rich", "75.0 ± 12.7"), ("markdown", "| 2 |"), ("csv", "trial,rate")])
def test_the_command_prints_it(store: Store, form: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "--format", form) == 0
    assert words in capsys.readouterr().out


def test_the_command_draws_and_refuses(store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "--figure", str(tmp_path / "s.png")) == 0
    assert (tmp_path / "s.png").is_file()
    capsys.readouterr()
    assert run(store, "--study", "nix") == 2
    assert "study 'nix' is the start of 0 searches of s; there are: s-1" in capsys.readouterr().err


def test_numbers_of_the_view_survive(frame: pd.DataFrame) -> None:
    assert math.isnan(frame.loc[frame["trial"] == 7, "value"].iloc[0])
    assert str(frame["started"].dt.tz) == "UTC"
