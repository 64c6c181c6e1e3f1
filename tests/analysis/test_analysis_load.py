from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.load import axes, contexts, load, notes
from stars.outcome import StoreError
from stars.results import SCHEMA
from stars.sweep import read_plans


def _named(*words: object) -> str:
    return "".join(format(ord(c), "x") for c in repr(words)).ljust(64, "0")[:64]


def _snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in sorted(folder.rglob("*"))}


def test_every_planned_point_stands_there_with_its_numbers(lr_decay: Any) -> None:
    frame = load(lr_decay.store, "lr_decay")
    assert list(frame.columns) == [
        *("sweep", "paper", "reference", "layer_decay", "seed"),
        *("context.dataset", "context.protocol", "context.recipe", "context.reseed_pretraining"),
        *("state", "fingerprint"),
        *[name for name in SCHEMA.names if name != "fingerprint"],
    ]
    # 13 measured points of the grid with two numbers each, 2 without; the shared reference five times; chance once.
    assert len(frame) == 13 * 2 + 2 + 5 * 2 + 1
    assert frame["state"].value_counts().to_dict() == {"finished": 37, "diverged": 1, "missing": 1}
    assert frame.loc[frame["state"] != "finished", "value"].isna().all()
    first = frame.iloc[0]
    assert (first["layer_decay"], first["seed"], first["k"], first["value"]) == (0.1, 0, 10, 0.8)
    assert frame["reference"].drop_duplicates().tolist() == ["", "stage 1 only", "chance"]
    assert axes(frame) == ["layer_decay", "seed"]
    assert contexts(frame) == [name for name in frame.columns if name.startswith("context.")]


def test_axes_keep_their_types(laboratory: Any) -> None:
    at = {"layer_decay": 1, "strategy": "nnclr", "queue_size": 1024, "momentum": True, "group": 4, "seed": 0}
    other = {**at, "layer_decay": 0.5, "momentum": False, "group": "all", "seed": 1}
    laboratory.plan("types", [("", at, _named(0)), ("", other, _named(1)), ("none", {}, _named(2))])
    frame = load(laboratory.store, "types")
    kinds = {name: str(frame[name].dtype) for name in axes(frame)}
    assert kinds == {
        "layer_decay": "float64",
        "strategy": "str",
        "queue_size": "Int64",
        "momentum": "boolean",
        "group": "object",
        "seed": "Int64",
    }
    assert [str(frame[name].dtype) for name in ("k", "count", "epoch", "workers")] == ["Int32", "Int64"] + 2 * ["Int32"]
    assert str(frame["finished"].dtype) == "datetime64[us, UTC]"
    # Numbers ascend; the reference comes last and takes no axis.
    assert frame["layer_decay"].tolist()[:2] == [0.5, 1.0]
    assert frame.loc[2, list(at)].isna().all()


def test_words_keep_their_planned_order_and_numbers_ascend(laboratory: Any) -> None:
    points = [
        ("", {"strategy": name, "size": size}, _named(name, size)) for name in ("nnclr", "dino") for size in (20, 3)
    ]
    laboratory.plan("order", points)
    frame = load(laboratory.store, "order")
    listed = list(zip(frame["strategy"], frame["size"], strict=True))
    assert listed == [("nnclr", 3), ("nnclr", 20), ("dino", 3), ("dino", 20)]


def test_a_point_of_several_plans_stands_once(laboratory: Any) -> None:
    laboratory.plan("twice", [("", {"layer_decay": 1.0, "seed": 0}, _named("same"))])
    laboratory.plan("twice", [("", {"seed": 0, "layer_decay": 1}, _named("same")), ("", {"seed": 1}, _named("b"))])
    assert read_plans(laboratory.store).num_rows == 3
    assert load(laboratory.store, "twice")["fingerprint"].tolist().count(_named("same")) == 1


def test_a_probe_of_two_sweeps_counts_in_both_and_others_are_kept_when_all_are_asked_for(laboratory: Any) -> None:
    laboratory.plan("one", [("", {"layer_decay": 0.2}, _named("shared"))])
    laboratory.plan("two", [("", {"queue_size": 8192}, _named("shared"))])
    laboratory.measure(_named("shared"), 0.8)
    laboratory.measure(_named("orphan"), 0.5)
    frame = load(laboratory.store)
    assert frame["value"].tolist() == [0.8, 0.8, 0.5]
    assert frame["sweep"].tolist()[:2] == ["one", "two"]
    assert frame["sweep"].isna().tolist() == [False, False, True]
    assert frame["state"].tolist() == ["finished"] * 3
    one = load(laboratory.store, "one")
    assert (len(one), axes(one)) == (1, ["layer_decay"])


