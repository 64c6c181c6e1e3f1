"""Means with what they are worth: intervals, comparisons, and how many seeds would decide.

Most is about numbers from different seeds on the same test samples (`interval`, `paired`, `more_pairs`). How far
another draw of test samples would move one number is another question, answered by `wilson` and `sampling_error`; and
whether two sets of predictions on the same samples differ, a third (`mcnemar`).
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats
from statsmodels.stats import contingency_tables, multitest, power, proportion

BOOTSTRAP_FROM = 10
"""Values from which on an interval is a bootstrap's."""
SIGNIFICANT = 0.05
_RESAMPLES = 9999
_POWER = 0.8
_MOST_PAIRS = 1000
# With a larger effect a handful decides, and the distribution behind the power cannot be computed for two or three.
_LARGEST_EFFECT = 10.0


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its confidence interval, in the unit of the values.

    Attributes:
        mean: arithmetic mean; NaN of no value.
        low: lower end; NaN below two values. Not cut off at 0 or 1.
        high: upper end.
        half_width: half the length of the interval; with Student's, from the mean to either end.
        count: values that went in.
    """

    mean: float
    low: float
    high: float
    half_width: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Paired:
    """How much `a` exceeds `b`, seed by seed.

    Attributes:
        difference: mean of a - b over the complete pairs; NaN without one.
        interval: of that mean.
        deviation: standard deviation of the differences; NaN below two pairs.
        p_value: two-sided, that the mean difference is zero; NaN below two pairs.
        wins: pairs in which a is the greater.
        count: complete pairs.
        missing: seeds on which one side or both have no value.
    """

    difference: float
    interval: Interval
    deviation: float
    p_value: float
    wins: int
    count: int
    missing: int


@dataclass(frozen=True, kw_only=True)
class Discordance:
    """How two sets of predictions differ on the same samples.

    Attributes:
        first_only: samples that the first alone has right.
        second_only: samples that the second alone has right.
        count: samples.
        p_value: of McNemar's exact test, two-sided, that both are right equally often; 1 where they never differ.
    """

    first_only: int
    second_only: int
    count: int
    p_value: float


def interval(values: Sequence[float], confidence: float = 0.95, seed: int = 0) -> Interval:
    """Mean and its interval: Student's t below ten values, from ten on a bootstrap's.

    A percentile bootstrap covers less than it says (three values: 68 %, not 95 %; ten: 91 %). From ten on it is
    expanded: its level is chosen so that for normal values it is as wide as Student's (Hesterberg 2015, "What teachers
    should know about the bootstrap", section 3.2), which covers 95 % at ten, and follows skew where there is some. Of
    one value nothing is known about the spread: `half_width` is NaN.

    Args:
        values: one a seed; what is missing is left out.
        confidence: coverage, in (0, 1).
        seed: of the bootstrap's draws: the same values always have the same interval.

    Raises:
        ValueError: a value that is not finite, or a confidence outside (0, 1).
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; allowed: in (0, 1)")
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"values are {numbers.tolist()}; allowed: finite numbers (leave out what is missing)")
    count = len(numbers)
    if count == 0:
        return Interval(mean=math.nan, low=math.nan, high=math.nan, half_width=math.nan, count=0)
    mean = float(numbers.mean())
    if count < BOOTSTRAP_FROM:
        half_width = _quantile(count, confidence) * _error(numbers) if count > 1 else math.nan
        return Interval(mean=mean, low=mean - half_width, high=mean + half_width, half_width=half_width, count=count)
    low, high = _bootstrapped(numbers, confidence, seed)
    return Interval(mean=mean, low=low, high=high, half_width=(high - low) / 2, count=count)


