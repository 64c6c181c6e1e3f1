"""What fine-tuning drops at random: whole branches of a block, row by row (stochastic depth), and features of tokens.

Neither the device nor the number of workers changes what is drawn.

Shapes: a row is one body of one sample; a block has two branches, attention and perceptron.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from stars import draws
from stars.model.encoder import EncoderShape

_BODIES = 2
_LEVELS = 2**16
"""Of the draws that decide over features: there are millions a step, and 16 bits of randomness do for each."""


class Dropped(NamedTuple):
    """What was drawn for one step.

    Attributes:
        branches: by what each branch is multiplied, see `keep_factors`; None drops none.
        kept: 1 where a feature stays, 0 where it is dropped; None drops none.
    """

    branches: Float[Tensor, "block branch=2 row"] | None = None
    kept: Bool[Tensor, "row token width"] | None = None


NOTHING = Dropped()


def keep_factors(
    uniform: Float[Tensor, "*block branch row"], rates: Float[Tensor, "*block 1 1"]
) -> Float[Tensor, "*block branch row"]:
    """By what each branch is multiplied: 0 where it is dropped, else 1 / (1 - rate), so that its mean stays.

    Args:
        uniform: draws from [0, 1).
        rates: probability of being dropped, in [0, 1).

    Source: published code.
    """
    return (1 - rates + uniform).floor() / (1 - rates)


def block_rates(highest: float, depth: int) -> Float[Tensor, "block 1 1"]:
    """Drop rates that rise evenly from 0 in the first block to the highest in the last (published code)."""
    return torch.linspace(0, highest, depth, dtype=torch.float64).view(-1, 1, 1)


def kept_features(num_features: int, rate: float, generator: torch.Generator) -> Bool[Tensor, " feature"]:
    """1 where a feature stays.

    Args:
        num_features: how many are drawn for; a multiple of 4 draws nothing in vain.
        rate: probability of being dropped, in [0, 1), rounded as `kept_share` says.
        generator: on the CPU.
    """
    # Four draws of 16 bits from each of 64: three times as fast as a float for every feature.
    bits = torch.empty(-(-num_features // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    return bits.view(torch.int16)[:num_features] >= _dropped_levels(rate) - _LEVELS // 2


def kept_share(rate: float) -> float:
    """Probability that `kept_features` keeps one: `1 - rate`, to the nearest 65536th."""
    return 1 - _dropped_levels(rate) / _LEVELS


def _dropped_levels(rate: float) -> int:
    return min(round(rate * _LEVELS), _LEVELS - 1)


def draw_dropped(
    shape: EncoderShape, mine: slice, batch_size: int, *, drop_path: float, dropout: float, seed: int, step: int
) -> Dropped:
    """What one worker drops at a step, on the CPU; branches in double precision.

    Args:
        shape: of the encoder.
        mine: samples of the global batch that the worker has.
        batch_size: of all workers together.
        drop_path: rate in the last block.
        dropout: rate of features.
        seed: of the stage.
        step: optimiser step from 0.
    """
    branches = kept = None
    if drop_path:
        generator = draws.generator(seed, step, "drop path")
        uniform = torch.rand(shape.depth, 2, batch_size, _BODIES, generator=generator, dtype=torch.float64)
        branches = keep_factors(uniform[:, :, mine].flatten(2), block_rates(drop_path, shape.depth))
    if dropout:
        # Each sample has a generator of its own, so that a worker need not draw the millions of the whole batch.
        num_features = _BODIES * shape.tokens * shape.width
        by_sample = [
            kept_features(num_features, dropout, draws.generator(seed, step, f"dropout {sample}"))
            for sample in range(batch_size)[mine]
        ]
        kept = torch.stack(by_sample).view(-1, shape.tokens, shape.width)
    return Dropped(branches, kept)
