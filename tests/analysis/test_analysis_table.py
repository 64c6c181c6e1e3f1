import io
import math
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from analysis.choice import choose
from analysis.load import load
from analysis.statistics import holm, interval, more_pairs, paired
from analysis.table import summary, to_csv, to_markdown, to_rich


def _summary(laboratory: Any, sweep: str = "lr_decay", **choices: Any) -> Any:
    return summary(load(laboratory.store), sweep=sweep, **choices)


def _shown(table: pd.DataFrame, **texts: str) -> str:
    stream = io.StringIO()
    Console(file=stream, width=160).print(to_rich(table, **texts))
    return stream.getvalue()


def test_one_line_per_condition_and_reference_with_what_is_missing(lr_decay: Any) -> None:
    table = _summary(lr_decay)
    assert table["layer_decay"].tolist()[:3] == [0.1, 0.2, 1.0]
    assert table["layer_decay"].isna().tolist() == [False] * 3 + [True] * 2
    assert table["reference"].tolist() == ["", "", "", "stage 1 only", "chance"]
    # Stage 1 was planned for five seeds and is one computation.
    assert table["count"].tolist() == [5, 5, 3, 1, 1]
    assert table["planned"].tolist() == [5, 5, 5, 1, 1]
    assert table["missing"].tolist() == ["", "", "1 diverged, 1 missing", "", ""]
    assert table["samples"].tolist() == [1613] * 5
    assert table["mean"].tolist() == pytest.approx([0.804, 0.754, 0.702, 0.7, 1 / 60])
    expected = interval([0.7, 0.702, 0.704])
    assert table.loc[2, ["low", "high", "half_width"]].tolist() == pytest.approx(
        [expected.low, expected.high, expected.half_width]
    )
    assert table.loc[2, "values"] == pytest.approx((0.7, 0.702, 0.704))
    assert math.isnan(table.loc[3, "half_width"])


def test_other_k_gives_other_numbers(lr_decay: Any) -> None:
    table = _summary(lr_decay, k=1)
    assert table["mean"].tolist() == pytest.approx([0.7, 0.7, 0.7, 0.6, 1 / 60])
    assert "k = 1 " in to_markdown(table)
    none = _summary(lr_decay, k=None)
    # Only chance has a number without k; the others are finished and hold no such number.
    assert none["count"].tolist() == [0, 0, 0, 0, 1]
    assert none.loc[0, "missing"] == "5 finished without this number"


def test_against_one_number_of_stage_1_it_is_a_one_sample_test(lr_decay: Any) -> None:
    table = _summary(lr_decay)
    expected = paired(pd.Series([0.7, 0.702, 0.704]), 0.7)
    assert table.loc[2, "difference"] == pytest.approx(expected.difference)
    assert table.loc[2, "difference_half_width"] == pytest.approx(expected.interval.half_width)
    assert table.loc[2, "p_value"] == pytest.approx(expected.p_value)
    assert table.loc[2, ["wins", "pairs", "missing_pairs"]].tolist() == [2, 3, 2]
    assert table.loc[3, ["difference", "p_value", "pairs"]].isna().all()
    # Chance is one number against one number: nothing is known about the spread.
    assert table.loc[4, "difference"] == pytest.approx(1 / 60 - 0.7)
    assert math.isnan(table.loc[4, "p_value"])


def test_reseeded_references_are_paired_by_seed(laboratory: Any) -> None:
    name = laboratory.named
    grid = [("", {"size": 8, "seed": s}, name(s)) for s in range(4)]
    laboratory.plan("paired", [*grid, *[("stage 1 only", {"seed": s}, name("one", s)) for s in range(4)]])
    for seed, (tuned, before) in enumerate([(0.9, 0.8), (0.7, 0.65), (0.8, None), (0.6, 0.61)]):
        laboratory.measure(name(seed), tuned)
        if before is not None:
            laboratory.measure(name("one", seed), before)
    table = _summary(laboratory, "paired")
    expected = paired(pd.Series([0.9, 0.7, 0.6]), pd.Series([0.8, 0.65, 0.61]))
    assert table.loc[0, "p_value"] == pytest.approx(expected.p_value)
    assert table.loc[0, ["wins", "pairs", "missing_pairs"]].tolist() == [2, 3, 1]
    assert table["missing"].tolist() == ["", "1 missing"]
    assert "| 3/4 |" in to_markdown(table)


