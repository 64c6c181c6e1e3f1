"""Small labelled parts: as many as asked for, classes balanced where they are to be. (`shuffled` is in the vectors.)"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stars.data.subsets import balanced, shuffled


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=60),
    st.floats(min_value=0.01, max_value=1.0),
    st.integers(0, 2**32 - 1),
)
def test_a_balanced_part_is_as_even_as_the_classes_allow(classes: list[int], fraction: float, seed: int) -> None:
    labels = np.array(classes)
    chosen = balanced(labels, fraction, seed)
    present, sizes = np.unique(labels, return_counts=True)
    assert len(set(chosen.tolist())) == len(chosen) == max(int(len(labels) * fraction), len(present))
    taken = np.array([(labels[chosen] == label).sum() for label in present])
    assert taken.min() >= 1
    # A class with fewer than another has given all it has, or is one turn behind.
    assert all(mine == size or mine >= taken.max() - 1 for mine, size in zip(taken, sizes, strict=True))
    assert balanced(labels, fraction, seed).tolist() == chosen.tolist()


def test_who_is_chosen_and_who_goes_first_is_drawn() -> None:
    labels = np.repeat(np.arange(4), 25)
    drawn = [balanced(labels, 0.06, seed) for seed in range(200)]
    often = np.bincount(np.concatenate(drawn), minlength=100)
    assert {len(chosen) for chosen in drawn} == {6}
    assert often.min() > 0
    assert often.max() < 30
    second = np.bincount(np.concatenate([labels[chosen[4:]] for chosen in drawn]), minlength=4)
    assert second.min() > 60


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1])
def test_an_impossible_fraction_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match=r"fraction is .*; allowed: in \(0, 1\]"):
        balanced(np.zeros(10, np.int64), fraction, 0)
    with pytest.raises(ValueError, match=r"fraction is .* of 10 samples; allowed"):
        shuffled(10, fraction, 0)
