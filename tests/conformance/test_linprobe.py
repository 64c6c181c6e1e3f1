"""The linear probe against the numbers of the published code: the frozen features, every epoch, the evaluation."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stars.fit import fit
from stars.model.encoder import Encoder, EncoderShape
from stars.probes.linear_sources import StoredFeatures
from stars.probes.linear_training import LinearClassifiers, LinearTraining, Look
from stars.runtime import PlainRuntime
from tests.conformance.translate import our_batch
from tests.conformance.vectors import load

TOLERANCE: Any = {"rtol": 1e-4, "atol": 1e-5}
HEAD = "head.fc."


class InOrder(LinearTraining):
    """The vectors' batches, one after the other in every epoch."""

    def batch(self, step: int) -> Tensor:
        return (step % self.steps_per_epoch * self.batch_size + torch.arange(self.batch_size))[None]


@dataclass(kw_only=True)
class Published:
    """The vectors, the task on them at its end, and the classifier's state after each epoch."""

    arrays: dict[str, NDArray[Any]]
    features: Tensor
    task: LinearTraining
    losses: list[float]
    states: list[dict[str, Tensor]]


def published_encoder(arrays: dict[str, NDArray[Any]], size: dict[str, Any]) -> Encoder:
    joints = arrays["x"].shape[4]
    shape = EncoderShape(
        frames=size["T"], joints=joints, patch=size["u"], width=size["dim"], depth=size["depth"], heads=size["heads"]
    )
    encoder = Encoder(shape).eval()
    weights = {name.removeprefix("w/"): torch.from_numpy(array) for name, array in arrays.items()}
    encoder.load_state_dict({name: weights[name] for name in encoder.state_dict()})
    return encoder


@pytest.fixture(scope="module", name="published")
def trained_on_the_vectors() -> Published:
    torch.set_num_threads(1)
    arrays, meta = load("i_linprobe")
    size = meta["hyperparameters"]
    with torch.no_grad():
        features = torch.cat([published_encoder(arrays, size)(our_batch(x)) for x in arrays["x"]])
    labels = torch.from_numpy(arrays["y"]).flatten()
    classifiers = LinearClassifiers(1, 1, size["dim"], size["nc"])
    with torch.no_grad():
        classifiers.weight[0, 0] = torch.from_numpy(arrays[f"w/{HEAD}1.weight"])
        classifiers.bias[0, 0] = torch.from_numpy(arrays[f"w/{HEAD}1.bias"])
    epochs = sum(name.endswith("_mean_loss") for name in arrays)
    task = InOrder(
        classifiers=classifiers,
        source=StoredFeatures(features, torch.arange(len(features))[None]),
        labels=labels,
        looks=[Look(seed=0, samples=torch.arange(len(features)))],
        settings=[(size["lr"], 0.0)],
        epochs=epochs,
        batch_size=size["B"],
        world_size=1,
        momentum=0.9,
        measured=features,
        measured_labels=labels,
    )
    states: list[dict[str, Tensor]] = []

    def note(metrics: Mapping[str, float], step: int) -> None:
        states.append({name: tensor.clone() for name, tensor in classifiers.state_dict().items()})

    losses = fit(task, PlainRuntime(on_report=note, look_seconds=math.inf))
    assert len(states) == epochs
    return Published(arrays=arrays, features=features, task=task, losses=losses, states=states)


def close(ours: Tensor, reference: NDArray[Any]) -> None:
    np.testing.assert_allclose(ours.numpy(), reference.reshape(ours.shape), **TOLERANCE)


def test_features(published: Published) -> None:
    close(published.features, published.arrays["features"])


def test_losses(published: Published) -> None:
    for epoch, losses in enumerate(np.reshape(published.losses, (len(published.states), -1))):
        np.testing.assert_allclose(losses.mean(), published.arrays[f"epoch{epoch}_mean_loss"], **TOLERANCE)


def test_states(published: Published) -> None:
    """The vectors' states are told apart by their count of batches: both are of the end, as it happens."""
    ours = {int(state["norm.num_batches_tracked"]): state for state in published.states}
    for epoch in range(len(published.states)):
        theirs = {
            name.removeprefix(f"after_epoch{epoch}/{HEAD}"): array
            for name, array in published.arrays.items()
            if name.startswith(f"after_epoch{epoch}/{HEAD}")
        }
        state = ours[int(theirs.pop("0.num_batches_tracked"))]
        names = {"0.running_mean": "norm.running_mean", "0.running_var": "norm.running_var"}
        names |= {"1.weight": "weight", "1.bias": "bias"}
        assert names.keys() == theirs.keys()
        for name, array in theirs.items():
            close(state[names[name]].squeeze(), array)


def test_evaluation(published: Published) -> None:
    arrays, task = published.arrays, published.task
    logits = task.logits()[0, :, 0]
    close(logits, arrays["eval_logits"])
    labels = torch.from_numpy(arrays["y"]).flatten()
    close(functional.cross_entropy(logits, labels), arrays["eval_loss"])
    assert 100 * int(task.correct()) / len(labels) == pytest.approx(float(arrays["eval_acc1"]), rel=1e-6)
