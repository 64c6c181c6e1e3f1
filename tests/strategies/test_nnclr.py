"""Nearest-neighbour contrastive tuning against the paper's equation, written out."""

import copy
import math
from dataclasses import replace
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from stars.recipes import paper
from stars.strategies.nnclr import NNCLR, NNCLRObjective, contrast
from stars.strategies.strategy import Batch, Moment
from tests.examples import DATA

WIDTH, BATCH = 6, 5


def objective(**settings: Any) -> NNCLRObjective:
    strategy = NNCLR(**({"queue_size": 16, "hidden": 12} | settings))
    return strategy.build(WIDTH, torch.Generator().manual_seed(0)).double()


def pooled(seed: int = 1, size: int = BATCH) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, WIDTH, generator=generator, dtype=torch.float64).requires_grad_()


def given(pooled: tuple[Tensor, ...], sample_ids: Tensor, dice: Tensor | None = None) -> Batch:
    moment = Moment(step=0, steps_per_epoch=1, epochs=1)
    return Batch(student=pooled, sample_ids=sample_ids, dice=dice, moment=moment)


def unit(vector: Tensor) -> Tensor:
    direction: Tensor = vector / torch.linalg.vector_norm(vector)
    return direction


def loss_slowly(module: NNCLRObjective, views: tuple[Tensor, Tensor], ids: list[int], dice: Tensor | None) -> Tensor:
    """Both views through the head; for each sample the nearest column; -log softmax; view k's may be constant."""
    outputs = [module.head(view) for view in views]
    settings = module.settings
    nearest = []
    for view, (projected, _) in enumerate(outputs):
        chosen = []
        for sample, z in enumerate(projected.detach()):
            others = [c for c in range(settings.queue_size) if int(module.queue_id[c]) != ids[sample]]
            columns = others if settings.exclude_own_sample else list(range(settings.queue_size))
            distance = {c: float((unit(z) - module.queue[:, c]).norm()) for c in columns}
            rank = 0 if dice is None else int(dice[view, sample])
            chosen.append(module.queue[:, sorted(columns, key=distance.__getitem__)[rank]].clone())
        nearest.append(chosen)
    total = torch.zeros((), dtype=torch.float64)
    for view in (0, 1):
        predictions = [unit(p) if view == 0 or settings.symmetric else unit(p).detach() for p in outputs[view][1]]
        for i, neighbour in enumerate(nearest[1 - view]):
            weights = [torch.exp(neighbour @ p / settings.temperature) for p in predictions]
            total = total - torch.log(weights[i] / sum(weights)) / len(ids) / 2
    return total


@pytest.mark.parametrize(
    "settings", [{}, {"neighbours": 3}, {"exclude_own_sample": False}, {"temperature": 0.5}, {"symmetric": True}]
)
def test_loss_and_gradient_are_the_slow_ones(settings: dict[str, Any]) -> None:
    fast = objective(num_views=2, **settings)
    fast.queue_id[:10] = torch.tensor([0, 1, 2, 3, 4] * 2)
    slow = copy.deepcopy(fast)
    generator = torch.Generator().manual_seed(5)
    dice = fast.settings.draw(BATCH, generator)
    assert (dice is None) == (fast.settings.neighbours == 1)
    ours, reference = (pooled(1), pooled(2)), (pooled(1), pooled(2))
    loss, expected = (
        fast(given(ours, torch.arange(BATCH), dice)),
        loss_slowly(slow, reference, list(range(BATCH)), dice),
    )
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=0)
    torch.autograd.backward([loss, expected])
    torch.testing.assert_close(ours[0].grad, reference[0].grad, rtol=1e-8, atol=1e-14)
    assert (ours[1].grad is not None) == fast.settings.symmetric
    if fast.settings.symmetric:
        torch.testing.assert_close(ours[1].grad, reference[1].grad, rtol=1e-8, atol=1e-14)
    for (name, parameter), other in zip(fast.named_parameters(), slow.named_parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, other[1].grad, rtol=1e-8, atol=1e-14, msg=name)


@pytest.mark.parametrize(("neighbours", "symmetric"), [(1, False), (4, False), (1, True)])
def test_one_view_is_two_identical_views(neighbours: int, symmetric: bool) -> None:
    settings = {"neighbours": neighbours, "symmetric": symmetric}
    one, two = objective(num_views=1, **settings), objective(num_views=2, **settings)
    generator = torch.Generator().manual_seed(5)
    for step in range(4):
        dice = one.settings.draw(BATCH, generator)
        ids = torch.arange(BATCH) + 3 * step
        single, double = pooled(step), pooled(step)
        losses = (
            one(given((single,), ids, dice)),
            two(given((double, double if symmetric else double.detach()), ids, dice)),
        )
        torch.testing.assert_close(losses[0], losses[1], rtol=1e-13, atol=0)
        for loss, module in zip(losses, (one, two), strict=True):
            module.zero_grad()
            torch.autograd.backward(loss)
        torch.testing.assert_close(single.grad, double.grad, rtol=1e-12, atol=1e-16)
        for ours, other in zip(one.parameters(), two.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, other.grad, rtol=1e-12, atol=1e-16)
    for (name, ours), other in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-13, atol=1e-15, msg=name)


def test_contrast_is_the_papers_equation() -> None:
    generator = torch.Generator().manual_seed(0)
    neighbours, predicted = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    expected = 0.0
    for i in range(4):
        products = [float(neighbours[i] @ predicted[k]) / 0.3 for k in range(4)]
        expected -= products[i] - math.log(sum(math.exp(p) for p in products))
    assert float(contrast(neighbours, predicted, 0.3)) == pytest.approx(expected / 4, rel=1e-12)