def test_a_reference_that_takes_an_axis_is_compared_along_it(laboratory: Any) -> None:
    name = laboratory.named
    at = [(joints, size) for joints in ("all", "upper") for size in (4, 8)]
    grid = [("", {"joints": j, "size": s, "seed": 0}, name(j, s)) for j, s in at]
    laboratory.plan("two", [*grid, *[("stage 1 only", {"joints": j}, name(j)) for j in ("all", "upper")]])
    for value, (joints, size) in zip((0.8, 0.9, 0.6, 0.7), at, strict=True):
        laboratory.measure(name(joints, size), value)
    laboratory.measure(name("all"), 0.5)
    laboratory.measure(name("upper"), 0.25)
    table = _summary(laboratory, "two")
    assert table["difference"].tolist()[:4] == pytest.approx([0.3, 0.4, 0.35, 0.45])
    assert "stage 1 only (joints=upper)" in to_markdown(table)


def test_several_contexts_have_to_be_chosen_from(laboratory: Any) -> None:
    name = laboratory.named
    for dataset, reseed, value in (("ntu60", False, 0.8), ("ntu60", True, 0.7), ("pku2", False, 0.5)):
        point = ("", {"size": 8, "seed": 0}, name(dataset, reseed))
        laboratory.plan("s", [point], {"dataset": dataset, "reseed_pretraining": reseed, "recipe": "paper"})
        laboratory.measure(name(dataset, reseed), value)
    message = (
        "sweep s is planned in 3 contexts; choose one: dataset=ntu60 reseed_pretraining=false | "
        "dataset=ntu60 reseed_pretraining=true | dataset=pku2 reseed_pretraining=false"
    )
    with pytest.raises(ValueError, match="3 contexts") as caught:
        _summary(laboratory, "s")
    assert str(caught.value) == message
    assert _summary(laboratory, "s", context={"dataset": "pku2"})["mean"].tolist() == [0.5]
    assert _summary(laboratory, "s", context={"reseed_pretraining": True})["mean"].tolist() == [0.7]
    as_text = _summary(laboratory, "s", context={"dataset": "ntu60", "reseed_pretraining": "false"})
    assert as_text["mean"].tolist() == [0.8]
    with pytest.raises(ValueError, match=r"one: reseed_pretraining=false \| reseed_pretraining=true$"):
        _summary(laboratory, "s", context={"dataset": "ntu60"})
    with pytest.raises(ValueError, match="not planned with dataset=ntu120; there is: dataset=ntu60 "):
        _summary(laboratory, "s", context={"dataset": "ntu120"})
    with pytest.raises(ValueError, match="context 'data' is unknown; s has dataset, recipe, reseed_pretraining"):
        _summary(laboratory, "s", context={"data": "ntu60"})


def test_contexts_are_told_apart_where_one_lacks_an_entry(laboratory: Any) -> None:
    laboratory.plan("s", [("", {"seed": 0}, laboratory.named(0))], {"dataset": "a"})
    laboratory.plan("s", [("", {"seed": 0}, laboratory.named(1))], {"dataset": "a", "precision": "bfloat16"})
    with pytest.raises(ValueError, match=r"choose one: precision=bfloat16 \| precision=-"):
        _summary(laboratory, "s")
    _, chosen = choose(load(laboratory.store), "s", {"precision": "bfloat16"})
    assert chosen == {"dataset": "a", "precision": "bfloat16"}


