"""A sweep: a function from a point to a stage, its axes, and what a search may suggest; and the points it plans.

The planned points are written before anything runs, so that what is missing shows as missing and is never averaged
away. A plan is a Parquet file of its own, named by its content: `sweeps/<sweep>/<plan hash>.parquet`.
"""

import hashlib
import inspect
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import pyarrow as pa

from stars import space
from stars.parquet import read_all, to_bytes
from stars.results import SCHEMA
from stars.space import Choice, Range, Space
from stars.stage import Stage, fingerprint, kind, upstream
from stars.store import Store

AxisValue = space.AxisValue
SEED = "seed"

PLAN_SCHEMA = pa.schema(
    [
        pa.field("sweep", pa.string(), nullable=False),
        pa.field("paper", pa.string(), nullable=False),
        # Empty for a point of the grid, else the row's name: "stage 1 only", "chance", …
        pa.field("reference", pa.string(), nullable=False),
        # Axes by name, as JSON: their types differ between sweeps.
        pa.field("axes", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("fingerprint", pa.string(), nullable=False),
        # `kind/fingerprint` of everything the point needs, inputs first: tells which step of a missing point failed.
        pa.field("upstream", pa.list_(pa.string()), nullable=False),
        # What the command line chose (data, recipe, what the seeds reseed …), as JSON.
        pa.field("context", pa.string(), nullable=False),
        pa.field("schema_version", pa.int32(), nullable=False),
    ]
)
PLAN_VERSION = 1


class Recipe(Protocol):
    """What a point function builds on: the base values that the command line chose."""

    def context(self) -> dict[str, AxisValue]:
        """What was chosen, for the reader of a table: data set, protocol, recipe, what the seeds reseed."""


def _nothing(_: Any) -> Sequence[Mapping[str, AxisValue]]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """An ablation.

    Attributes:
        name: also its folder in the store.
        title: what it varies, in words.
        paper: the table or figure it reproduces.
        point: called as `point(recipe, **axes)`; returns the probe whose number is wanted.
        axes: values by axis name, in the order of the grid; the axis `seed` is the one that tables average over.
        references: rows beside the grid, by name; called with the recipe and those of the axes they take.
        allowed: for an axis with limits, what is said and checked: `("in (0, 1]", lambda decay: 0 < decay <= 1)`.
        metric: the number the table shows.
        neighbours: with KNN, the k whose accuracy the table shows.
        ranges: what a search may suggest, by axis name. An axis may stand here and among `axes`; one that stands here
            alone has no grid, so that the sweep can only be searched.
        first: called with the recipe; the points that a search tries before it suggests any.
        greater_is_better: whether a search looks for the greatest number or for the smallest.
        by_recipe: for an axis whose values follow from the recipe (halves and doubles of its own, say), what gives
            them in place of those in `axes`, unless the command line does.
        target: the other data that its point functions find in the recipe's `target`: none; those of another data
            set; or actions that nothing has been trained on.
    """

    name: str
    title: str
    paper: str
    point: Callable[..., Stage]
    axes: Mapping[str, Sequence[AxisValue]]
    references: Mapping[str, Callable[..., Stage]] = field(default_factory=dict)
    allowed: Mapping[str, tuple[str, Callable[[Any], bool]]] = field(default_factory=dict)
    metric: str = "accuracy"
    neighbours: int = 10
    ranges: Mapping[str, Range] = field(default_factory=dict)
    first: Callable[[Any], Sequence[Mapping[str, AxisValue]]] = _nothing
    greater_is_better: bool = True
    by_recipe: Mapping[str, Callable[[Any], Sequence[AxisValue]]] = field(default_factory=dict)
    target: Literal["none", "data set", "novel actions"] = "none"

    def __post_init__(self) -> None:
        """Refuse an axis that a table could not tell from a column of the results, and ranges that cannot be."""
        if taken := sorted({*self.axes, *self.ranges} & set(SCHEMA.names)):
            raise ValueError(f"{self.name}: axis {taken[0]!r} is the name of a results column; allowed: another name")
        if SEED in self.ranges:
            raise ValueError(
                f"{self.name}: a range for the axis {SEED!r}; allowed: for any other, as seeds are averaged"
            )
        self._require_allowed({name: space.examples(allowed) for name, allowed in self.space().ranges.items()})

    @property
    def searched(self) -> bool:
        """Whether the sweep has no grid and can only be searched."""
        return not set(self.ranges) <= set(self.axes)

    def space(self) -> Space:
        """What a search suggests: the ranges, and for an axis that has none its values, without order."""
        plain = {name: Choice(values=tuple(v)) for name, v in self.axes.items() if name not in {SEED, *self.ranges}}
        return Space(ranges={**plain, **self.ranges})

    def examples(self, name: str) -> Sequence[AxisValue]:
        """Values of an axis, of its own type. Raises ValueError for an unknown axis."""
        if name in self.axes:
            return self.axes[name]
        if name in self.ranges:
            return space.examples(self.ranges[name])
        raise ValueError(f"axis {name!r} is unknown; {self.name} has {', '.join(self._names())}")

    def first_points(self, recipe: Any) -> list[dict[str, AxisValue]]:
        """The points that a search tries first. Raises ValueError for one outside the space."""
        checked = self.space()
        return [checked.checked(point) for point in self.first(recipe)]

    def some_point(self, recipe: Any) -> dict[str, AxisValue]:
        """A point of the space: the first one tried, or each axis at its first value."""
        if first := self.first_points(recipe):
            return first[0]
        whole, found = self.space(), dict[str, AxisValue]()
        for axis, allowed in whole.ranges.items():
            if whole.exists(axis, found):
                found[axis] = space.examples(allowed)[0]
        return found

    def widened(self, changes: Mapping[str, Sequence[AxisValue]]) -> "Sweep":
        """The sweep with other values on some axes.

        Raises:
            ValueError: an unknown axis, no value, a repeated value, or one that is not allowed.
        """
        if ranged := [name for name in changes if name not in self.axes and name in self.ranges]:
            raise ValueError(f"axis {ranged[0]} of {self.name} has no grid; allowed: in a search")
        self._require_values(changes)
        self._require_words(changes)
        axes = {name: tuple(changes.get(name, values)) for name, values in self.axes.items()}
        self._require_allowed(axes)
        return Sweep(**{**self.__dict__, "axes": axes, "by_recipe": self._open(changes)})

    def fitted(self, recipe: Any) -> "Sweep":
        """The sweep with the values that follow from the recipe, on the axes that the command line left alone."""
        values = {name: tuple(dict.fromkeys(make(recipe))) for name, make in self.by_recipe.items()}
        axes = {name: values.get(name, stated) for name, stated in self.axes.items()}
        return Sweep(**{**self.__dict__, "axes": axes, "by_recipe": {}})

    def pinned(self, changes: Mapping[str, Sequence[AxisValue]]) -> "Sweep":
        """The sweep for a search that suggests only these values on some axes; `seed` sets the seeds instead.

        An axis that exists nowhere any more is left out, and so are the first points that lie outside now.

        Raises:
            ValueError: an unknown axis, no value, a repeated value, one that is not allowed, or an axis that exists
                only where the other changes rule it out.
        """
        self._require_values(changes)
        seeds = {name: tuple(values) for name, values in changes.items() if name == SEED}
        before = self.space().ranges
        after = dict(before)
        for name in changes.keys() & before.keys():
            values = tuple(changes[name])
            if name in self.ranges:
                values = tuple(space.coerced(name, before[name], value) for value in values)
            after[name] = Choice(values=values, when=before[name].when)
        possible = space.without_impossible(after)
        for name in changes:
            if name in after and name not in possible:
                where = " and ".join(f"{other} is {' or '.join(map(str, v))}" for other, v in before[name].when)
                raise ValueError(f"axis {name} has values; allowed: only where {where}")
        kept = Space(ranges=possible)
        axes = {name: values for name, values in {**self.axes, **seeds}.items() if name == SEED or name in possible}

        def within(recipe: Any) -> list[Mapping[str, AxisValue]]:
            return [point for point in self.first(recipe) if kept.holds(point)]

        changed = {"axes": axes, "ranges": possible, "first": within, "by_recipe": self._open(changes)}
        return Sweep(**{**self.__dict__, **changed})

    def _open(self, changes: Mapping[str, Sequence[AxisValue]]) -> dict[str, Callable[[Any], Sequence[AxisValue]]]:
        """What still follows from the recipe."""
        return {name: make for name, make in self.by_recipe.items() if name not in changes}

    def _names(self) -> list[str]:
        return list(dict.fromkeys((*self.ranges, *self.axes)))

    def _require_values(self, changes: Mapping[str, Sequence[AxisValue]]) -> None:
        for name, values in changes.items():
            self.examples(name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"axis {name} is {list(values)}; allowed: one or more different values")

    def _require_words(self, changes: Mapping[str, Sequence[AxisValue]]) -> None:
        """Words mean what the point function knows: those that stand on the axis, unless `allowed` knows others."""
        for name in changes.keys() - self.allowed.keys() - self.by_recipe.keys():
            stated = self.examples(name)
            if unknown := [value for value in changes[name] if isinstance(value, str) and value not in stated]:
                raise ValueError(f"{name} is {unknown[0]!r}; allowed: {', '.join(map(repr, stated))}")

    def _require_allowed(self, given: Mapping[str, Sequence[AxisValue]]) -> None:
        for name, (words, holds) in self.allowed.items():
            is_word = isinstance(next(iter(self.examples(name))), str)
            for value in given.get(name, ()):
                if isinstance(value, str) != is_word or not holds(value):
                    raise ValueError(f"{name} is {value}; allowed: {words}")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One planned number: where it stands on the axes, and the stage that computes it."""

    axes: Mapping[str, AxisValue]
    stage: Stage
    reference: str = ""


def points(sweep: Sweep, recipe: Recipe) -> list[Point]:
    """The grid in the order of its axes, then the references, each over those of the axes that it takes.

    Raises:
        ValueError: a sweep that can only be searched.
    """
    if sweep.searched:
        raise ValueError(f"{sweep.name} has no grid; allowed: a search")
    sweep = sweep.fitted(recipe)
    grid = [Point(axes=axes, stage=sweep.point(recipe, **axes)) for axes in _product(sweep.axes)]
    for name, function in sweep.references.items():
        taken = [axis for axis in sweep.axes if axis in inspect.signature(function).parameters]
        combinations = _product({axis: sweep.axes[axis] for axis in taken})
        grid += [Point(axes=axes, stage=function(recipe, **axes), reference=name) for axes in combinations]
    return grid


def plan_table(sweep: Sweep, recipe: Recipe, planned: Sequence[Point]) -> pa.Table:
    """The planned points as a table in `PLAN_SCHEMA`."""
    context = json.dumps(recipe.context(), sort_keys=True)
    rows = [
        {
            "sweep": sweep.name,
            "paper": sweep.paper,
            "reference": point.reference,
            "axes": json.dumps(dict(point.axes)),
            "kind": kind(point.stage),
            "fingerprint": fingerprint(point.stage),
            "upstream": [f"{kind(stage)}/{fingerprint(stage)}" for stage in upstream(point.stage)],
            "context": context,
            "schema_version": PLAN_VERSION,
        }
        for point in planned
    ]
    return pa.Table.from_pylist(rows, schema=PLAN_SCHEMA)


def write_plan(store: Store, table: pa.Table) -> str:
    """Write a plan unless the same is there; returns its key."""
    content = json.dumps(table.to_pylist(), sort_keys=True).encode()
    key = f"sweeps/{table['sweep'][0]}/{hashlib.sha256(content).hexdigest()}.parquet"
    store.create(key, to_bytes(table))
    return key


def read_plans(store: Store, sweep: str | None = None) -> pa.Table:
    """All planned points, of one sweep or of all; a point planned twice stands here twice."""
    root = store.location / "sweeps"
    names = [sweep] if sweep else sorted(p.name for p in root.iterdir()) if root.is_dir() else []
    keys = [key for name in names for key in store.keys(f"sweeps/{name}", ".parquet")]
    return read_all([store.location / key for key in keys], PLAN_SCHEMA)


def _product(axes: Mapping[str, Sequence[AxisValue]]) -> list[dict[str, AxisValue]]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
