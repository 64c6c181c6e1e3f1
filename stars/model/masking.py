"""Which tokens stage 1 hides: motion, its intensity, and the motion-aware draw of a mask.

A token is one joint during `patch` consecutive frames; tokens are numbered time-major, `segment * joints + joint`.
A row is one body of one sample. In every mask of this package 1 means masked (hidden from the encoder) and 0 kept.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional


def motion(
    x: Float[Tensor, "row time joint 3"], stride: int, difference: Literal["forward", "backward"] = "forward"
) -> Float[Tensor, "row time joint 3"]:
    """Displacement over `stride` frames, in the unit of `x`.

    Forward it is `x[t + stride] - x[t]`, and 0 in the last `stride` frames (published code); backward it is
    `x[t] - x[t - stride]`, and the first `stride` frames repeat the first that has one (paper section 3.2).
    """
    moved = x[:, stride:] - x[:, :-stride]
    if difference == "backward":
        return torch.cat((moved[:, :1].expand(-1, stride, -1, -1), moved), dim=1)
    return functional.pad(moved, (0, 0, 0, 0, 0, stride))


def patchify(x: Float[Tensor, "row time joint 3"], patch: int) -> Float[Tensor, "row segment joint feature"]:
    """Cut time into segments of `patch` frames; features are (frame in patch, coordinate), coordinate fastest.

    Raises:
        ValueError: the number of frames is not a multiple of `patch`.
    """
    if x.shape[1] % patch:
        raise ValueError(f"the sequence has {x.shape[1]} frames; allowed: a multiple of patch, {patch}")
    segments = x.reshape(len(x), -1, patch, *x.shape[2:])
    return segments.transpose(2, 3).flatten(3)


def intensity(patches: Float[Tensor, "row segment joint feature"]) -> Float[Tensor, "row token"]:
    """Mean absolute change of a token's coordinates since the segment before; the first segment takes the second's.

    Source: paper section 3.2, as the published code computes it (mean, not sum).

    Raises:
        ValueError: fewer than two segments, between which nothing can move.
    """
    if patches.shape[1] < 2:
        raise ValueError(f"the sequence has {patches.shape[1]} segment; allowed: at least 2")
    change = (patches[:, 1:] - patches[:, :-1]).abs().mean(dim=3)
    return torch.cat((change[:, :1], change), dim=1).flatten(1)


def scaled_intensity(intensity: Float[Tensor, "row token"], tau: float) -> Float[Tensor, "row token"]:
    """The intensity relative to the row's largest, divided by `tau`, as the published code does; 0 for a still row."""
    return intensity / (intensity.amax(dim=1, keepdim=True) * tau + 1e-10)


def mask_probability(
    intensity: Float[Tensor, "row token"], tau: float, *, relative: bool = True
) -> Float[Tensor, "row token"]:
    """Probability of masking each token, softmax over a row's tokens; uniform for a still (or absent) body.

    Args:
        intensity: of every token.
        tau: temperature of the masking.
        relative: the intensity counts as a share of the row's largest (published code), not as it is (paper).
    """
    return torch.softmax(scaled_intensity(intensity, tau) if relative else intensity / tau, dim=1)


def mask_scores(
    intensity: Float[Tensor, "row token"], tau: float, uniform: Float[Tensor, "row token"], *, relative: bool = True
) -> Float[Tensor, "row token"]:
    """Score by which tokens are hidden, the largest first: log probability plus Gumbel noise.

    Args:
        intensity: see `intensity`.
        tau: temperature of the masking; 0 or below asks for uniform masking, whose score is the draw itself.
        uniform: draws from [0, 1).
        relative: see `mask_probability`.

    Source: paper section 3.2; the two guards of 1e-10 are those of the published code.
    """
    if tau <= 0:
        return uniform
    gumbel = -torch.log(-torch.log(uniform + 1e-10) + 1e-10)
    return torch.log(mask_probability(intensity, tau, relative=relative)) + gumbel


def num_kept(num_tokens: int, ratio: float) -> int:
    """How many tokens stay visible: `num_tokens * (1 - ratio)`, cut to a whole number in double precision.

    The cut is part of the published numbers: 750 tokens at ratio 0.9 keep 74, because 750 * (1 - 0.9) < 75.
    """
    return int(num_tokens * (1 - ratio))


def choose(
    scores: Float[Tensor, "row token"], num_kept: int
) -> tuple[Int[Tensor, "row kept"], Int[Tensor, "row token"], Float[Tensor, "row token"]]:
    """Keep the `num_kept` tokens of smallest score in each row.

    Returns:
        ids_keep: token numbers in ascending order of score.
        ids_restore: rank of each token's score (the inverse of the sorting permutation).
        mask: 1 = masked, 0 = kept.
    """
    order = scores.argsort(dim=1, stable=True)
    ranks = torch.arange(scores.shape[1], device=scores.device).expand_as(order)
    ids_restore = torch.empty_like(order).scatter_(1, order, ranks)
    return order[:, :num_kept], ids_restore, (ids_restore >= num_kept).to(scores.dtype)
