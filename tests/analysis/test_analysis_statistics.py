import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from analysis.statistics import (
    BOOTSTRAP_FROM,
    holm,
    interval,
    mcnemar,
    more_pairs,
    paired,
    sampling_error,
    wilson,
)

accuracies = st.floats(0, 1).map(lambda v: round(v, 4))
spread_out = st.lists(accuracies, min_size=2, max_size=BOOTSTRAP_FROM - 1).filter(lambda values: np.std(values) > 1e-3)


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


def test_the_bootstrap_covers_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(0.7, 0.01, size=(600, BOOTSTRAP_FROM))
    inside = [(found := interval(row)).low <= 0.7 <= found.high for row in draws.tolist()]
    # A plain percentile bootstrap of ten covers 91 %.
    assert 0.93 < np.mean(inside) < 0.97


def test_the_bootstrap_follows_skew_and_is_the_same_every_time() -> None:
    values = [0.70, 0.70, 0.70, 0.71, 0.71, 0.71, 0.72, 0.72, 0.73, 0.80]
    found = interval(values)
    assert found.high - found.mean > 1.2 * (found.mean - found.low)
    assert found.half_width == pytest.approx((found.high - found.low) / 2)
    assert interval(values) == found
    uneven = [value + 0.001 * i**1.5 for i, value in enumerate(values)]
    assert interval(uneven, seed=1) != interval(uneven)
    assert interval(values[:9]).high - interval(values[:9]).mean == pytest.approx(interval(values[:9]).half_width)
    wider = interval(values, confidence=0.99)
    assert wider.low < found.low < found.high < wider.high


def test_ten_equal_values_have_no_width() -> None:
    found = interval([0.5] * BOOTSTRAP_FROM)
    assert (found.low, found.high, found.half_width) == (0.5, 0.5, 0.0)


def test_students_sleep_data() -> None:
    # Student (1908), "The probable error of a mean": hours of sleep gained with two drugs; t = 4.06 with nine degrees
    # of freedom, p = 0.0028, as in the example of R's t.test.
    one = pd.Series([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
    two = pd.Series([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])
    found = paired(two, one)
    assert found.difference == pytest.approx(1.58)
    assert found.p_value == pytest.approx(0.002833, abs=1e-6)
    assert found.deviation == pytest.approx(1.58 / 4.0621 * math.sqrt(10), rel=1e-4)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    # Newcombe (1998), "Two-sided confidence intervals for the single proportion", Table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_in_newcombe(hits: int, count: int, low: float, high: float) -> None:
    assert wilson(hits / count, count) == pytest.approx((low, high), abs=5e-5)


def test_wilson_stays_in_range_and_narrows_with_samples() -> None:
    assert wilson(1.0, 50)[1] == 1.0
    assert wilson(1.0, 50)[0] < 0.94
    widths = [high - low for low, high in (wilson(0.8, n) for n in (100, 1613, 16487))]
    assert widths == sorted(widths, reverse=True)
    narrow, wide = wilson(0.8, 100, confidence=0.5), wilson(0.8, 100)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_holm_step_by_step() -> None:
    # Holm (1979): the k-th smallest of m is multiplied by m - k + 1, and none falls below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


def test_holm_leaves_out_what_was_not_tested() -> None:
    found = holm([math.nan, 0.01, 0.04, math.nan])
    assert found[1:3] == pytest.approx([0.02, 0.04])
    assert math.isnan(found[0])
    assert math.isnan(found[3])
    assert all(map(math.isnan, holm([math.nan])))
    assert holm([]) == []


def test_pairs_that_would_decide() -> None:
    # Cohen (1988) and the manual of G*Power: an effect of 0.5 takes 34 pairs for a power of 0.8 at 5 %, two-sided.
    assert more_pairs(0.5, 1.0, 10) == 24
    assert more_pairs(-1.0, 2.0, 10) == 24
    assert more_pairs(0.5, 1.0, 40) == 0
    # A smaller share of the 5 % takes more, and no effect takes more than anyone has.
    assert (more_pairs(0.5, 1.0, 10, num_tests=5) or 0) > 24
    assert more_pairs(0.0, 1.0, 10) is None
    assert more_pairs(1.0, 1e-9, 2, num_tests=100) == 3


def test_pairs_that_would_decide_do_so_with_the_power_they_promise() -> None:
    more = more_pairs(0.02, 0.02, 3, num_tests=2)
    assert more is not None
    power = []
    for count in (3 + more - 1, 3 + more):
        # The noncentral t distribution, as in Cohen (1988), section 2.3.
        limit = stats.t.ppf(1 - 0.025 / 2, count - 1)
        power.append(
            stats.nct.sf(limit, count - 1, math.sqrt(count)) + stats.nct.cdf(-limit, count - 1, math.sqrt(count))
        )
    assert power[0] < 0.8 <= power[1]


def test_mcnemar_of_the_prime_minister() -> None:
    # Agresti, "Categorical data analysis", Table 10.1: approval twice, 794 and 570 the same, 150 and 86 changed. The
    # exact p is that of 86 or fewer of 236 at a half, doubled.
    first = np.repeat([True, True, False, False], [794, 150, 86, 570])
    second = np.repeat([True, False, True, False], [794, 150, 86, 570])
    found = mcnemar(first, second)
    assert (found.first_only, found.second_only, found.count) == (150, 86, 1600)
    assert found.p_value == pytest.approx(2 * stats.binom.cdf(86, 236, 0.5))
    assert mcnemar(second, first).p_value == found.p_value


def test_mcnemar_of_what_never_differs() -> None:
    right = np.array([True, False, True])
    assert mcnemar(right, right).p_value == 1.0
    assert mcnemar(right, np.array([True, True, False])).p_value == 1.0


@pytest.mark.parametrize("second", [[True], []])
def test_mcnemar_of_other_samples_is_refused(second: list[bool]) -> None:
    with pytest.raises(ValueError, match="allowed: of the same, one or more"):
        mcnemar(np.array([True, False] if second else [], dtype=bool), np.array(second, dtype=bool))


@pytest.mark.parametrize(("values", "confidence"), [([0.1, math.nan], 0.95), ([math.inf], 0.95), ([0.1], 1.0)])
def test_what_has_no_interval_is_refused(values: list[float], confidence: float) -> None:
    with pytest.raises(ValueError, match="allowed"):
        interval(values, confidence)


@given(st.lists(st.tuples(accuracies, accuracies), min_size=2, max_size=BOOTSTRAP_FROM - 1))
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
