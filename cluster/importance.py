"""Ranges as Optuna's distributions, and which of them matter: functional ANOVA over the finished suggestions."""

import math
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from stars.space import AxisValue, Choice, Integer, Range, Space

# Below, a forest of regression trees tells nothing.
_FEWEST = 8


def distribution(allowed: Range) -> BaseDistribution:
    """A range as Optuna writes it into a journal."""
    if isinstance(allowed, Choice):
        return CategoricalDistribution(allowed.values)
    if isinstance(allowed, Integer):
        return IntDistribution(allowed.low, allowed.high, log=allowed.log, step=allowed.step)
    return FloatDistribution(allowed.low, allowed.high, log=allowed.log)


def importances(
    space: Space, measured: Sequence[tuple[Mapping[str, AxisValue], float]], seed: int
) -> tuple[dict[str, float], str]:
    """Share of each axis in the variance of the number (fANOVA, Hutter et al. 2014); or nothing, and why.

    An axis on a logarithmic scale counts on that scale. Where an axis does not exist it is set to the middle of its
    range (a choice: to its first value), so that every suggestion counts; its share is then of the whole space, also
    of the part in which it does nothing.

    Args:
        space: what was suggested from.
        measured: points with their numbers. Successive halving has chosen them: over the whole of the space the shares
            may differ.
        seed: of the forest.
    """
    if len(measured) < _FEWEST:
        return {}, f"trained in full: {len(measured)}; {_FEWEST} are needed"
    values = [value for _, value in measured]
    if max(values) == min(values):
        return {}, f"all {len(measured)} trained in full have the same value"
    ranges = space.ranges
    points = [{axis: point.get(axis, _middle(allowed)) for axis, allowed in ranges.items()} for point, _ in measured]
    varied = [axis for axis in ranges if len({point[axis] for point in points}) > 1]
    distributions = {axis: _scaled_distribution(ranges[axis]) for axis in varied}
    filled = optuna.create_study()
    for point, value in zip(points, values, strict=True):
        params = {axis: _scaled(ranges[axis], point[axis]) for axis in varied}
        filled.add_trial(create_trial(params=params, distributions=distributions, value=value))
    evaluator = FanovaImportanceEvaluator(n_trees=64, max_depth=64, seed=seed)
    found = get_param_importances(filled, evaluator=evaluator)
    return {axis: float(found.get(axis, 0.0)) for axis in ranges}, ""


def _logarithmic(allowed: Range) -> bool:
    return not isinstance(allowed, Choice) and allowed.log


def _scaled_distribution(allowed: Range) -> BaseDistribution:
    """Trees split wherever they like, but a share weighs each part of the space by its length: on the right scale."""
    if isinstance(allowed, Choice) or not allowed.log:
        return distribution(allowed)
    return FloatDistribution(math.log(allowed.low), math.log(allowed.high))


def _scaled(allowed: Range, value: AxisValue) -> AxisValue:
    return math.log(float(value)) if _logarithmic(allowed) else value


def _middle(allowed: Range) -> AxisValue:
    if isinstance(allowed, Choice):
        return allowed.values[0]
    middle = math.sqrt(allowed.low * allowed.high) if allowed.log else (allowed.low + allowed.high) / 2
    if isinstance(allowed, Integer):
        return allowed.low + round((middle - allowed.low) / allowed.step) * allowed.step
    return middle
