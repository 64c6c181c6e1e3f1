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
