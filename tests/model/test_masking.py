"""Masks against loops over tokens."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stars.model import masking


def rows(num_rows: int = 3, frames: int = 8, joints: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_rows, frames, joints, 3, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("stride", [1, 3])
def test_motion_is_the_displacement_ahead(stride: int) -> None:
    x = rows()
    moved = masking.motion(x, stride)
    for t in range(8):
        expected = x[:, t + stride] - x[:, t] if t + stride < 8 else torch.zeros_like(x[:, t])
        assert torch.equal(moved[:, t], expected)


def test_patches_hold_frames_then_coordinates() -> None:
    x = rows()
    patches = masking.patchify(x, 2)
    assert patches.shape == (3, 4, 5, 6)
    for segment in range(4):
        for joint in range(5):
            expected = torch.cat((x[:, 2 * segment, joint], x[:, 2 * segment + 1, joint]), dim=1)
            assert torch.equal(patches[:, segment, joint], expected)
    with pytest.raises(ValueError, match="8 frames; allowed: a multiple of patch, 3"):
        masking.patchify(x, 3)


def test_intensity_is_the_mean_change_between_segments() -> None:
    x = rows()
    moved = masking.intensity(masking.patchify(x, 2))
    for token in range(20):
        segment, joint = divmod(token, 5)
        later = max(segment, 1)
        change = [(x[:, 2 * later + f, joint] - x[:, 2 * later - 2 + f, joint]).abs() for f in range(2)]
        torch.testing.assert_close(moved[:, token], torch.cat(change, dim=1).mean(dim=1))
    with pytest.raises(ValueError, match="1 segment; allowed: at least 2"):
        masking.intensity(masking.patchify(x, 8))


def test_scores_follow_the_equation() -> None:
    moved = masking.intensity(masking.patchify(rows(), 2))
    uniform = torch.rand(moved.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scores = masking.mask_scores(moved, 0.7, uniform)
    for row in range(len(moved)):
        scaled = [float(i) / (float(moved[row].max()) * 0.7 + 1e-10) for i in moved[row]]
        total = sum(math.exp(s) for s in scaled)
        for token, s in enumerate(scaled):
            gumbel = -math.log(-math.log(float(uniform[row, token]) + 1e-10) + 1e-10)
            assert float(scores[row, token]) == pytest.approx(math.log(math.exp(s) / total) + gumbel, rel=1e-9)


def test_absolute_intensity_is_the_papers_sum_over_the_token() -> None:
    """Softmax of the sum of the token's twelve absolute differences over tau, token by token."""
    moved = masking.intensity(masking.patchify(rows(), 2)) * 6
    probability = masking.mask_probability(moved, 0.7, relative=False)
    for row in range(len(moved)):
        raised = [math.exp(float(i) / 0.7) for i in moved[row]]
        expected = torch.tensor([part / sum(raised) for part in raised], dtype=torch.float64)
        torch.testing.assert_close(probability[row], expected)
    uniform = torch.rand(moved.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gumbel = -torch.log(-torch.log(uniform + 1e-10) + 1e-10)
    scores = masking.mask_scores(moved, 0.7, uniform, relative=False)
    torch.testing.assert_close(scores, probability.log() + gumbel)


def test_scores_are_finite_at_the_ends_of_the_interval() -> None:
    uniform = torch.tensor([[0.0, 1 - 2**-24]])
    assert masking.mask_scores(torch.ones(1, 2), 0.8, uniform).isfinite().all()


@pytest.mark.parametrize("tau", [0.0, -1.0])
def test_no_temperature_means_the_draw_itself(tau: float) -> None:
    uniform = torch.rand(2, 6, generator=torch.Generator().manual_seed(1))
    assert torch.equal(masking.mask_scores(torch.ones(2, 6), tau, uniform), uniform)


def test_an_absent_body_is_masked_uniformly() -> None:
    probability = masking.mask_probability(torch.zeros(1, 10), 0.8)
    torch.testing.assert_close(probability, torch.full((1, 10), 0.1))


def test_moving_joints_are_masked_more_often_the_colder_the_more() -> None:
    moved = torch.tensor([0.0, 0.0, 0.0, 1.0]).repeat(4000, 1)
    uniform = torch.rand(moved.shape, generator=torch.Generator().manual_seed(0))
    shares = []
    for tau in (0.0, 1.0, 0.3):
        _, _, mask = masking.choose(masking.mask_scores(moved, tau, uniform), 3)
        shares.append(float(mask[:, 3].mean()))
    assert shares[0] == pytest.approx(0.25, abs=0.03)
    assert shares[1] == pytest.approx(math.e / (math.e + 3), abs=0.03)
    assert shares[2] == pytest.approx(math.exp(1 / 0.3) / (math.exp(1 / 0.3) + 3), abs=0.03)


@pytest.mark.parametrize(
    ("num_tokens", "ratio", "kept"), [(750, 0.9, 74), (150, 0.9, 14), (100, 0.9, 9), (750, 0.5, 375)]
)
def test_kept_count_is_cut_in_double_precision(num_tokens: int, ratio: float, kept: int) -> None:
    assert masking.num_kept(num_tokens, ratio) == kept


@given(st.integers(1, 4), st.integers(1, 30), st.data())
def test_the_smallest_scores_are_kept(num_rows: int, num_tokens: int, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, num_tokens))
    # Few distinct values, so that equal scores occur: the earlier token then counts as smaller.
    values = data.draw(st.lists(st.integers(0, 5), min_size=num_rows * num_tokens, max_size=num_rows * num_tokens))
    scores = torch.tensor(values, dtype=torch.float64).view(num_rows, num_tokens)
    ids_keep, ids_restore, mask = masking.choose(scores, kept)
    for row in range(num_rows):
        order = sorted(range(num_tokens), key=lambda token: (scores[row, token], token))
        assert ids_keep[row].tolist() == order[:kept]
        assert [order[rank] for rank in ids_restore[row].tolist()] == list(range(num_tokens))
        assert {token for token in range(num_tokens) if mask[row, token] == 0} == set(order[:kept])
