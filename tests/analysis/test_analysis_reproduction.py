"""Published cells, our numbers beside them, and the paper's layouts, on stored results that are made up."""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.load import load
from analysis.paper_tables import LAYOUTS, sheet
from analysis.places import MEASURES, NAMING, SAMPLES, is_ours, named, names_of, spelling, tables_of
from analysis.published import cells
from analysis.reproduction import REASONS, VERDICTS, compare, tally
from analysis.statistics import wilson
from analysis.tables import render

GOLDENS = Path(__file__).parent / "goldens"
SEEDS = range(3)


def _context(**changes: Any) -> dict[str, Any]:
    return {"dataset": "ntu60", "protocol": "xsub", "recipe": "paper", "reseed_pretraining": False, **changes}


def _plan(laboratory: Any, at: dict[str, Any], *words: Any, sweep: str = "s", **changes: Any) -> list[str]:
    """Plan three seeds of a point on NTU-60; returns their fingerprints."""
    names = [laboratory.named(*words, seed) for seed in SEEDS]
    points = [("", {**at, "seed": seed}, name) for seed, name in zip(SEEDS, names, strict=True)]
    laboratory.plan(sweep, points, _context(**changes), paper="Table 6")
    return names


def _measure(laboratory: Any, names: list[str], *values: float, **changes: Any) -> None:
    """`values` are those of the seeds, each measured with k = 10."""
    given = {"dataset": "ntu60", "count": 16487, **changes}
    for name, value in zip(names, values, strict=False):
        laboratory.measure(name, value, **given)


def _cell(laboratory: Any, table: int, method: str, metric: str = "KNN k=10 top-1", **choices: Any) -> Any:
    compared = compare(load(laboratory.store), **choices)
    found = compared[
        (compared["table"] == table)
        & (compared["method"] == method)
        & (compared["metric"] == metric)
        & (compared["dataset"] == "NTU-60")
        & (compared["protocol"] == "XSub")
    ]
    return found.iloc[0]


@pytest.fixture
def table_6(laboratory: Any) -> Any:
    """Three strategies on NTU-60: one as published, one better, one of which a seed diverged; and stage 1 alone."""
    for method, values in {"DINO": (0.775, 0.776, 0.777), "MoCo": (0.80, 0.81, 0.82), "NNCLR": (0.81, 0.82)}.items():
        names = _plan(laboratory, {"strategy": method}, method)
        _measure(laboratory, names, *values)
        if len(values) < len(names):
            laboratory.end("tune", laboratory.named("tune", names[-1]), "diverged")
    laboratory.plan("s", [("stage 1 only", {}, laboratory.named("one"))], _context(), paper="Table 6")
    laboratory.measure(laboratory.named("one"), 0.70, 0.631, dataset="ntu60", count=16487)
    return laboratory


def test_the_published_figures_carry_over() -> None:
    published = cells()
    assert published.groupby("table").size().to_dict() == {1: 84, 2: 32, 3: 54, 4: 9, 5: 24, 6: 10, 7: 12, 9: 14, 11: 6}
    stars = published[published["method"] == "STARS"].groupby("table")["value"].apply(list).to_dict()
    assert stars == {
        1: [87.1, 90.9, 79.9, 80.8, 52.7],
        2: [79.9, 88.6, 67.6, 67.7],
        3: [93.0, 97.5, 89.9, 91.4],
        4: [71.9],
        5: [63.5, 62.2, 65.7],
        9: [69.1],
    }
    mamp = published[(published["table"] == 1) & (published["method"] == "MAMP")]
    assert mamp.groupby("source", sort=False)["value"].apply(list).to_dict() == {
        "STARS paper, Table 1": [84.9, 89.1, 78.6, 79.1, 52.0],
        "README of MAMP's code": [85.0, 89.0, 78.1, 79.5],
    }
    assert published[published["mark"] == "*"][["method", "dataset", "value"]].values.tolist() == [
        ["MAMP", "PKU-MMD II", 52.0]
    ]
    assert not published.duplicated(["table", "method", "stream", "dataset", "protocol", "metric", "source"]).any()


