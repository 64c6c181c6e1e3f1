import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics import interval, paired, sampling_error

accuracies = st.floats(0, 1).map(lambda v: round(v, 4))
spread_out = st.lists(accuracies, min_size=2, max_size=30).filter(lambda values: np.std(values) > 1e-3)


@given(spread_out, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_students(values: list[float], confidence: float) -> None:
    found = interval(values, confidence)
    low, high = stats.t.interval(confidence, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    assert found.half_width == pytest.approx((high - low) / 2, rel=1e-9)
    assert found.count == len(values)


def test_interval_by_hand() -> None:
    # t(0.975, 2) = 4.3027, standard deviation 0.1, three values.
    found = interval([0.1, 0.2, 0.3])
    assert (found.mean, found.half_width) == pytest.approx((0.2, 4.302652730 * 0.1 / math.sqrt(3)))


def test_one_value_has_no_spread_and_no_value_no_mean() -> None:
    one, none = interval([0.7]), interval([])
    assert (one.mean, one.count) == (0.7, 1)
    assert math.isnan(one.half_width)
    assert math.isnan(one.low)
    assert math.isnan(none.mean)
    assert none.count == 0


def test_covers_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(0.7, 0.01, size=(4000, 3))
    inside = [(found := interval(row)).low <= 0.7 <= found.high for row in draws.tolist()]
    assert 0.94 < np.mean(inside) < 0.96


@pytest.mark.parametrize(("values", "confidence"), [([0.1, math.nan], 0.95), ([math.inf], 0.95), ([0.1], 1.0)])
def test_what_has_no_interval_is_refused(values: list[float], confidence: float) -> None:
    with pytest.raises(ValueError, match="allowed"):
        interval(values, confidence)


@given(st.lists(st.tuples(accuracies, accuracies), min_size=2, max_size=20))
def test_paired_is_the_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    left, right = map(np.array, zip(*pairs, strict=True))
    if np.std(left - right) < 1e-3:
        return
    found = paired(pd.Series(left), pd.Series(right))
    expected = stats.ttest_rel(left, right)
    around = expected.confidence_interval()
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert (found.interval.low, found.interval.high) == pytest.approx((around.low, around.high), rel=1e-6, abs=1e-9)
    assert (found.wins, found.count, found.missing) == (int((left > right).sum()), len(pairs), 0)


@given(spread_out, accuracies)
def test_against_a_constant_it_is_the_one_sample_t_test(values: list[float], constant: float) -> None:
    expected = stats.ttest_1samp(values, constant)
    found = paired(pd.Series(values), constant)
    turned = paired(constant, pd.Series(values))
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert turned.p_value == pytest.approx(found.p_value)
    assert turned.difference == pytest.approx(-found.difference)


def test_missing_pairs_are_dropped_and_counted() -> None:
    a = pd.Series({0: 0.8, 1: 0.7, 2: math.nan, 3: 0.9})
    b = pd.Series({3: 0.7, 0: 0.7, 2: 0.7, 5: 0.1})
    found = paired(a, b)
    # Seeds 0 and 3 are complete; 1 and 5 stand on one side only, 2 has no value.
    assert (found.count, found.missing, found.wins) == (2, 3, 2)
    assert found.difference == pytest.approx(0.15)


def test_missing_values_against_a_constant() -> None:
    found = paired(pd.Series({0: 0.8, 1: math.nan}), 0.5)
    assert (found.count, found.missing) == (1, 1)
    assert math.isnan(found.p_value)
    assert math.isnan(found.interval.half_width)
    nothing = paired(pd.Series({0: 0.8, 1: 0.9}), math.nan)
    assert (nothing.count, nothing.missing) == (0, 2)
    assert math.isnan(nothing.difference)


def test_two_constants_are_one_pair() -> None:
    found = paired(0.75, 0.5)
    assert (found.difference, found.count, found.wins) == (0.25, 1, 1)
    assert math.isnan(found.p_value)


def test_differences_without_spread() -> None:
    a = pd.Series([0.5, 0.75])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert paired(a, a).p_value == 1.0
        assert paired(a, a - 0.25).p_value == 0.0


def test_a_repeated_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed 4 stands twice"):
        paired(pd.Series([0.1, 0.2], index=[4, 4]), 0.5)


def test_sampling_error_of_the_three_test_sets() -> None:
    # Binomial standard errors at the accuracies reported on NTU-60 XSub, NTU-120 XSub and PKU-MMD II.
    found = [100 * sampling_error(p, n) for p, n in ((0.799, 16487), (0.5, 50919), (0.527, 1613))]
    assert found == pytest.approx([0.31, 0.22, 1.24], abs=0.005)
