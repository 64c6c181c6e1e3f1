"""Shares of GPUs: what the searcher suggests is what Tune can place, and no unit pretends to have used one. No Ray."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cluster.executor import device, unplaced  # before Ray: it sets what Ray reads on import
from cluster.queue import Queue
from cluster.resources import Amount, Capacity, needs
from cluster.schedule import Ready
from cluster.tuner import reserved
from stars.execute import units
from stars.recipes import small
from stars.store import Store
from tests.examples import DATA

from ray import train  # isort: skip
from ray.train.v2._internal.exceptions import WorkerGroupStartupFailedError  # isort: skip
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError  # isort: skip


@pytest.mark.parametrize(("share", "num_gpus", "at_once"), [(0.5, 1, 2), (1 / 3, 1, 3), (0.4, 2, 4), (1, 2, 2)])
@pytest.mark.parametrize("lane", ["ray", "tune"])
def test_as_many_units_share_the_gpus_as_tune_can_place(
    tmp_path: Path, lane: str, share: float, num_gpus: int, at_once: int
) -> None:
    need = needs(num_workers=1, cpus_per_trial=None, gpus_per_trial=share, has_gpus=True)
    queue = Queue(lambda _: lane, lambda _: None)
    queue.add(units([small(DATA).untrained(seed) for seed in range(9)], Store(tmp_path), lambda _: True))
    searcher = Ready(
        queue,
        needs=need,
        capacity=lambda: Capacity(nodes=(Amount(cpus=8, gpus=num_gpus),)),
        may_start=lambda: True,
        ended=lambda name, report: None,
        look=lambda: None,
    )
    suggested = [config for trial in range(9) if isinstance(config := searcher.suggest(str(trial)), dict)]
    assert len(suggested) == at_once
    if lane == "tune":
        (bundle,) = reserved(need)(suggested[0]).bundles
        assert bundle == {"CPU": 1, "GPU": share}
        # Ray gives a share of one GPU, never of two together.
        assert num_gpus * int(1 / bundle["GPU"] + 1e-6) == at_once


def some_gpu() -> torch.device:
    """The third one of a machine."""
    return torch.device("cuda", 2)


@pytest.mark.parametrize("gpus", [0.5, 1])
def test_a_reserved_gpu_that_torch_does_not_see_is_an_error(gpus: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"reserved a GPU, and torch sees none .* or --gpus-per-trial 0"):
        device(Amount(cpus=1, gpus=gpus), some_gpu)


@pytest.mark.parametrize(("gpus", "found"), [(0, "cpu"), (0.5, "cuda:2"), (1, "cuda:2")])
def test_a_worker_computes_on_what_it_reserved(gpus: float, found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert str(device(Amount(cpus=1, gpus=gpus), some_gpu)) == found


@pytest.mark.parametrize(
    ("make", "is_unplaced"),
    [
        (lambda: train.ControllerError(WorkerGroupStartupTimeoutError(4)), True),
        (lambda: train.ControllerError(WorkerGroupStartupFailedError("its node has gone")), False),
        (lambda: train.WorkerGroupError("one of them", {0: TimeoutError("timed out")}), False),
    ],
)
def test_workers_without_room_are_no_dead_ones(make: Callable[[], Exception], is_unplaced: bool) -> None:
    assert unplaced(make()) is is_unplaced