def test_the_same_store_gives_the_same_frame_whichever_plan_came_first(laboratory: Any, tmp_path: Path) -> None:
    plans = [[("", {"d": d, "seed": s}, _named(d, s)) for s in (1, 0)] for d in (0.5, 0.1)]
    for plan in plans:
        laboratory.plan("x", plan)
    other = type(laboratory)(tmp_path / "other")
    for plan in reversed(plans):
        other.plan("x", plan)
    pd.testing.assert_frame_equal(load(laboratory.store), load(other.store))
    assert load(other.store)["d"].tolist() == [0.1, 0.1, 0.5, 0.5]


def test_reading_a_folder_writes_nothing(lr_decay: Any) -> None:
    before = _snapshot(lr_decay.store.location)
    load(lr_decay.store.location, "lr_decay")
    assert _snapshot(lr_decay.store.location) == before


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not there"):
        load(tmp_path / "typo", "lr_decay")
    assert not (tmp_path / "typo").exists()


def test_an_empty_store_gives_an_empty_frame_with_its_columns(laboratory: Any) -> None:
    frame = load(laboratory.store)
    assert frame.empty
    assert {"sweep", "state", "value"} <= set(frame.columns)


@pytest.mark.parametrize("name", ["unknown", "", "../results"])
def test_a_sweep_without_a_plan_is_refused_with_those_there_are(lr_decay: Any, name: str) -> None:
    with pytest.raises(ValueError, match=r"has no plan in .*; planned are: lr_decay"):
        load(lr_decay.store, name)


def test_a_plan_given_takes_the_place_of_those_in_the_store(lr_decay: Any) -> None:
    plan = read_plans(lr_decay.store).slice(5, 2)
    frame = load(lr_decay.store, None, plan)
    assert frame["layer_decay"].unique().tolist() == [0.2]
    assert frame["fingerprint"].nunique() == 2
    assert load(lr_decay.store, "another", plan).empty


def test_an_axis_named_as_a_results_column_is_refused(laboratory: Any) -> None:
    laboratory.plan("neighbours", [("", {"k": 5, "seed": 0}, _named(0))])
    with pytest.raises(ValueError, match="sweep neighbours: axis 'k' has the name of a results column"):
        load(laboratory.store, "neighbours")


def test_damaged_files_are_named(lr_decay: Any) -> None:
    path = sorted((lr_decay.store.location / "results").iterdir())[3]
    content = bytearray(path.read_bytes())
    # A bit in the first data page: only the checksum of the page tells.
    content[30] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(StoreError, match=f"{path.name}: damaged"):
        load(lr_decay.store, "lr_decay")
    path.write_bytes(b"")
    with pytest.raises(StoreError, match=path.name):
        load(lr_decay.store, "lr_decay")


def test_a_damaged_plan_is_named(lr_decay: Any) -> None:
    path = next((lr_decay.store.location / "sweeps" / "lr_decay").iterdir())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(StoreError, match=r"lr_decay.*: damaged"):
        load(lr_decay.store, "lr_decay")


def test_rows_and_plans_of_another_schema_version_are_refused(lr_decay: Any) -> None:
    lr_decay.measure(_named("later"), 0.9, schema_version=3)
    with pytest.raises(StoreError, match=r"rows of schema version 2, 3; this code reads 1, 2 alone"):
        load(lr_decay.store, "lr_decay")


def test_plans_of_another_schema_version_are_refused(laboratory: Any) -> None:
    laboratory.plan("x", [("", {"seed": 0}, _named(0))], schema_version=7)
    with pytest.raises(StoreError, match=r"planned points of schema version 7; this code reads 1 alone"):
        load(laboratory.store, "x")


def test_notes_say_what_no_number_says(lr_decay: Any) -> None:
    assert notes(load(lr_decay.store)) == []
    lr_decay.measure(_named("late"), 0.9, code="bbb+dirty", selected_on="test", libraries='{"torch": "2.14.0"}')
    said = notes(load(lr_decay.store))
    # 13 points and the reference with two numbers each, chance with one, and the late one.
    assert said == [
        "The numbers come from 2 code versions: aaa (29), bbb+dirty (1).",
        "The numbers come from several library versions: torch 2.13.0, 2.14.0.",
        "1 of 30 numbers come from code that differed from its commit (+dirty).",
        "1 of 30 numbers come from a checkpoint that was chosen on the test split.",
    ]


def test_rows_tell_that_a_point_is_finished_without_its_outcome(laboratory: Any) -> None:
    laboratory.plan("x", [("", {"seed": s}, _named(s)) for s in range(3)])
    laboratory.measure(_named(0), 0.5)
    laboratory.end("knn", _named(1), "finished")
    assert load(laboratory.store, "x")["state"].tolist() == ["finished", "finished", "missing"]
