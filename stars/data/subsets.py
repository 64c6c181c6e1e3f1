"""Small labelled parts of a training set, for semi-supervised evaluation (paper, supplement B)."""

import numpy as np
from jaxtyping import Int64


def shuffled(num_samples: int, fraction: float, seed: int) -> Int64[np.ndarray, " chosen"]:
    """The first of all positions, shuffled; classes are not balanced (published code).

    Args:
        num_samples: of the training part, in published order.
        fraction: of them that is taken, in (0, 1]; the number is cut to a whole one.
        seed: of NumPy's legacy generator, which is the same on every machine and in every version.

    Raises:
        ValueError: a fraction that takes nothing, or more than there is.
    """
    number = int(num_samples * fraction)
    if not 1 <= number <= num_samples:
        raise ValueError(f"fraction is {fraction} of {num_samples} samples; allowed: one sample or more, at most all")
    order = np.arange(num_samples, dtype=np.int64)
    np.random.RandomState(seed).shuffle(order)
    return order[:number]


def balanced(labels: Int64[np.ndarray, " sample"], fraction: float, seed: int) -> Int64[np.ndarray, " chosen"]:
    """As many positions of every class as there can be, drawn at random; at least one of each.

    Classes take turns, in a random order, until there are as many samples as `shuffled` takes; a class that has no more
    is passed over. Where this is less than one for each class, every class has one.

    Args:
        labels: class of every sample of the training part.
        fraction: of the samples that is taken, in (0, 1]; the number is cut to a whole one.
        seed: of NumPy's legacy generator, which is the same on every machine and in every version.

    Raises:
        ValueError: a fraction outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction}; allowed: in (0, 1]")
    order = np.arange(len(labels), dtype=np.int64)
    np.random.RandomState(seed).shuffle(order)
    by_class = np.argsort(labels[order], kind="stable")
    sizes = np.unique(labels, return_counts=True)[1]
    # Of each sample, how many of its class come before it.
    turn = np.empty_like(order)
    turn[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return order[np.argsort(turn, kind="stable")][: max(int(len(labels) * fraction), len(sizes))]
