"""Rows: those of older code are read beside those of this one."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analysis.load import load
from analysis.table import summary
from stars.outcome import StoreError
from stars.parquet import to_bytes
from stars.results import NUMBERS, ROW_VERSION, SCHEMA, Number, publish, read, read_numbers, write_numbers
from stars.stage import fingerprint
from stars.store import Store
from tests.examples import a_point
from tests.stores import begun, end, finish_all, planned

LATER = ("draw", "variant")
# As rows stood before there were draws and variants.
FIRST = [
    *(("fingerprint", pa.string()), ("dataset", pa.string()), ("data_content", pa.string()), ("protocol", pa.string())),
    *(("label_rule", pa.string()), ("split", pa.string()), ("probe", pa.string()), ("stage_version", pa.int32())),
    *(("feature", pa.string()), ("k", pa.int32()), ("metric", pa.string()), ("value", pa.float64())),
    *(("count", pa.int64()), ("selected_on", pa.string()), ("epoch", pa.int32()), ("seeds", pa.string())),
    *(("recipe", pa.string()), ("outcome", pa.string()), ("seconds", pa.float64()), ("gpu_seconds", pa.float64())),
    *(("device", pa.string()), ("workers", pa.int32()), ("code", pa.string()), ("libraries", pa.string())),
    *(("finished", pa.timestamp("us", tz="UTC")), ("schema_version", pa.int32())),
]
NULLABLE = ("k", "value", "epoch")


def first_schema() -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=name in NULLABLE) for name, kind in FIRST])


def old_row(name: str, value: float) -> dict[str, Any]:
    words = {field: "x" for field, kind in FIRST if kind == pa.string()}
    numbers = {field: 1 for field, kind in FIRST if pa.types.is_integer(kind) or pa.types.is_floating(kind)}
    dated = {"finished": datetime(2026, 1, 2, tzinfo=UTC)}
    return {**words, **numbers, **dated, "fingerprint": name, "metric": "accuracy", "value": value, "epoch": None}


def test_rows_of_older_code_are_read_with_nulls(tmp_path: Path) -> None:
    store = Store(tmp_path)
    point = planned(store, decays=(1.0,), seeds=1)
    finish_all(store, point)
    old = pa.Table.from_pylist([old_row("0" * 64, 0.25)], schema=first_schema())
    store.create(f"results/{'0' * 64}.parquet", to_bytes(old))
    rows = {row["fingerprint"]: row for row in read(store).to_pylist()}
    assert rows["0" * 64] == old_row("0" * 64, 0.25) | dict.fromkeys(LATER)
    assert {row["schema_version"] for row in rows.values()} == {1, ROW_VERSION}
    frame = load(store).set_index("fingerprint")
    assert frame.loc["0" * 64, "value"] == 0.25
    assert frame.loc[["0" * 64], list(LATER)].isna().all(axis=None)


@pytest.mark.parametrize("lost", ["k", "value", "probe"])
def test_only_columns_that_came_later_may_be_absent(tmp_path: Path, lost: str) -> None:
    store = Store(tmp_path)
    old = pa.Table.from_pylist([old_row("0" * 64, 0.25)], schema=first_schema())
    store.create(f"results/{'0' * 64}.parquet", to_bytes(old.drop_columns([lost])))
    with pytest.raises(StoreError, match=f"columns that differ: .*'{lost}'"):
        read(store)


def test_columns_that_came_later_may_be_null() -> None:
    assert [field.name for field in SCHEMA if field.metadata] == list(LATER)
    assert all(SCHEMA.field(name).nullable for name in LATER)


def measured(draw: int, k: int, value: float) -> Number:
    return Number(
        split="test",
        probe="fewshot",
        feature="pooled",
        k=k,
        metric="accuracy_of_draw",
        value=value,
        count=8,
        draw=draw,
        variant=f"of {k}",
    )


def test_draws_stand_beside_their_mean_and_are_not_averaged_with_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (point,) = (one for one in planned(store, decays=(1.0,), seeds=1) if not one.reference)
    attempt = begun(store, point.stage)
    draws = [measured(draw, 1, value) for draw, value in enumerate((0.25, 0.75, 0.5))]
    mean = replace(draws[0], metric="accuracy", draw=None, variant=None, value=0.5)
    write_numbers(attempt.output, [mean, *draws])
    outcome = end(store, attempt, "finished")
    publish(store, point.stage, outcome, attempt.output)
    assert read_numbers(store, point.stage) == [mean, *draws]
    rows = [row for row in read(store).to_pylist() if row["fingerprint"] == fingerprint(point.stage)]
    assert [(row["draw"], row["variant"]) for row in rows] == [(None, None), (0, "of 1"), (1, "of 1"), (2, "of 1")]
    frame = load(store, "lr_decay")
    shown = summary(frame, sweep="lr_decay", k=1)
    line = shown[shown["reference"] == ""].iloc[0]
    assert (line["mean"], line["count"], line["values"]) == (0.5, 1, (0.5,))
    with pytest.raises(ValueError, match=r"accuracy_of_draw has several numbers .*draw \(0, 1, 2\)"):
        summary(frame, sweep="lr_decay", metric="accuracy_of_draw", k=1)


def test_numbers_of_older_code_are_published(tmp_path: Path) -> None:
    store = Store(tmp_path)
    attempt = begun(store, a_point())
    write_numbers(attempt.output, [measured(0, 1, 0.5)])
    path = attempt.output / NUMBERS
    (number,) = json.loads(path.read_text())
    path.write_text(json.dumps([{name: entry for name, entry in number.items() if name not in LATER}]))
    publish(store, a_point(), end(store, attempt, "finished"), attempt.output)
    (row,) = read(store).to_pylist()
    assert (row["value"], row["draw"], row["variant"]) == (0.5, None, None)


def test_a_file_with_rows_of_this_code_holds_them_all(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish_all(store, planned(store, decays=(1.0,), seeds=1))
    for key in store.keys("results", ".parquet"):
        assert pq.read_schema(store.location / key).names == SCHEMA.names