def test_projections_enter_the_queue_after_the_loss() -> None:
    module = objective()
    before = module.queue.clone()
    reference = copy.deepcopy(module)
    module(given((pooled(),), torch.arange(BATCH)))
    projected, _ = reference.head(pooled())
    for sample in range(BATCH):
        torch.testing.assert_close(module.queue[:, sample], unit(projected[sample]).detach())
    assert torch.equal(module.queue[:, BATCH:], before[:, BATCH:])
    assert module.queue_id.tolist() == [*range(BATCH), *[-1] * 11]
    assert not module.queue.requires_grad


def test_evaluation_leaves_the_queue_alone() -> None:
    module = objective().eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module(given((pooled(),), torch.arange(BATCH)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


@hypothesis.given(st.integers(1, 9), st.lists(st.integers(1, 20), min_size=1, max_size=6))
def test_queue_of_any_size_takes_batches_of_any_size(queue_size: int, batches: list[int]) -> None:
    module = NNCLR(queue_size=queue_size, hidden=2).build(2, torch.Generator().manual_seed(0))
    columns: list[list[float]] = module.queue.T.tolist()
    ids, pointer, next_id = [-1] * queue_size, 0, 0
    for size in batches:
        new_ids = list(range(next_id, next_id + size))
        next_id += size
        keys = torch.tensor([[float(i), -float(i)] for i in new_ids])
        module.enqueue(keys, torch.tensor(new_ids))
        for key, sample in zip(keys.tolist(), new_ids, strict=True):
            columns[pointer], ids[pointer] = key, sample
            pointer = (pointer + 1) % queue_size
    assert module.queue.T.tolist() == columns
    assert module.queue_id.tolist() == ids
    assert module.queue_ptr.tolist() == [pointer]


def test_a_checkpoint_continues_exactly() -> None:
    straight = objective()
    straight(given((pooled(1),), torch.arange(BATCH)))
    resumed = objective()
    resumed.load_state_dict(copy.deepcopy(straight.state_dict()))
    assert torch.equal(
        straight(given((pooled(2),), torch.arange(BATCH))), resumed(given((pooled(2),), torch.arange(BATCH)))
    )
    assert all(torch.equal(a, b) for a, b in zip(straight.buffers(), resumed.buffers(), strict=True))


def test_start_depends_on_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again = objective(), objective()
    other = NNCLR(queue_size=16, hidden=12).build(WIDTH, torch.Generator().manual_seed(9)).double()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), again.state_dict().values(), strict=True))
    assert not torch.equal(first.queue, other.queue)
    torch.testing.assert_close(first.queue.norm(dim=0), torch.ones(16, dtype=torch.float64), rtol=1e-6, atol=0)
    assert first.queue_id.tolist() == [-1] * 16
    assert first.queue_ptr.tolist() == [0]


def test_dice_name_every_neighbour() -> None:
    dice = NNCLR(neighbours=3).draw(100, torch.Generator().manual_seed(0))
    assert dice is not None
    assert dice.shape == (2, 100)
    assert set(dice.flatten().tolist()) == {0, 1, 2}
    assert not torch.equal(dice[0], dice[1])


@pytest.mark.parametrize(
    "wrong",
    [
        {"queue_size": 0},
        {"neighbours": 0},
        {"neighbours": 9, "queue_size": 8},
        {"hidden": 0},
        {"temperature": 0.0},
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    field = next(iter(wrong))
    with pytest.raises(ValueError, match=rf"NNCLR\.{field} is .*; allowed: "):
        NNCLR(**wrong)


def test_wrong_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="2 views were given; allowed"):
        objective()(given((pooled(), pooled()), torch.arange(BATCH)))
    with pytest.raises(ValueError, match="dice"):
        objective(neighbours=2)(given((pooled(),), torch.arange(BATCH)))
    with pytest.raises(ValueError, match="dice"):
        objective()(given((pooled(),), torch.arange(BATCH), torch.zeros(2, BATCH, dtype=torch.int64)))


def test_the_papers_settings_are_algorithm_1() -> None:
    """Line by line: y = f(x), z = g(y), p = h(z), nn = top_nn(z, Q), L(nn, p), backward, update queue(Q, z)."""
    settings = replace(paper(DATA).stage2.strategy, queue_size=16, hidden=8, temperature=0.1)
    fast, slow = (settings.build(WIDTH, torch.Generator().manual_seed(1)).double() for _ in range(2))
    pointer = 0
    for step in range(4):
        ours, reference = pooled(step), pooled(step)
        loss = fast(given((ours,), torch.arange(BATCH)))
        z, p = (functional.normalize(vectors, dim=1) for vectors in slow.head(reference))
        nearest = slow.queue.T[(z.detach() @ slow.queue).argmax(dim=1)]
        logits = nearest @ p.T / 0.1
        expected = functional.cross_entropy(logits, torch.arange(len(p)))
        torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
        torch.autograd.backward([loss, expected])
        torch.testing.assert_close(ours.grad, reference.grad, rtol=1e-9, atol=1e-12)
        for (name, parameter), other in zip(fast.head.named_parameters(), slow.head.parameters(), strict=True):
            torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-9, atol=1e-12, msg=name)
        for sample in range(BATCH):
            slow.queue[:, pointer] = z[sample].detach()
            pointer = (pointer + 1) % 16
        torch.testing.assert_close(fast.queue, slow.queue, rtol=1e-9, atol=1e-12)
