"""What a search may suggest: a range for every axis, and axes that exist only where another one has some value."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

AxisValue: TypeAlias = bool | int | float | str
When: TypeAlias = tuple[tuple[str, tuple[AxisValue, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Real:
    """Real numbers.

    Attributes:
        low: the smallest, in the axis's own unit.
        high: the largest; suggested as well.
        log: whether equal ratios are equally likely at first, rather than equal differences.
        when: other axes with values of theirs: the axis exists only where each has one of them. Empty: everywhere.
    """

    low: float
    high: float
    log: bool = False
    when: When = ()

    def __post_init__(self) -> None:
        """Refuse an empty range, and a logarithm of what is not positive."""
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"Real is {self.low} to {self.high}; allowed: finite numbers that ascend")
        if self.log and self.low <= 0:
            raise ValueError(f"Real.low is {self.low} on a logarithmic scale; allowed: above 0")


@dataclass(frozen=True, kw_only=True)
class Integer:
    """Whole numbers.

    Attributes:
        low: the smallest, in the axis's own unit.
        high: the largest; suggested as well.
        log: whether equal ratios are equally likely at first, rather than equal differences.
        step: from one to the next.
        when: as in `Real`.
    """

    low: int
    high: int
    log: bool = False
    step: int = 1
    when: When = ()

    def __post_init__(self) -> None:
        """Refuse an empty range, a step that misses the end, and a logarithmic scale below 1 or with a step."""
        if self.low > self.high:
            raise ValueError(f"Integer is {self.low} to {self.high}; allowed: whole numbers that ascend")
        if self.step < 1 or (self.high - self.low) % self.step:
            raise ValueError(f"Integer.step is {self.step}; allowed: 1 or more, and a divisor of high - low")
        if self.log and (self.low < 1 or self.step != 1):
            raise ValueError(f"Integer is {self.low} by {self.step} on a logarithmic scale; allowed: from 1, by 1")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of some values without order.

    Attributes:
        values: all different.
        when: as in `Real`.
    """

    values: tuple[AxisValue, ...]
    when: When = ()

    def __post_init__(self) -> None:
        """Refuse no value, equal ones (1, 1.0 and True are equal), and what JSON cannot hold."""
        if not self.values or len(set(self.values)) != len(self.values):
            raise ValueError(f"Choice.values is {list(self.values)}; allowed: one or more different values")
        for value in self.values:
            if not isinstance(value, bool | int | float | str) or (
                isinstance(value, float) and not math.isfinite(value)
            ):
                raise ValueError(f"Choice.values has {value!r}; allowed: booleans, finite numbers, strings")


Range: TypeAlias = Real | Integer | Choice


def described(allowed: Range) -> str:
    """What a range allows, in words."""
    if isinstance(allowed, Choice):
        return ", ".join(map(str, allowed.values))
    if isinstance(allowed, Integer):
        steps = f" by {allowed.step}" if allowed.step > 1 else ""
        return f"whole numbers from {allowed.low} to {allowed.high}{steps}"
    return f"numbers from {allowed.low} to {allowed.high}"


def examples(allowed: Range) -> tuple[AxisValue, ...]:
    """Values of the range's own type: all of a choice, the ends of numbers."""
    if isinstance(allowed, Choice):
        return allowed.values
    if isinstance(allowed, Integer):
        return (allowed.low, allowed.high)
    return (float(allowed.low), float(allowed.high))


def coerced(axis: str, allowed: Range, given: object) -> AxisValue:
    """The value in the axis's own type, so that 1 and 1.0 are one point of a `Real`.

    Raises:
        ValueError: a value that the range does not hold; names axis, value and what is allowed.
    """
    if isinstance(allowed, Choice):
        for value in allowed.values:
            if value == given and isinstance(value, bool) == isinstance(given, bool):
                return value
    elif isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given):
        if isinstance(allowed, Real):
            if allowed.low <= given <= allowed.high:
                return float(given)
        elif allowed.low <= given <= allowed.high and (given - allowed.low) % allowed.step == 0:
            return int(given)
    raise ValueError(f"{axis} is {given!r}; allowed: {described(allowed)}")


