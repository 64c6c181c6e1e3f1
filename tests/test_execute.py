"""Running what is missing: each distinct stage once, failures kept, a killed run completed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from stars import execute
from stars.execute import Workplace, measured_seconds, missing, realise, units
from stars.fit import Diverged
from stars.outcome import StoreError
from stars.pretrain import Pretrain
from stars.probes.knn import KNN
from stars.results import read
from stars.runtime import Runtime
from stars.stage import Stage, fingerprint, kind
from stars.store import Store
from tests.examples import a_point

RAN: list[str] = []


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """Stages that only note that they ran: what is tested is which, when and how often."""
    RAN.clear()

    def run(self: Stage, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        RAN.append(kind(self))
        (out / "file.txt").write_text(",".join(sorted(inputs)))

    for cls in {type(stage) for stage in _chain()}:
        monkeypatch.setattr(cls, "run", run)
    data = a_point().features.data
    return Workplace(store=Store(tmp_path / "store"), datasets={data.content: tmp_path})


def _chain() -> list[Stage]:
    point = a_point()
    encoder = point.features.encoder
    return [encoder.start, encoder, point.features, point]  # type: ignore[attr-defined]


def test_inputs_run_before_readers_and_nothing_runs_twice(workplace: Workplace) -> None:
    assert realise(a_point(), workplace).status == "finished"
    assert RAN == ["pretrain", "tune", "features", "knn"]
    assert realise(a_point(), workplace).status == "finished"
    realise(a_point(layer_decay=0.9), workplace)
    assert RAN[4:] == ["tune", "features", "knn"], "stage 1 is shared"


def test_a_stage_sees_its_inputs_and_data_by_field_name(workplace: Workplace) -> None:
    realise(a_point(), workplace)
    folders = [workplace.store.output(stage) / "file.txt" for stage in _chain()]
    assert [path.read_text() for path in folders] == ["data", "data,start", "data,encoder", "data,features"]


def test_a_finished_target_needs_nothing_above_it(workplace: Workplace) -> None:
    realise(a_point(), workplace)
    point, shorter = a_point(), replace(a_point(), k=(1,))
    assert missing([point, shorter], workplace.store) == [shorter]


def test_an_outcome_records_the_exact_inputs(workplace: Workplace) -> None:
    realise(a_point(), workplace)
    pretrain, tune, *_ = _chain()
    outcomes = [workplace.store.outcome(stage) for stage in (pretrain, tune)]
    assert outcomes[1].inputs == {"start": outcomes[0].digest()}  # type: ignore[union-attr]


def test_divergence_is_kept_and_not_tried_again_unless_asked(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*_: object) -> None:
        RAN.append("pretrain")
        raise Diverged(7, float("nan"))

    sound = Pretrain.run
    monkeypatch.setattr(Pretrain, "run", diverge)
    for _ in range(2):
        outcome = realise(a_point(), workplace)
        assert (outcome.status, outcome.horizon) == ("diverged", 7)
    assert RAN == ["pretrain"], "neither again, nor what reads it"
    monkeypatch.setattr(Pretrain, "run", sound)
    assert realise(a_point(), workplace, retry=True).status == "finished"


def test_running_out_of_memory_is_an_outcome(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhaust(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Pretrain, "run", exhaust)
    assert realise(a_point(), workplace).status == "oom"


def test_a_defect_is_no_outcome(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(Pretrain, "run", fail)
    with pytest.raises(KeyError, match="a bug"):
        realise(a_point(), workplace)
    assert workplace.store.outcome(_chain()[0]) is None


def test_data_that_are_not_here_are_named(workplace: Workplace) -> None:
    with pytest.raises(StoreError, match="data set example"):
        realise(a_point(), replace(workplace, datasets={}))


def test_rows_lost_between_outcome_and_publication_are_written_by_the_next_run(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = '[{"split": "test", "probe": "knn", "feature": "pooled", "k": 1, "metric": "accuracy", "value": 0.5,'
    number += ' "count": 4, "selected_on": "none", "epoch": null}]'
    monkeypatch.setattr(KNN, "run", lambda self, inputs, out, runtime: (out / "numbers.json").write_text(number))
    with monkeypatch.context() as patch:
        patch.setattr(execute, "republish", lambda *_: None)
        realise(a_point(), workplace)
    assert read(workplace.store).num_rows == 0
    realise(a_point(), workplace)
    (row,) = read(workplace.store).to_pylist()
    assert (row["fingerprint"], row["value"], row["seeds"]) == (
        fingerprint(a_point()),
        0.5,
        '{"pretrain": 0, "tune": 0}',
    )


def test_units_share_what_is_shared_and_keep_the_rest_together(workplace: Workplace) -> None:
    points = [a_point(seed=seed) for seed in range(3)]
    pretrain = _chain()[0]
    cut = units(points, workplace.store, lambda _: False)
    assert [(kind(unit.stage), len(unit.waits_for)) for unit in cut] == [("pretrain", 0)] + [("knn", 1)] * 3
    assert cut[1].waits_for == {pretrain}
    alone = units(points[:1], workplace.store, lambda stage: stage.trains())
    assert [kind(unit.stage) for unit in alone] == ["pretrain", "tune", "knn"]
    assert [len(unit.waits_for) for unit in alone] == [0, 1, 1]
    realise(pretrain, workplace)
    assert [kind(unit.stage) for unit in units(points, workplace.store, lambda _: False)] == ["knn"] * 3


def test_time_is_estimated_from_what_was_measured(workplace: Workplace) -> None:
    realise(a_point(), workplace)
    assert set(measured_seconds(workplace.store, _chain())) == {"pretrain", "tune", "features", "knn"}
    assert measured_seconds(workplace.store, [a_point(seed=5)]) == {}
