"""The searcher that suggests what is ready: order, waiting, and what a failure takes along. No Ray cluster."""

from pathlib import Path

import pytest
from ray.tune.search import Searcher

from cluster.drive import trained_by_ray
from cluster.options import Options
from cluster.schedule import Ready
from stars.execute import units
from stars.stage import fingerprint, kind
from stars.store import Store
from tests.examples import a_point


@pytest.fixture
def searcher(tmp_path: Path) -> Ready:
    """Stage 1, read by three points."""
    cut = units([a_point(seed=seed) for seed in range(3)], Store(tmp_path), lambda _: False)
    return Ready(cut, {"job": {}}, {fingerprint(unit.stage): "tune" for unit in cut})


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
    searcher = Ready(cut, {}, {fingerprint(unit.stage): "tune" for unit in cut})
    searcher.suggest("a")
    searcher.on_trial_complete("a", ending, error=ending is None)
    assert searcher.suggest("b") == Searcher.FINISHED


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