def test_a_shared_probe_counts_in_both_sweeps(laboratory: Any) -> None:
    name = laboratory.named
    laboratory.plan("one", [("", {"layer_decay": 0.2, "seed": s}, name(s)) for s in range(2)])
    laboratory.plan("two", [("", {"queue_size": 8192, "seed": s}, name(s)) for s in range(3)])
    for seed in range(2):
        laboratory.measure(name(seed), 0.5 + seed / 4)
    one, two = _summary(laboratory, "one"), _summary(laboratory, "two")
    assert (one.loc[0, "mean"], one.loc[0, "count"], one.loc[0, "missing"]) == (0.625, 2, "")
    assert (two.loc[0, "mean"], two.loc[0, "count"], two.loc[0, "missing"]) == (0.625, 2, "1 missing")
    assert "layer_decay" not in two.columns


def test_a_point_that_two_plans_contradict_is_refused(laboratory: Any) -> None:
    for version in (1, 2):
        point = ("", {"layer_decay": 0.2, "seed": 3}, laboratory.named(version))
        laboratory.plan("s", [point])
    with pytest.raises(ValueError, match=r"layer_decay=0.2, seed 3 is planned as \w{12} and as \w{12}: code or data"):
        _summary(laboratory, "s")


def test_an_axis_named_as_a_column_of_the_summary_is_refused(laboratory: Any) -> None:
    laboratory.plan("s", [("", {"mean": 0.2}, laboratory.named(0))])
    with pytest.raises(ValueError, match="axis 'mean' has the name of a column of the summary"):
        _summary(laboratory, "s")


def test_an_unknown_sweep_is_refused_with_those_there_are(lr_decay: Any) -> None:
    with pytest.raises(ValueError, match="sweep 'nix' is not in the frame; there are: lr_decay"):
        _summary(lr_decay, "nix")


def test_several_numbers_of_a_point_have_to_be_chosen_from(laboratory: Any) -> None:
    probe = laboratory.named(0)
    laboratory.plan("s", [("", {"size": 8}, probe)])
    row = {"fingerprint": probe, "metric": "accuracy", "split": "test", "selected_on": "none"}
    other = laboratory.named("other")
    laboratory.measure(other, 0.5)
    common = pd.read_parquet(laboratory.store.location / "results" / f"{other}.parquet").iloc[0].to_dict()
    lines = [
        {
            **common,
            **row,
            **change,
            "k": 10,
            **dict.fromkeys(("draw", "variant", "epoch")),
            "finished": common["finished"].to_pydatetime(),
        }
        for change in (
            {"feature": "pooled", "value": 0.6},
            {"feature": "projected", "value": 0.7},
            {"feature": "pooled", "value": 0.9, "selected_on": "test"},
            {"feature": "pooled", "value": 0.2, "split": "val"},
            {"feature": "pooled", "value": 0.1, "metric": "loss"},
        )
    ]
    laboratory.rows(probe, lines)
    with pytest.raises(ValueError, match=r"differ in feature \(pooled, projected\), value \(0.6, 0.7\): choose"):
        _summary(laboratory, "s")
    assert _summary(laboratory, "s", feature="projected")["mean"].tolist() == [0.7]
    # What was chosen on the test split is shown only when asked for, and said.
    assert _summary(laboratory, "s", feature="pooled")["mean"].tolist() == [0.6]
    chosen = _summary(laboratory, "s", feature="pooled", selected_on="test")
    assert chosen["mean"].tolist() == [0.9]
    assert "1 of 1 numbers come from a checkpoint that was chosen on the test split." in to_markdown(chosen)
    assert _summary(laboratory, "s", split="val")["mean"].tolist() == [0.2]
    assert _summary(laboratory, "s", metric="loss")["mean"].tolist() == [0.1]