def test_every_published_cell_has_a_place() -> None:
    published = cells()
    assert set(published["metric"]) <= set(MEASURES)
    assert set(published["table"]) == set(LAYOUTS)
    known = set(zip(published["dataset"], published["protocol"], strict=True))
    assert set(SAMPLES) <= known
    ours = {(t, m) for t, m in zip(published["table"], published["method"], strict=True) if is_ours(t, m)}
    assert {m for t, m in ours if t == 3} == {"MAMP", "W/o pre-training", "STARS-3stage", "STARS"}
    assert {m for t, m in ours if t == 6} == {"DINO", "DINO aug", "MoCo", "MoCo aug", "NNCLR"}
    # No name means two rows of one table.
    for table in LAYOUTS:
        taken = [name for t, method in ours if t == table for name in names_of(method)]
        assert len(taken) == len(set(taken)), table


@pytest.mark.parametrize(
    ("reference", "axes", "metric", "name"),
    [
        ("", {"strategy": "dino aug", "seed": 0}, "KNN k=10 top-1", "dinoaug"),
        ("", {"method": "STARS_3stage", "probe": "knn"}, "KNN k=1 top-1", "stars3stage"),
        ("stage 1 only", {"seed": 1}, "linear top-1", "stage1only"),
        # Something else is varied, or nothing says what was run.
        ("", {"strategy": "nnclr", "layer_decay": 0.2}, "KNN k=10 top-1", None),
        ("", {"layer_decay": 0.2}, "KNN k=10 top-1", None),
        ("", {}, "KNN k=10 top-1", None),
        ("stage 1 only", {"joints": "all"}, "KNN k=10 top-1", None),
        # What the cell fixes has to be there, and may be nowhere else.
        ("", {"method": "stars", "label_fraction": 0.01}, "semi-supervised 1% top-1", "stars"),
        ("", {"method": "stars", "label_fraction": 0.1}, "semi-supervised 1% top-1", None),
        ("", {"method": "stars"}, "transfer top-1", None),
        ("", {"method": "stars", "source": "ntu60"}, "transfer top-1", "stars"),
        ("", {"method": "stars", "source": "ntu60"}, "fine-tune top-1", None),
    ],
)
def test_a_point_finds_its_place_by_its_names(reference: str, axes: Any, metric: str, name: str | None) -> None:
    assert named(reference, axes, MEASURES[metric]) == name
    assert set(axes) & set(NAMING) or name in (None, "stage1only")


def test_what_a_sweep_says_it_reproduces() -> None:
    said = ("Table 6", "Tables 1, 2 and 3", "Figure 3(a)", "Table 5, Figure 4", "Tables 1 and 11")
    assert [tables_of(text) for text in said] == [[6], [1, 2, 3], [], [5], [1, 11]]
    assert spelling("Spatial Flip + Rotation") == "spatialfliprotation"


def test_within_and_outside_the_interval(table_6: Any) -> None:
    dino = _cell(table_6, 6, "DINO")
    assert (dino["verdict"], dino["reason"], dino["count"], dino["planned"]) == (
        "reproduced",
        "within the interval",
        3,
        3,
    )
    assert (dino["value"], dino["ours"], dino["difference"]) == pytest.approx((77.6, 77.6, 0.0))
    # The test samples say less than the seeds: 0.1 points of deviation against 0.3 of binomial error.
    assert (dino["low"] / 100, dino["high"] / 100) == pytest.approx(wilson(0.776, 16487))
    moco = _cell(table_6, 6, "MoCo")
    assert (moco["verdict"], moco["reason"]) == ("differs", "below the interval")
    # t(0.975, 2) = 4.3027: one point of deviation over three seeds; half a printed digit more.
    assert moco["tolerance"] == pytest.approx(4.302652730 / math.sqrt(3) + 0.05)
    assert moco["difference"] == pytest.approx(8.8)
    mamp = _cell(table_6, 2, "MAMP", "KNN k=1 top-1")
    assert (mamp["verdict"], mamp["count"], mamp["ours"]) == ("reproduced", 1, pytest.approx(63.1))
    assert _cell(table_6, 6, "MoCo aug")["reason"] == "not run"
    others = compare(load(table_6.store))
    assert set(others.loc[others["method"] == "CrosSCLR", "verdict"]) == {"not ours"}


