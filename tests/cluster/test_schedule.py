"""The searcher that suggests what is ready: order, waiting, and what a failure takes along. No Ray cluster."""

from pathlib import Path

import pytest

from cluster.drive import trained_by_ray
from cluster.options import Options
from cluster.schedule import Ready, Searcher
from stars.execute import units
from stars.recipes import small
from stars.stage import fingerprint, kind
from stars.store import Store
from tests.examples import DATA, a_point


@pytest.fixture
def searcher(tmp_path: Path) -> Ready:
    """Stage 1, read by three points."""
    cut = units([a_point(seed=seed) for seed in range(3)], Store(tmp_path), lambda _: False)
    return Ready(cut, {"job": {}}, {fingerprint(unit.stage): "tune" for unit in cut}, capacity=4, num_workers=1)


def test_readers_wait_for_their_input(searcher: Ready) -> None:
    first = searcher.suggest("a")
    assert isinstance(first, dict)
    assert first["stage"]["type"] == "pretrain.Pretrain"
    assert searcher.suggest("b") is None, "the others wait"
    searcher.on_trial_complete("a", {"status": "finished"})
    suggested = [searcher.suggest(trial) for trial in "bcd"]
    assert all(isinstance(config, dict) and config["stage"]["type"] == "probes.knn.KNN" for config in suggested)
    assert searcher.suggest("e") == Searcher.FINISHED


@pytest.mark.parametrize("ending", [{"status": "diverged"}, {"status": "error"}, None])
def test_a_failure_takes_its_readers_out_and_no_others(tmp_path: Path, ending: dict[str, str] | None) -> None:
    point = a_point()
    cut = units([a_point(seed=1), a_point(seed=2), point.features.encoder.start], Store(tmp_path), lambda _: False)  # type: ignore[attr-defined]
    assert [kind(unit.stage) for unit in cut] == ["pretrain", "knn", "knn"]
    searcher = Ready(cut, {}, {fingerprint(unit.stage): "tune" for unit in cut}, capacity=4, num_workers=1)
    searcher.suggest("a")
    searcher.on_trial_complete("a", ending, error=ending is None)
    assert searcher.suggest("b") == Searcher.FINISHED


def test_no_more_trainers_run_at_once_than_have_room(tmp_path: Path) -> None:
    tuned = [a_point(seed=seed).features.encoder for seed in range(3)]
    cut = units([*tuned, a_point(seed=9)], Store(tmp_path), lambda stage: stage.trains())
    trainer = {fingerprint(unit.stage): "ray" if unit.stage.trains() else "tune" for unit in cut}
    searcher = Ready(cut, {}, trainer, capacity=5, num_workers=2)
    searcher.suggest("pretrain")
    searcher.on_trial_complete("pretrain", {"status": "finished"})
    assert isinstance(searcher.suggest("a"), dict)
    assert isinstance(searcher.suggest("b"), dict)
    assert searcher.suggest("c") is None
    searcher.on_trial_complete("a", {"status": "finished"})
    assert isinstance(searcher.suggest("c"), dict)


@pytest.mark.parametrize(("capacity", "beside"), [(1, False), (2, True)])
def test_others_run_beside_trainers_only_in_what_is_left(tmp_path: Path, capacity: int, beside: bool) -> None:
    """Tune keeps a trial's process and its processor: with one processor, the trainer would never get it."""
    untrained = small(DATA).untrained(0)
    cut = units([a_point(), untrained], Store(tmp_path), lambda stage: kind(stage) == "pretrain" and stage.trains())
    trainer = {fingerprint(unit.stage): "ray" if unit.stage.trains() else "tune" for unit in cut}
    searcher = Ready(cut, {}, trainer, capacity=capacity, num_workers=1)
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert isinstance(first, dict)
    assert first["trainer"] == "ray"
    assert isinstance(second, dict) == beside
    searcher.on_trial_complete("a", {"status": "finished"})
    assert isinstance(searcher.suggest("c"), dict)


def test_a_failed_reader_leaves_the_others(searcher: Ready) -> None:
    searcher.suggest("a")
    searcher.on_trial_complete("a", {"status": "finished"})
    searcher.suggest("b")
    searcher.on_trial_complete("b", {"status": "diverged"})
    assert isinstance(searcher.suggest("c"), dict)


@pytest.mark.parametrize(
    ("options", "gpus", "trained"),
    [
        (Options(), 0, ["pretrain"]),
        (Options(), 1, ["pretrain", "tune"]),
        (Options(workers=2), 0, ["pretrain", "tune"]),
        (Options(trainer="ray"), 0, ["pretrain", "tune"]),
        (Options(trainer="tune"), 1, []),
    ],
)
def test_which_stages_become_torch_trainers(options: Options, gpus: int, trained: list[str]) -> None:
    point = a_point()
    encoder = point.features.encoder
    chain = [encoder.start, encoder, point.features, point]  # type: ignore[attr-defined]
    answer = trained_by_ray(options, gpus)
    assert [kind(stage) for stage in chain if answer(stage)] == trained