def test_markdown_shows_per_cent_best_and_second(lr_decay: Any) -> None:
    lines = to_markdown(_summary(lr_decay)).splitlines()
    assert lines[0] == "**lr_decay: Figure 3(a) (dataset=synthetic protocol=xsub recipe=paper)**"
    assert lines[2:9] == [
        "| layer_decay | accuracy, k = 10 (%) | n | vs stage 1 only | p (Holm) | pairs | more seeds | not there |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        "| 0.1 | **80.4 ± 0.4** | 5 | +10.4 ± 0.4 | <0.001 | 5 | - | - |",
        "| 0.2 | <u>75.4 ± 0.4</u> | 5 | +5.4 ± 0.4 | <0.001 | 5 | - | - |",
        # Three values around 70.0 to 70.4: under two binomial standard errors, so it is no win.
        "| 1.0 | 70.2 ± 0.5 | 3/5 | ( +0.2 ± 0.5) | 0.225 | 3/5 | 11 | 1 diverged, 1 missing |",
        "| stage 1 only | 70.0 ± - | 1 | - | - | - | - | - |",
        "| chance | 1.7 ± - | 1 | -68.3 ± - | - | 1 | - | - |",
    ]


def test_a_small_difference_is_no_win_however_small_its_p(laboratory: Any) -> None:
    name = laboratory.named
    laboratory.plan("s", [*[("", {"d": 1, "seed": s}, name(s)) for s in range(5)], ("stage 1 only", {}, name("one"))])
    for seed in range(5):
        laboratory.measure(name(seed), 0.72 + seed * 1e-4)
    laboratory.measure(name("one"), 0.70)
    table = _summary(laboratory, "s")
    assert table.loc[0, "p_value"] < 1e-6
    # Two binomial standard errors of 1613 samples are 2.2 points.
    assert "| (+2.0 ± 0.0) |" in to_markdown(table)
    assert "under 2.2 points, 2 binomial standard errors of 1613 samples" in to_markdown(table)


def test_the_caption_says_what_the_seeds_reseed(laboratory: Any) -> None:
    for reseed, words in (
        (True, "every seed reseeds stage 1 and tuning"),
        (False, "every seed reseeds tuning alone, stage 1 has one fixed seed"),
        (None, "what the seeds reseed is not recorded"),
    ):
        sweep, context = f"s{reseed}", {} if reseed is None else {"reseed_pretraining": reseed}
        laboratory.plan(sweep, [("", {"d": 1, "seed": s}, laboratory.named(s)) for s in range(3)], context)
        text = to_markdown(_summary(laboratory, sweep))
        assert f"95 % interval (Student's t) over 3 seeds; {words}." in text


def test_what_prints_equal_is_marked_equally(laboratory: Any) -> None:
    name = laboratory.named
    for size, value in enumerate((0.70001, 0.70002, 0.5, 0.1)):
        laboratory.measure(name(size), value)
    laboratory.plan("s", [("", {"size": size}, name(size)) for size in range(5)])
    cells = [line.split("|")[2].strip() for line in to_markdown(_summary(laboratory, "s")).splitlines()[4:9]]
    assert cells == ["**70.0 ± -**", "**70.0 ± -**", "<u>50.0 ± -</u>", "10.0 ± -", "-"]


def test_rich_aligns_digits_and_takes_texts_literally(lr_decay: Any) -> None:
    text = _shown(_summary(lr_decay), title="[bold]title", caption="a [red]caption")
    assert "[bold]title" in text
    assert "a [red]caption" in text
    columns = {line.index("±") for line in text.splitlines() if "±" in line}
    assert len(columns) == 1
    marked = to_rich(_summary(lr_decay)).columns[1]
    assert [str(cell.style) for cell in marked.cells][:3] == ["bold", "underline", ""]  # type: ignore[union-attr]


def test_csv_holds_fractions_in_full(lr_decay: Any) -> None:
    table = _summary(lr_decay)
    back: Any = pd.read_csv(io.StringIO(to_csv(table)), keep_default_na=False)
    assert list(back.columns) == list(table.columns)
    assert float(back.loc[0, "mean"]) == table.loc[0, "mean"]
    assert back.loc[2, "missing"] == "1 diverged, 1 missing"
    assert back.loc[3, "half_width"] == ""
    assert back.loc[3, "values"] == "[0.7]"


