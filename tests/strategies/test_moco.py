"""Momentum contrast against its equation, written out."""

import copy
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from stars.model.encoder import EncoderShape
from stars.strategies.moco import MoCo, MoCoObjective
from stars.strategies.strategy import Batch, Moment

WIDTH, BATCH = 6, 5


def objective(**settings: Any) -> MoCoObjective:
    strategy = MoCo(**({"queue_size": 16, "hidden": 12, "same_start": False} | settings))
    return strategy.build(WIDTH, torch.Generator().manual_seed(0)).double()


def pooled(seed: int = 1, size: int = BATCH) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, WIDTH, generator=generator, dtype=torch.float64).requires_grad_()


def given(query: Tensor, key: Tensor) -> Batch:
    moment = Moment(step=0, steps_per_epoch=1, epochs=1)
    return Batch(student=(query,), teacher=(key,), sample_ids=torch.arange(len(query)), moment=moment)


def unit(vector: Tensor) -> Tensor:
    direction: Tensor = vector / torch.linalg.vector_norm(vector)
    return direction


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_loss_and_gradient_are_the_slow_ones(temperature: float) -> None:
    """Own key against the queue; keys and queue are constants."""
    fast = objective(temperature=temperature)
    slow = copy.deepcopy(fast)
    ours, reference = pooled(1), pooled(1)
    loss = fast(given(ours, pooled(2)))
    queries, keys = slow.head(reference)[1], slow.teacher_head(pooled(2))[1].detach()
    expected = torch.zeros((), dtype=torch.float64)
    for query, key in zip(queries, keys, strict=True):
        candidates = [unit(key), *slow.queue.T]
        weights = [torch.exp(unit(query) @ candidate / temperature) for candidate in candidates]
        expected = expected - torch.log(weights[0] / sum(weights)) / BATCH
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=0)
    torch.autograd.backward([loss, expected])
    torch.testing.assert_close(ours.grad, reference.grad, rtol=1e-8, atol=1e-14)
    for (name, parameter), other in zip(fast.head.named_parameters(), slow.head.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-8, atol=1e-14, msg=name)
    assert all(parameter.grad is None for parameter in fast.teacher_head.parameters())
    for column, key in enumerate(keys):
        torch.testing.assert_close(fast.queue[:, column], unit(key))


def test_the_teachers_batch_norms_keep_statistics_of_their_own() -> None:
    module = objective(same_start=True)
    module(given(pooled(1), pooled(2)))
    student, teacher = module.head.state_dict(), module.teacher_head.state_dict()
    assert torch.equal(student["projector.0.weight"], teacher["projector.0.weight"])
    torch.testing.assert_close(teacher["projector.0.running_mean"], 0.1 * pooled(2).detach().mean(dim=0))
    torch.testing.assert_close(student["projector.0.running_mean"], 0.1 * pooled(1).detach().mean(dim=0))


def test_heads_start_as_they_are_told() -> None:
    same, apart = objective(same_start=True), objective(same_start=False)
    name = "predictor.0.weight"
    first = same.head.get_parameter(name)
    assert torch.equal(first, same.teacher_head.get_parameter(name))
    assert torch.equal(first, apart.head.get_parameter(name))
    assert not torch.equal(first, apart.teacher_head.get_parameter(name))


@hypothesis.given(
    st.integers(1, 9), st.lists(st.integers(1, 12), min_size=1, max_size=6), st.sampled_from([None, 1, 2, 4])
)
def test_queue_of_any_size_takes_batches_of_any_size(queue_size: int, batches: list[int], world: int | None) -> None:
    module = MoCo(queue_size=queue_size, hidden=2, published_world=world).build(2, torch.Generator().manual_seed(0))
    columns: list[list[float]] = module.queue.T.tolist()
    pointer = 0
    for number, size in enumerate(batches):
        keys = torch.arange(2.0 * size).view(size, 2) + 100 * (number + 1)
        module.enqueue(keys)
        at = pointer
        for key in keys.tolist():
            columns[at] = key
            at = (at + 1) % queue_size
        pointer = (pointer + size + (0 if world is None else size // world)) % queue_size
    assert module.queue.T.tolist() == columns
    assert module.queue_ptr.tolist() == [pointer]


@pytest.mark.parametrize(
    "wrong",
    [
        *({"queue_size": 0}, {"hidden": 0}, {"published_world": 0}, {"temperature": 0.0}),
        *({"momentum": -0.1}, {"momentum": 1.1}),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    field = next(iter(wrong))
    with pytest.raises(ValueError, match=rf"MoCo\.{field} is .*; allowed: "):
        MoCo(**wrong)


def test_workers_that_could_not_have_shared_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"MoCo\.published_world is 3; allowed: a divisor of the batch's 8 samples"):
        MoCo(published_world=3).check_tuning(EncoderShape(), 8)
    MoCo(published_world=4).check_tuning(EncoderShape(), 8)
