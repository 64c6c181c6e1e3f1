"""Means with what they are worth: intervals over seeds, and paired comparisons.

Everything here is about numbers from different seeds on the same test samples. How far another draw of test samples
would move one number is another question, answered by `sampling_error`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean and its confidence interval, in the unit of the values.

    Attributes:
        mean: arithmetic mean; NaN of no value.
        low: lower end; NaN below two values. Not cut off at 0 or 1.
        high: upper end.
        half_width: from the mean to either end.
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
        p_value: two-sided, that the mean difference is zero; NaN below two pairs.
        wins: pairs in which a is the greater.
        count: complete pairs.
        missing: seeds on which one side or both have no value.
    """

    difference: float
    interval: Interval
    p_value: float
    wins: int
    count: int
    missing: int


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean and Student's t interval with n - 1 degrees of freedom.

    Student's at every n: below ten values a percentile bootstrap covers far less than it says (three values: 68 %,
    not 95 %), and from ten on the two differ by less than a digit that is printed, so a second method would only put
    a jump into the tables. Of one value nothing is known about the spread: `half_width` is NaN.

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
    half_width = float(special.stdtrit(count - 1, (1 + confidence) / 2)) * _error(numbers) if count > 1 else math.nan
    return Interval(mean=mean, low=mean - half_width, high=mean + half_width, half_width=half_width, count=count)


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


def _error(numbers: npt.NDArray[np.float64]) -> float:
    return float(numbers.std(ddof=1)) / math.sqrt(len(numbers))


def _p_value(differences: npt.NDArray[np.float64]) -> float:
    if len(differences) < 2:
        return math.nan
    mean, error = float(differences.mean()), _error(differences)
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return 2 * float(special.stdtr(len(differences) - 1, -abs(mean / error)))