@dataclass(frozen=True, kw_only=True)
class Space:
    """Every point that a search may suggest.

    Attributes:
        ranges: by axis. An axis stands after those that its `when` names, and these are choices.
    """

    ranges: Mapping[str, Range] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an axis that depends on what is not declared before it, is no choice, or has no such value."""
        before: dict[str, Range] = {}
        for axis, allowed in self.ranges.items():
            for other, values in allowed.when:
                there = before.get(other)
                if not isinstance(there, Choice):
                    choices = ", ".join(name for name, earlier in before.items() if isinstance(earlier, Choice))
                    raise ValueError(
                        f"{axis} exists when {other!r} has some value; allowed: a choice that is declared before it, "
                        f"here {choices or 'none'}"
                    )
                for value in values:
                    coerced(f"{axis} exists only when {other}", there, value)
                if not values:
                    raise ValueError(f"{axis} exists when {other} is one of none; allowed: {described(there)}")
            before[axis] = allowed

    def exists(self, axis: str, point: Mapping[str, AxisValue]) -> bool:
        """Whether the axis exists, given the values on the axes before it."""
        return all(other in point and point[other] in values for other, values in self.ranges[axis].when)

    def checked(self, point: Mapping[str, object]) -> dict[str, AxisValue]:
        """The point with the axes in their order and the values in their types.

        Raises:
            ValueError: a missing axis, one that is unknown or does not exist there, or a value that is not allowed.
        """
        found: dict[str, AxisValue] = {}
        for axis, allowed in self.ranges.items():
            if self.exists(axis, found):
                if axis not in point:
                    raise ValueError(f"axis {axis} is missing; allowed: {described(allowed)}")
                found[axis] = coerced(axis, allowed, point[axis])
        for axis in point:
            if axis not in self.ranges:
                raise ValueError(f"axis {axis!r} is unknown; allowed: {', '.join(self.ranges) or 'none'}")
            if axis not in found:
                raise ValueError(f"{axis} is {point[axis]!r}; allowed: only where {_condition(self.ranges[axis])}")
        return found

    def holds(self, point: Mapping[str, object]) -> bool:
        """Whether the point is one of the space."""
        try:
            self.checked(point)
        except ValueError:
            return False
        return True

    def num_points(self) -> int | None:
        """How many different points there are; None when their number has no end."""
        deciding = {other for allowed in self.ranges.values() for other, _ in allowed.when}

        def count(axes: tuple[str, ...], point: dict[str, AxisValue]) -> int | None:
            if not axes:
                return 1
            axis, rest = axes[0], axes[1:]
            if not self.exists(axis, point):
                return count(rest, point)
            allowed = self.ranges[axis]
            if axis in deciding and isinstance(allowed, Choice):
                counts = [count(rest, {**point, axis: value}) for value in allowed.values]
                return None if None in counts else sum(filter(None, counts))
            here, below = _num_values(allowed), count(rest, point)
            return None if here is None or below is None else here * below

        return count(tuple(self.ranges), {})

    def document(self) -> str:
        """Canonical JSON: equal spaces, and only those, have equal documents; the order of the axes counts."""
        return json.dumps([[axis, *_fields(allowed)] for axis, allowed in self.ranges.items()], allow_nan=False)


def without_impossible(ranges: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges without the axes that exist nowhere because another one has lost the values they need."""
    kept: dict[str, Range] = {}
    for axis, allowed in ranges.items():
        left: list[tuple[str, tuple[AxisValue, ...]]] = []
        for other, values in allowed.when:
            there = kept.get(other)
            possible = there.values if isinstance(there, Choice) else ()
            left.append((other, tuple(value for value in values if value in possible)))
        if all(values for _, values in left):
            kept[axis] = _replaced(allowed, tuple(left))
    return kept


def key(point: Mapping[str, AxisValue]) -> str:
    """What makes two checked points the same."""
    return json.dumps(dict(point), sort_keys=True, allow_nan=False)


def _replaced(allowed: Range, when: When) -> Range:
    return type(allowed)(**{**allowed.__dict__, "when": when})


def _fields(allowed: Range) -> Iterator[object]:
    yield type(allowed).__name__
    if isinstance(allowed, Choice):
        yield list(allowed.values)
    elif isinstance(allowed, Integer):
        yield [allowed.low, allowed.high, allowed.log, allowed.step]
    else:
        yield [float(allowed.low), float(allowed.high), allowed.log]
    yield [[other, list(values)] for other, values in allowed.when]


def _condition(allowed: Range) -> str:
    return " and ".join(f"{other} is {' or '.join(map(str, values))}" for other, values in allowed.when)


def _num_values(allowed: Range) -> int | None:
    if isinstance(allowed, Choice):
        return len(allowed.values)
    if isinstance(allowed, Integer):
        return (allowed.high - allowed.low) // allowed.step + 1
    return 1 if allowed.low == allowed.high else None
