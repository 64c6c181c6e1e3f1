"""Random draws: named by seed, step and purpose, and by nothing else."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from stars import draws


@given(
    num_samples=st.integers(1, 300),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 3),
)
@settings(deadline=None)
def test_an_epoch_shows_every_sample_at_most_once(num_samples: int, batch_size: int, seed: int, epoch: int) -> None:
    batch_size = min(batch_size, num_samples)
    rows = 7 + 3 * torch.arange(num_samples)
    steps = draws.steps_per_epoch(num_samples, batch_size, 1)
    assert num_samples - batch_size < steps * batch_size <= num_samples, "only an incomplete batch is dropped"
    for_all = [
        draws.batch(rows, seed=seed, step=step, batch_size=batch_size)
        for step in range(epoch * steps, (epoch + 1) * steps)
    ]
    assert {len(batch) for batch in for_all} == {batch_size}
    shown = torch.cat(for_all).tolist()
    assert len(set(shown)) == len(shown)
    assert set(shown) <= set(rows.tolist())


@given(batch_size=st.integers(1, 64), num_samples=st.integers(64, 300), world_size=st.integers(1, 64))
@settings(deadline=None)
def test_the_number_of_workers_changes_no_step(batch_size: int, num_samples: int, world_size: int) -> None:
    """What a batch is, `draws.batch` is not even told by how many it is shared."""
    if batch_size % world_size:
        with pytest.raises(ValueError, match=f"batch_size is {batch_size}; allowed: a multiple .* {world_size}$"):
            draws.steps_per_epoch(num_samples, batch_size, world_size)
    else:
        assert draws.steps_per_epoch(num_samples, batch_size, world_size) == num_samples // batch_size


def test_orders_differ_between_epochs_and_seeds() -> None:
    rows = torch.arange(100)
    orders = [draws.batch(rows, seed=seed, step=epoch, batch_size=100) for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order.tolist()) for order in orders}) == 4
    assert all(order.sort().values.equal(rows) for order in orders)


def test_a_draw_depends_on_seed_step_and_purpose_alone() -> None:
    names = [(seed, step, purpose) for seed in (0, 1, 11) for step in (0, 1, 11) for purpose in ("order", "mask")]
    first = [torch.rand(4, generator=draws.generator(*name)) for name in names]
    torch.manual_seed(5)
    again = [torch.rand(4, generator=draws.generator(*name)) for name in reversed(names)]
    assert all(one.equal(other) for one, other in zip(first, reversed(again), strict=True))
    assert len({tuple(drawn.tolist()) for drawn in first}) == len(names)


def test_draws_are_pinned() -> None:
    """Another digest or another generator would change every number that was ever published."""
    drawn = torch.randint(1000, (4,), generator=draws.generator(3, 7, "mask"))
    assert drawn.tolist() == [977, 645, 907, 595]