def test_a_number_that_rounds_into_the_interval_is_within(laboratory: Any) -> None:
    names = _plan(laboratory, {"strategy": "DINO"}, 0)
    _, high = wilson(0.76, 16487)
    shift = 0.776 - high
    _measure(laboratory, names, *[0.76 + shift - 0.0004] * 3)
    assert _cell(laboratory, 6, "DINO")["reason"] == "within the interval"
    other = _plan(laboratory, {"strategy": "MoCo"}, 1)
    _measure(laboratory, other, *[0.722 - (high - 0.76) - 0.0012] * 3)
    assert _cell(laboratory, 6, "MoCo")["reason"] == "above the interval"


def test_a_failed_seed_leaves_it_open(table_6: Any) -> None:
    nnclr = _cell(table_6, 6, "NNCLR")
    assert (nnclr["verdict"], nnclr["reason"], nnclr["detail"]) == ("open", "incomplete", "1 diverged")
    assert (nnclr["count"], nnclr["planned"], nnclr["missing"]) == (2, 3, "1 diverged")
    assert nnclr["ours"] == pytest.approx(81.5)


def test_planned_and_not_there(laboratory: Any) -> None:
    _plan(laboratory, {"strategy": "DINO"}, 0)
    dino = _cell(laboratory, 6, "DINO")
    assert (dino["verdict"], dino["reason"], dino["detail"]) == ("open", "without a number", "3 missing")
    assert dino["planned"] == 3
    # Without any number nothing says with which probe, but that it is for Table 6.
    assert _cell(laboratory, 2, "STARS", "KNN k=1 top-1")["reason"] == "not run"


def test_another_recipe_does_not_count(laboratory: Any) -> None:
    _measure(laboratory, _plan(laboratory, {"strategy": "DINO"}, 0, recipe="published"), 0.776, 0.776, 0.776)
    dino = _cell(laboratory, 6, "DINO")
    assert (dino["verdict"], dino["reason"], dino["detail"]) == ("open", "other recipe", "published")
    assert math.isnan(dino["ours"])
    assert _cell(laboratory, 6, "DINO", recipe="published")["verdict"] == "reproduced"


def test_two_experiments_are_not_mixed(laboratory: Any) -> None:
    for reseed in (False, True):
        names = _plan(laboratory, {"strategy": "DINO"}, reseed, reseed_pretraining=reseed)
        _measure(laboratory, names, 0.776, 0.776, 0.776)
    dino = _cell(laboratory, 6, "DINO")
    assert (dino["verdict"], dino["reason"], dino["detail"]) == ("open", "several experiments", "2 in s")
    assert math.isnan(dino["ours"])


def test_the_same_computation_in_two_sweeps_is_one(laboratory: Any) -> None:
    _measure(laboratory, _plan(laboratory, {"strategy": "DINO"}, 0), 0.776, 0.776, 0.776)
    _plan(laboratory, {"method": "dino"}, 0, sweep="t", added="something that changes no value")
    dino = _cell(laboratory, 6, "DINO")
    assert (dino["verdict"], dino["count"]) == ("reproduced", 3)


def test_several_numbers_of_one_point_are_not_chosen_from(laboratory: Any) -> None:
    names = _plan(laboratory, {"strategy": "DINO"}, 0)
    _measure(laboratory, names[1:], 0.776, 0.776)
    laboratory.measure(laboratory.named("other"), 0.776, dataset="ntu60", count=16487)
    line = load(laboratory.store).dropna(subset=["value"]).iloc[0].to_dict()
    row = {name: line[name] for name in pd.read_parquet(next((laboratory.store.location / "results").iterdir()))}
    row = {name: None if pd.isna(content) else content for name, content in row.items()}
    both = [
        {**row, "fingerprint": names[0], "feature": f, "value": v} for f, v in (("pooled", 0.7), ("projected", 0.8))
    ]
    laboratory.rows(names[0], both)
    assert _cell(laboratory, 6, "DINO")["reason"] == "several experiments"


