"""What is dropped: at the right rates, the same for any number of workers, and by the published rule."""

import pytest
import torch

from stars.model.dropping import Dropped, block_rates, draw_dropped, keep_factors, kept_features, kept_share
from stars.model.encoder import Block, EncoderShape

SHAPE = EncoderShape(frames=8, joints=3, patch=2, width=6, depth=4, heads=2)


def drawn(mine: slice = slice(0, 12), drop_path: float = 0.4, dropout: float = 0.3, seed: int = 1) -> Dropped:
    return draw_dropped(SHAPE, mine, 12, drop_path=drop_path, dropout=dropout, seed=seed, step=2)


def test_rates_rise_evenly_from_the_first_block_to_the_last() -> None:
    assert block_rates(0.3, 4).flatten().tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    assert block_rates(0.3, 1).flatten().tolist() == [0]


def test_a_branch_is_dropped_or_made_up_for() -> None:
    uniform = torch.tensor([[0.0, 0.19, 0.2, 0.99]], dtype=torch.float64)
    factors = keep_factors(uniform, torch.full((1, 1), 0.2, dtype=torch.float64))
    assert factors.tolist() == [[0, 0, 1.25, 1.25]]


def test_the_mean_of_a_branch_stays() -> None:
    uniform = torch.rand(1, 1, 10**6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    factors = keep_factors(uniform, block_rates(0.3, 2)[1:])
    assert float(factors.mean()) == pytest.approx(1, abs=3e-3)


@pytest.mark.parametrize("rate", [0.0, 0.3, 0.5, 0.999999])
def test_features_are_dropped_at_the_rate_each_by_itself(rate: float) -> None:
    kept = kept_features(400_001, rate, torch.Generator().manual_seed(0))
    assert kept.shape == (400_001,)
    assert kept_share(rate) == pytest.approx(1 - rate, abs=2**-16)
    deviation = (kept_share(rate) * (1 - kept_share(rate))) ** 0.5
    by_place = kept[:400_000].view(-1, 4).double()
    # The four draws of one number of 64 bits.
    for place in range(4):
        assert float(by_place[:, place].mean()) == pytest.approx(kept_share(rate), abs=5 * deviation / 100_000**0.5)
    together = float((by_place[:, 0] * by_place[:, 1]).mean())
    assert together == pytest.approx(kept_share(rate) ** 2, abs=5 * deviation / 100_000**0.5)


def test_every_worker_draws_its_share_of_the_same() -> None:
    whole = drawn()
    assert whole.branches is not None
    assert whole.kept is not None
    assert whole.branches.shape == (4, 2, 24)
    assert whole.kept.shape == (24, SHAPE.tokens, SHAPE.width)
    parts = [drawn(slice(first, first + 4)) for first in (0, 4, 8)]
    assert torch.equal(torch.cat([p.branches for p in parts if p.branches is not None], dim=2), whole.branches)
    assert torch.equal(torch.cat([p.kept for p in parts if p.kept is not None]), whole.kept)
    assert all(not torch.equal(whole.kept[0], other) for other in whole.kept[1:])
    other = drawn(seed=2)
    assert other.branches is not None
    assert other.kept is not None
    assert not torch.equal(other.branches, whole.branches)
    assert not torch.equal(other.kept, whole.kept)


def test_a_rate_of_0_draws_nothing() -> None:
    assert drawn(drop_path=0.0).branches is None
    assert drawn(dropout=0.0).kept is None


def test_a_block_drops_each_branch_of_each_row_by_itself() -> None:
    block = Block(6, 2, 2.0)
    generator = torch.Generator().manual_seed(0)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    tokens = torch.randn(4, 5, 6, generator=generator)
    kept = torch.tensor([[1.0, 0.0, 2.0, 0.0], [1.0, 3.0, 0.0, 0.0]])
    found = block(tokens, kept)
    for row in range(4):
        one = tokens[row : row + 1]
        one = one + kept[0, row] * block.attn(block.norm1(one))
        one = one + kept[1, row] * block.mlp(block.norm2(one))
        torch.testing.assert_close(found[row : row + 1], one)
    assert torch.equal(found[3], tokens[3])
    torch.testing.assert_close(found[0], block(tokens)[0])
