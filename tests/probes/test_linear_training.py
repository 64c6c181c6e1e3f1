"""The training task of the linear probes by itself: what it tallies and draws, and that classifiers do not meet."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from stars.probes.linear_sources import StoredFeatures, entries
from stars.probes.linear_training import LinearClassifiers, LinearTraining, Look

EPOCHS, BATCH, SAMPLES, WIDTH, CLASSES = 4, 8, 25, 6, 3
SETTINGS = [(1.0, 0.0), (0.01, 0.1)]
SEEDS = (0, 4)


def a_task(num_crops: int = 1) -> LinearTraining:
    """Two looks and two settings on features that tell the class only roughly."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(SAMPLES) % CLASSES
    x = 0.7 * torch.eye(CLASSES, WIDTH)[labels] + torch.randn(num_crops, SAMPLES, WIDTH, generator=generator)
    classifiers = LinearClassifiers(len(SEEDS), len(SETTINGS), WIDTH, CLASSES)
    looks = [Look(seed=seed, samples=torch.arange(SAMPLES)) for seed in SEEDS]
    classifiers.start(looks)
    return LinearTraining(
        classifiers=classifiers,
        source=StoredFeatures(x.flatten(0, 1), torch.arange(num_crops * SAMPLES).view(num_crops, SAMPLES)),
        labels=labels,
        looks=looks,
        settings=SETTINGS,
        epochs=EPOCHS,
        batch_size=BATCH,
        world_size=1,
        momentum=0.9,
        measured=x[0],
        measured_labels=labels,
    )


def advance(task: LinearTraining, step: int) -> None:
    """One optimiser step."""
    task.set_rates(step)
    task.optimiser.zero_grad()
    torch.autograd.backward(task.loss(step))
    task.optimiser.step()


def correct_by_hand(task: LinearTraining, x: Tensor, labels: Tensor) -> list[list[int]]:
    """Of every look and setting, by the formula."""
    state = task.classifiers.state_dict()
    counts = []
    for look in range(len(SEEDS)):
        mean, variance = (state[f"norm.running_{n}"].view(len(SEEDS), WIDTH)[look] for n in ("mean", "var"))
        normalised = (x - mean) / (variance + 1e-6).sqrt()
        weights, biases = state["weight"][look], state["bias"][look]
        said = [normalised @ weight.T + bias for weight, bias in zip(weights, biases, strict=True)]
        counts.append([int((logits.argmax(dim=1) == labels).sum()) for logits in said])
    return counts


@pytest.mark.parametrize("at_once", [4096, 10])
def test_the_tally_is_of_the_classifiers_after_every_epoch(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr("stars.probes.linear_training._MEASURED_AT_ONCE", at_once)
    task = a_task()
    x, labels = task._measured, task._measured_labels
    expected = []
    for step in range(task.num_steps):
        advance(task, step)
        if (step + 1) % task.steps_per_epoch == 0:
            expected.append(correct_by_hand(task, x, labels))
    assert (task.steps_per_epoch, task.num_steps) == (3, 12)
    assert task.tally.hits[:-1].tolist() == expected[:-1]
    assert task.correct().tolist() == expected[-1]
    assert len({str(counts) for counts in expected}) > 1
    assert task.classifiers.training


def test_a_classifier_that_blows_up_leaves_the_others_alone() -> None:
    sound, broken = a_task(), a_task()
    broken.classifiers.weight.data[0, 0] = math.nan
    for step in range(sound.num_steps):
        advance(sound, step)
        advance(broken, step)
    for name in ("weight", "bias"):
        ours, theirs = (task.classifiers.state_dict()[name].flatten(0, 1) for task in (sound, broken))
        assert torch.equal(ours[1:], theirs[1:])
        assert not theirs[0].isfinite().any()


def test_every_epoch_has_its_order_and_every_seed_its_own() -> None:
    task = a_task()
    epochs = [torch.cat([task.batch(step) for step in range(first, first + 3)], dim=1) for first in (0, 3)]
    for seen in (*epochs[0], *epochs[1]):
        assert len(seen.unique()) == 24
    orders = [seen.tolist() for epoch in epochs for seen in epoch]
    assert all(one != other for number, one in enumerate(orders) for other in orders[:number])
    assert torch.equal(task.batch(0), epochs[0][:, :8]), "an epoch that is gone is found again"


def test_a_crop_is_drawn_anew_whenever_a_sample_is_seen() -> None:
    """Features that say which sample and which crop they are of."""
    crops = torch.arange(30).view(3, 10)
    source = StoredFeatures(torch.stack((crops % 10, crops // 10), dim=2).view(30, 2).float(), crops)
    looks = [Look(seed=seed, samples=torch.arange(10)) for seed in SEEDS]
    positions = torch.stack((torch.arange(10), torch.arange(10).flip(0)))
    seen = torch.stack([source.see(step, looks, positions) for step in range(40)])
    assert torch.equal(seen[..., 0], positions.float().expand(40, 2, 10))
    shares = [(seen[:, look, :, 1] == crop).float().mean() for look in range(2) for crop in range(3)]
    assert torch.stack(shares).sub(1 / 3).abs().max() < 0.1
    assert not torch.equal(seen[:, 0, :, 1], seen[:, 1, :, 1])
    again = source.see(7, looks[1:], positions[1:])
    assert torch.equal(again[0], seen[7, 1]), "a look draws the same whether others are there or not"


def test_entries_of_several_crops_in_any_order() -> None:
    found, wanted = torch.tensor([4, 9, 2, 2, 4, 9]), torch.tensor([9, 2, 4])
    assert entries(found, wanted).tolist() == [[1, 2, 0], [5, 3, 4]]


@pytest.mark.parametrize(("found", "most"), [((3, 5, 5), 5), ((3, 3, 3, 5), 3)])
def test_unequally_many_crops_are_refused(found: Sequence[int], most: int) -> None:
    with pytest.raises(
        ValueError, match=rf"hold row {most} \d times and row {8 - most} 1 times; allowed: equally many"
    ):
        entries(torch.tensor(found), torch.tensor([3, 5]))
