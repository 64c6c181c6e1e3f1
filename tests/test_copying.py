"""Copying into another store: everything or a sweep, verified, on top of what is there. Kills: `test_upkeep`."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from stars.copying import Report, copy
from stars.data.packed import Packed
from stars.outcome import StoreError
from stars.parquet import to_bytes
from stars.results import read
from stars.stage import Stage, fingerprint, kind, upstream
from stars.store import Store
from tests.stores import begun, end, finish, finish_all, grid, planned, snapshot, stranger
from tests.training import Tiny


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """A finished sweep and a chain that is in no plan."""
    store = Store(tmp_path / "source")
    finish_all(store, planned(store, decays=(0.2,), seeds=1))
    for stage in stranger():
        finish(store, stage)
    return store


@pytest.fixture
def target(tmp_path: Path) -> Store:
    return Store(tmp_path / "target")


def sweep_stages() -> list[Stage]:
    return upstream(*(point.stage for point in grid(decays=(0.2,), seeds=1)))


def counted(report: Report) -> dict[str, tuple[int, int]]:
    return {name: (tally.copied, tally.there) for name, tally in report.tallies.items()}


def numbers(store: Store) -> list[dict[str, object]]:
    return sorted(read(store).to_pylist(), key=lambda row: row["fingerprint"])


def test_everything_is_copied_byte_for_byte_from_a_store_that_is_only_read(source: Store, target: Store) -> None:
    before = snapshot(source.location)
    report = copy(Store(source.location, read_only=True), target)
    assert snapshot(source.location) == before
    assert snapshot(target.location) == before
    assert not report.damaged
    assert sum(tally.num_bytes for tally in report.tallies.values()) == sum(map(len, before.values()))
    fresh = Store(target.location)
    for stage in [*sweep_stages(), *stranger()]:
        assert fresh.output(stage).is_dir(), "verified"
    assert numbers(target) == numbers(source)


def test_copied_again_everything_is_there(source: Store, target: Store) -> None:
    first = counted(copy(source, target))
    before = snapshot(target.location)
    assert counted(copy(source, target)) == {name: (0, copied) for name, (copied, _) in first.items()}
    assert snapshot(target.location) == before


def test_a_sweep_takes_with_it_what_its_points_need_and_nothing_else(source: Store, target: Store) -> None:
    report = copy(source, target, sweep="lr_decay")
    assert not report.damaged
    assert all(target.finished(stage) for stage in sweep_stages())
    assert not any(target.finished(stage) for stage in stranger())
    probes = {fingerprint(point.stage) for point in grid(decays=(0.2,), seeds=1)}
    assert {row["fingerprint"] for row in numbers(target)} == probes
    with pytest.raises(ValueError, match=r"--sweep is nothing; .* has lr_decay"):
        copy(source, target, sweep="nothing")


def test_what_a_search_of_the_sweep_has_run_comes_along(source: Store, target: Store) -> None:
    names = [f"{kind(stage)}/{fingerprint(stage)}" for stage in stranger()]
    source.create("searches/other/study.parquet", to_bytes(pa.table({"upstream": [names]})))
    copy(source, target, sweep="other")
    assert all(target.finished(stage) for stage in stranger())


def test_what_is_unfinished_stays_behind(source: Store, target: Store) -> None:
    unfinished = finish_nothing(source)
    copy(source, target)
    assert not (target.location / kind(unfinished) / fingerprint(unfinished)).exists()


def finish_nothing(store: Store) -> Stage:
    stage = replace(stranger()[0], seed=9)  # type: ignore[call-arg]
    begun(store, stage, checkpoint=True)
    return stage


def test_damage_is_named_and_not_copied_while_the_rest_is(source: Store, target: Store) -> None:
    first, *others = stranger()
    (source.output(first) / "deep" / "weights.bin").write_bytes(b"something else")
    report = copy(Store(source.location), target)
    assert len(report.damaged) == 1
    assert "deep/weights.bin: damaged" in report.damaged[0]
    assert target.outcome(first) is None
    assert all(target.finished(stage) for stage in [*sweep_stages(), *others])
    (source.output(others[0]) / "deep" / "weights.bin").unlink()
    report = copy(Store(source.location), Store(target.location.with_name("again")))
    assert any("missing; 640 bytes are recorded" in problem for problem in report.damaged)


@pytest.mark.parametrize("folder", ["results", "predictions"])
def test_damaged_rows_are_named_and_not_copied(source: Store, target: Store, folder: str) -> None:
    probe = stranger()[-1]
    path = source.location / folder / f"{fingerprint(probe)}.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    report = copy(source, target)
    assert len(report.damaged) == 1
    assert str(path) in report.damaged[0]
    assert not (target.location / folder / path.name).exists()
    assert not (target.location / "results" / path.name).exists(), "rows would say that the predictions are there"


def test_a_half_copied_file_is_copied_again(source: Store, target: Store) -> None:
    (stage, *_) = stranger()
    copy(source, target)
    folder = target.output(stage)
    (folder / "deep" / "weights.bin").write_bytes(b"half")
    (target.location / kind(stage) / fingerprint(stage) / "outcome.json").unlink()
    copy(source, target)
    assert Store(target.location).output(stage) == folder


def test_a_failure_is_copied_with_its_reason(source: Store, target: Store) -> None:
    stage = finish_nothing(source)
    end(source, source.begin(stage), "diverged", "loss is nan")
    copy(source, target)
    outcome = target.outcome(stage)
    assert outcome is not None
    assert (outcome.status, outcome.reason) == ("diverged", "loss is nan")
    assert (kind(stage), fingerprint(stage)) in target.stages()


def retried(store: Store) -> Stage:
    stage = finish_nothing(store)
    end(store, store.begin(stage), "diverged", "first")
    finish(store, stage)
    return stage


def reasons(store: Store, stage: Stage) -> list[str]:
    folder = store.location / kind(stage) / fingerprint(stage)
    documents = sorted(folder.glob("outcome*.json"), key=lambda path: (len(path.name), path.name))
    found = [json.loads(path.read_text()) for path in documents]
    assert len(found) == store.last_outcome(kind(stage), fingerprint(stage))[1], "one chain without a gap"
    return [document["reason"] or document["status"] for document in found]


def test_a_retried_stage_keeps_its_chain_of_outcomes(source: Store, target: Store) -> None:
    stage = retried(source)
    copy(source, target)
    assert reasons(target, stage) == ["first", "finished"]


def test_what_is_finished_here_goes_behind_what_failed_there(source: Store, target: Store) -> None:
    stage = retried(source)
    end(target, begun(target, stage), "oom", "too large")
    copy(source, target)
    assert reasons(target, stage) == ["too large", "first", "finished"]
    assert target.output(stage).is_dir()


def test_a_failure_here_adds_nothing_to_what_failed_there(source: Store, target: Store) -> None:
    stage = finish_nothing(source)
    end(source, source.begin(stage), "diverged", "here")
    end(target, begun(target, stage), "oom", "there")
    copy(source, target)
    assert reasons(target, stage) == ["there"]


def test_what_the_other_store_has_finished_itself_stays(source: Store, target: Store) -> None:
    for stage in stranger():
        finish(target, stage, value=0.25)
    before = snapshot(target.location)
    copy(source, target)
    after = snapshot(target.location)
    assert {path: after[path] for path in before} == before
    assert [row["value"] for row in numbers(target) if row["fingerprint"] == fingerprint(stranger()[-1])] == [0.25]


def test_rows_do_not_join_a_stage_that_another_attempt_has_finished(source: Store, target: Store) -> None:
    for stage in stranger():
        finish(target, stage, value=0.25)
    probe = fingerprint(stranger()[-1])
    for folder in ("results", "predictions"):
        (target.location / folder / f"{probe}.parquet").unlink()
    copy(source, target)
    assert probe not in {row["fingerprint"] for row in numbers(target)}


def test_a_search_is_copied_and_brought_up_to_date_but_never_over_another(source: Store, target: Store) -> None:
    def write(store: Store, journal: bytes, view: bytes) -> None:
        store.replace("searches/s/study.journal", journal)
        store.replace("searches/s/study.parquet", view)

    write(source, b"1\n2\n", b"two")
    copy(source, target)
    write(source, b"1\n2\n3\n", b"three")
    copy(source, target)
    assert (target.read("searches/s/study.journal"), target.read("searches/s/study.parquet")) == (
        b"1\n2\n3\n",
        b"three",
    )
    write(target, b"1\n2\nx\n", b"other")
    report = copy(source, target)
    assert report.different == [f"{target.location}/searches/s/study.journal: a search of its own, left as it is"]
    assert (target.read("searches/s/study.journal"), target.read("searches/s/study.parquet")) == (
        b"1\n2\nx\n",
        b"other",
    )


def test_packed_data_come_along_when_asked(source: Store, target: Store, tiny: Tiny) -> None:
    shutil.copytree(tiny.packed, source.location / "data" / "tiny")
    copy(source, target)
    assert not (target.location / "data").exists()
    report = copy(source, target, data=True)
    Packed.open(target.location / "data" / "tiny").verify()
    assert counted(report)["data"] == (1, 0)
    assert counted(copy(source, target, data=True))["data"] == (0, 1)
    joints = source.location / "data" / "tiny" / "joints.npy"
    joints.write_bytes(joints.read_bytes()[:-1] + b"!")
    other = Store(target.location.with_name("other"))
    assert "joints.npy: damaged" in copy(source, other, data=True).damaged[0]
    assert list((other.location / "data").iterdir()) == [], "complete, or not there"


def test_a_store_is_not_copied_into_itself(source: Store) -> None:
    with pytest.raises(ValueError, match="another place"):
        copy(Store(source.location, read_only=True), source)


def test_a_damaged_plan_ends_the_copy(source: Store, target: Store) -> None:
    (path,) = (source.location / "sweeps" / "lr_decay").iterdir()
    path.write_bytes(b"nothing")
    with pytest.raises(StoreError, match=path.name):
        copy(source, target)