def wilson(accuracy: float, num_samples: int, confidence: float = 0.95) -> tuple[float, float]:
    """Ends of Wilson's score interval of an accuracy in [0, 1] measured once on so many samples.

    How far another test set of the same size would move it; more seeds do not make it narrower. Unlike the normal
    approximation it stays in [0, 1] and has width at 0 and 1 (Wilson 1927).
    """
    low, high = proportion.proportion_confint(
        accuracy * num_samples, num_samples, alpha=1 - confidence, method="wilson"
    )
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979): the chance of one false win among all of them.

    NaN is no test: it stays NaN and is not counted.
    """
    given = np.asarray(p_values, dtype=np.float64)
    tested = ~np.isnan(given)
    if tested.any():
        given[tested] = multitest.multipletests(given[tested], method="holm")[1]
    return [float(p) for p in given]


def more_pairs(difference: float, deviation: float, count: int, num_tests: int = 1) -> int | None:
    """How many pairs more would decide a paired t test, if the pairs to come are as those at hand.

    Decide: call the difference significant, with a chance of 80 %, at 5 % divided by the number of tests (Bonferroni's
    level, which Holm's is never below). The effect is that of few pairs and uncertain itself: a figure to plan with.

    Args:
        difference: mean of the pairs at hand.
        deviation: their standard deviation, above 0.
        count: how many there are.
        num_tests: among how many tests this one is.

    Returns:
        0 where the pairs at hand suffice; None where a thousand do not.
    """
    effect = min(abs(difference) / deviation, _LARGEST_EFFECT)
    level, planned = SIGNIFICANT / num_tests, range(max(count, 3), _MOST_PAIRS + 1)
    test = power.TTestPower()
    place = bisect.bisect_left(planned, _POWER, key=lambda number: float(test.power(effect, number, level)))
    return planned[place] - count if place < len(planned) else None


def mcnemar(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Discordance:
    """Compare two sets of predictions on the same samples (McNemar 1947, the exact binomial form).

    Args:
        first: whether each sample is right.
        second: the same of the other, in the same order.

    Raises:
        ValueError: different numbers of samples, or none.
    """
    if first.shape != second.shape or not len(first):
        raise ValueError(f"predictions of {len(first)} and {len(second)} samples; allowed: of the same, one or more")
    first_only, second_only = int((first & ~second).sum()), int((~first & second).sum())
    agreed = [int((first & second).sum()), int((~first & ~second).sum())]
    found = contingency_tables.mcnemar([[agreed[0], first_only], [second_only, agreed[1]]], exact=True)
    return Discordance(
        first_only=first_only, second_only=second_only, count=len(first), p_value=min(1.0, float(found.pvalue))
    )


def paired(a: "pd.Series[float] | float", b: "pd.Series[float] | float", confidence: float = 0.95) -> Paired:
    """Compare two conditions whose values are indexed by seed.

    A plain number stands for a condition that no seed changes, such as stage 1 with its seed fixed: it is the partner
    of every seed of the other side, and the test is then the one-sample t test against that constant.

    A missing pair (a seed that one side lacks, or whose value is NaN) is dropped from mean, interval and test, and
    counted in `missing`; the side that has a value there keeps it in its own mean, so `difference` need not equal the
    difference of the two means.

    Differences without any spread give p = 1 when they are zero and p = 0 otherwise.

    Raises:
        ValueError: a seed that stands twice on one side.
    """
    for side in (a, b):
        if isinstance(side, pd.Series) and side.index.has_duplicates:
            raise ValueError(f"seed {side.index[side.index.duplicated()][0]} stands twice; allowed: one value each")
    if isinstance(a, pd.Series) and isinstance(b, pd.Series):
        differences = a.astype(float) - b.astype(float)
    else:
        differences = pd.Series(a - b, dtype=float)
    complete = np.asarray(differences.dropna(), dtype=np.float64)
    around = interval(complete.tolist(), confidence)
    return Paired(
        difference=around.mean,
        interval=around,
        deviation=float(complete.std(ddof=1)) if len(complete) > 1 else math.nan,
        p_value=_p_value(complete),
        wins=int((complete > 0).sum()),
        count=len(complete),
        missing=len(differences) - len(complete),
    )


def sampling_error(accuracy: float, num_samples: int) -> float:
    """Binomial standard error of an accuracy in [0, 1] measured once on so many samples.

    How far another test set of the same size would move it; more seeds do not make it smaller.
    """
    return math.sqrt(max(accuracy * (1 - accuracy), 0.0) / num_samples)


def _quantile(count: int, confidence: float) -> float:
    return float(special.stdtrit(count - 1, (1 + confidence) / 2))


def _bootstrapped(numbers: npt.NDArray[np.float64], confidence: float, seed: int) -> tuple[float, float]:
    """Ends of the expanded percentile bootstrap of the mean."""
    count = len(numbers)
    tail = float(special.ndtr(-math.sqrt(count / (count - 1)) * _quantile(count, confidence)))
    found = stats.bootstrap(
        (numbers,),
        np.mean,
        confidence_level=1 - 2 * tail,
        n_resamples=_RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _error(numbers: npt.NDArray[np.float64]) -> float:
    return float(numbers.std(ddof=1)) / math.sqrt(len(numbers))


def _p_value(differences: npt.NDArray[np.float64]) -> float:
    if len(differences) < 2:
        return math.nan
    mean, error = float(differences.mean()), _error(differences)
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(special.stdtr(len(differences) - 1, -abs(mean / error)))