def test_another_test_set_does_not_count(laboratory: Any) -> None:
    _measure(laboratory, _plan(laboratory, {"strategy": "DINO"}, 0), 0.776, 0.776, 0.776, count=100)
    dino = _cell(laboratory, 6, "DINO")
    assert (dino["verdict"], dino["reason"], dino["detail"]) == ("open", "other samples", "100, published 16487")


def test_numbers_of_another_kind_have_no_place(laboratory: Any) -> None:
    for i, changes in enumerate(
        ({"dataset": "synthetic"}, {"protocol": "xview"}, {"variant": "a vote"}, {"split": "val"}, {"metric": "loss"})
    ):
        name = laboratory.named(i)
        laboratory.plan(f"s{i}", [("", {"strategy": "DINO"}, name)], {"recipe": "paper"}, paper="Table 6")
        laboratory.measure(name, 0.776, **{"dataset": "ntu60", "count": 16487, **changes})
    assert _cell(laboratory, 6, "DINO")["reason"] == "not run"
    name = laboratory.named("knn")
    laboratory.plan("knn", [("", {"method": "STARS"}, name)], _context(), paper="Table 2")
    laboratory.measure(name, 0.776, dataset="ntu60", count=16487)
    assert _cell(laboratory, 1, "STARS", "linear top-1")["reason"] == "not run"
    # With k = 10 alone, Table 2 has no number of its own.
    stars = _cell(laboratory, 2, "STARS", "KNN k=1 top-1")
    assert (stars["reason"], stars["detail"]) == ("without a number", "1 finished without this number")


def test_a_checkpoint_that_the_test_split_chose_is_named_and_gives_way(laboratory: Any) -> None:
    _measure(laboratory, _plan(laboratory, {"strategy": "DINO"}, 0), 0.776, 0.776, 0.776, selected_on="test")
    assert _cell(laboratory, 6, "DINO")["detail"] == "checkpoint chosen on the test split"


def test_the_tally_counts_every_cell_once_and_explains_each_reason(table_6: Any) -> None:
    compared = compare(load(table_6.store))
    counted = tally(compared)
    assert counted["cells"].sum() == len(compared) == len(cells())
    assert set(compared["verdict"]) <= set(VERDICTS)
    assert set(compared["reason"]) <= set(REASONS)
    assert counted[["verdict", "reason", "cells"]].values.tolist()[:5] == [
        ["reproduced", "within the interval", 2],
        ["differs", "below the interval", 1],
        ["open", "incomplete", 1],
        ["open", "without a number", 1],
        ["open", "not run", 85],
    ]


@pytest.mark.parametrize("table", sorted(LAYOUTS))
def test_every_layout_holds_every_published_number(laboratory: Any, table: int) -> None:
    content = sheet(table, compare(load(laboratory.store)))
    published = cells()[lambda frame: frame["table"] == table]
    held = sorted(
        float(cell.strip("*")) for line in content.lines for cell in line if cell[:1].isdigit() and "." in cell
    )
    assert held == sorted(published["value"])
    assert "Nothing of it has been run here" in content.caption
    assert all(note in content.caption for note in published["note"])


@pytest.mark.parametrize(
    "name", ["table_6.markdown", "table_6.latex", "table_6.html", "table_6.csv", "table_1.markdown"]
)
def test_tables_of_the_paper_are_as_they_were_looked_at(table_6: Any, name: str) -> None:
    table, _, form = name.removeprefix("table_").partition(".")
    assert render(table, load(table_6.store), form) == (GOLDENS / name).read_text(encoding="utf-8")  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["markdown", "latex", "html"])
def test_the_default_table_is_as_it_was_looked_at(lr_decay: Any, form: Any) -> None:
    text = render("lr_decay", load(lr_decay.store), form)
    assert text == (GOLDENS / f"lr_decay.{form}").read_text(encoding="utf-8")


def test_unknown_tables_and_formats_are_refused(lr_decay: Any) -> None:
    frame = load(lr_decay.store)
    with pytest.raises(ValueError, match="table 8 has no published cells; allowed: 1, 2, 3, 4, 5, 6, 7, 9, 11"):
        render("8", frame, "html")
    with pytest.raises(ValueError, match="format is 'xml'; allowed: markdown, latex, html, csv"):
        render("6", frame, "xml")  # type: ignore[arg-type]