def test_a_sweep_with_no_axis_but_the_seed(laboratory: Any) -> None:
    laboratory.plan("s", [("", {"seed": s}, laboratory.named(s)) for s in range(2)])
    laboratory.measure(laboratory.named(0), 0.5)
    table = _summary(laboratory, "s")
    assert table.columns[0] == "reference"
    assert "| s | 50.0 ± - | 1/2 | 1 missing |" in to_markdown(table)


def test_a_sweep_without_any_number_is_a_table_of_gaps(laboratory: Any) -> None:
    laboratory.plan("s", [("", {"d": 0.5, "seed": s}, laboratory.named(s)) for s in range(2)])
    assert "| 0.5 | - | 0/2 | 2 missing |" in to_markdown(_summary(laboratory, "s"))


def test_p_values_are_corrected_for_their_number(laboratory: Any) -> None:
    name = laboratory.named
    grid = [("", {"d": d, "seed": s}, name(d, s)) for d in (1, 2) for s in range(3)]
    laboratory.plan("s", [*grid, ("stage 1 only", {}, name("one"))])
    laboratory.measure(name("one"), 0.70)
    for seed, (first, second) in enumerate([(0.80, 0.71), (0.82, 0.70), (0.86, 0.75)]):
        laboratory.measure(name(1, seed), first)
        laboratory.measure(name(2, seed), second)
    table = _summary(laboratory, "s")
    assert table["p_holm"].tolist()[:2] == pytest.approx(holm(table["p_value"].tolist()[:2]))
    assert table.loc[0, "p_holm"] == pytest.approx(2 * table.loc[0, "p_value"])
    assert table.loc[0, "p_holm"] < 0.05 < table.loc[1, "p_holm"]
    # The first is decided, the second would be with more seeds; against itself nothing is tested.
    differences = pd.Series([0.01, 0.0, 0.05])
    expected = more_pairs(differences.mean(), differences.std(), 3, num_tests=2)
    assert table["more_pairs"].tolist() == [pd.NA, expected, pd.NA]
    text = to_markdown(table)
    assert f"| {expected} |" in text
    assert "corrected for 2 tests (Holm)" in text


def test_from_ten_seeds_the_caption_says_bootstrap(laboratory: Any) -> None:
    name = laboratory.named
    laboratory.plan("s", [("", {"d": d, "seed": s}, name(d, s)) for d in (1, 2) for s in range(10)])
    for seed in range(10):
        laboratory.measure(name(1, seed), 0.7 + seed**2 / 1000)
    assert "(expanded percentile bootstrap from 10 seeds) over 10 seeds" in to_markdown(_summary(laboratory, "s"))
    for seed in range(4):
        laboratory.measure(name(2, seed), 0.7 + seed / 100)
    table = _summary(laboratory, "s")
    assert "(Student's t, expanded percentile bootstrap from 10 seeds)" in to_markdown(table)
    assert table.loc[0, "high"] - table.loc[0, "mean"] != pytest.approx(table.loc[0, "mean"] - table.loc[0, "low"])


def test_an_axis_may_be_called_as_a_column_of_the_page(laboratory: Any) -> None:
    laboratory.plan("s", [("", {"n": n, "b": "a"}, laboratory.named(n)) for n in (1, 2)])
    laboratory.measure(laboratory.named(1), 0.5)
    lines = to_markdown(_summary(laboratory, "s")).splitlines()
    assert lines[2].startswith("| axis n | b | accuracy, k = 10 (%) | n |")
    assert lines[4].startswith("| 1 | a | 50.0 ± - | 1 |")


def test_hostile_names_are_disarmed(laboratory: Any) -> None:
    laboratory.plan("s", [("", {"d": '=HYPERLINK("x")|<b>'}, laboratory.named(1))])
    laboratory.measure(laboratory.named(1), 0.5)
    table = _summary(laboratory, "s")
    assert '| =HYPERLINK("x")\\|\\<b> |' in to_markdown(table)
    assert to_csv(table).splitlines()[1].startswith('"\'=HYPERLINK(""x"")|<b>",')
