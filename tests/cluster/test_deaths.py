"""A worker that dies is run again; a defect in its code is reported."""

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from cluster.executor import death  # before Ray: it sets what Ray reads on import

from ray import train  # isort: skip
from ray.exceptions import ActorDiedError  # isort: skip
from ray.train.torch import TorchTrainer  # isort: skip
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError  # isort: skip
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError  # isort: skip

pytestmark = pytest.mark.filterwarnings("default")

BEREFT = RuntimeError("[pair.cc:553] Connection closed by peer [127.0.0.1]:36252. This is typically caused by …")
BEREFT_ON_GPU = RuntimeError("ncclRemoteError: remote process exited or there was a network error")
DEFECT = ValueError("a defect")


def unwell(failure: Exception) -> Any:
    """What Ray Train says of a worker that does not answer as it should."""
    return WorkerHealthCheckFailedError("A worker health check failed.", failure=failure)


def failures(*causes: Exception) -> Any:
    """What `TorchTrainer.fit` raises when its workers fail so, by rank."""
    return train.WorkerGroupError("2 workers", dict(enumerate(causes)))


@pytest.mark.parametrize(
    "problem",
    [
        failures(BEREFT, unwell(ActorDiedError())),
        failures(DEFECT, unwell(ActorDiedError())),
        failures(BEREFT),
        failures(BEREFT_ON_GPU, BEREFT_ON_GPU),
        ActorDiedError(),
        train.ControllerError(WorkerGroupStartupTimeoutError(2)),
    ],
)
def test_a_death_is_a_death(problem: Exception) -> None:
    assert death(problem)


@pytest.mark.parametrize(
    "problem",
    [
        failures(DEFECT),
        failures(BEREFT, DEFECT),
        failures(RuntimeError("a defect")),
        # It lives, and answers what cannot be sent.
        failures(BEREFT, unwell(TypeError("cannot pickle"))),
        train.ControllerError(KeyError("rank")),
    ],
)
def test_a_defect_is_no_death(problem: Exception) -> None:
    assert not death(problem)


def train_two(end: Callable[[], None], name: str, storage: str) -> Any:
    """A real group of two in a collective, one of which ends so. Returns what `fit` raised."""

    def work() -> None:
        import torch
        import torch.distributed

        torch.distributed.all_reduce(torch.ones(1))
        if train.get_context().get_world_rank() == 1:
            end()
        torch.distributed.all_reduce(torch.ones(1))

    trainer = TorchTrainer(
        work,
        scaling_config=train.ScalingConfig(num_workers=2),
        run_config=train.RunConfig(name=name, storage_path=storage),
    )
    with pytest.raises(train.TrainingFailedError) as raised:
        trainer.fit()
    return raised.value


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_session")
def test_a_real_workers_death_and_a_real_workers_defect(tmp_path_factory: pytest.TempPathFactory) -> None:
    storage = str(tmp_path_factory.mktemp("train"))

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def fail() -> None:
        raise ValueError("a defect")

    assert death(train_two(die, "dies", storage))
    defect = train_two(fail, "fails", storage)
    assert not death(defect)
    assert "a defect" in str(defect)
