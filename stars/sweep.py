"""A sweep: a function from a point to a stage, and its axes; and the points it plans.

The planned points are written before anything runs, so that what is missing shows as missing and is never averaged
away. A plan is a Parquet file of its own, named by its content: `sweeps/<sweep>/<plan hash>.parquet`.
"""

import hashlib
import inspect
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from stars.parquet import read_all, to_bytes
from stars.results import SCHEMA
from stars.stage import Stage, fingerprint, kind, upstream
from stars.store import Store

AxisValue = bool | int | float | str

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

    def __post_init__(self) -> None:
        """Refuse an axis that a table could not tell from a column of the results."""
        if taken := sorted(set(self.axes) & set(SCHEMA.names)):
            raise ValueError(f"{self.name}: axis {taken[0]!r} is the name of a results column; allowed: another name")

    def widened(self, changes: Mapping[str, Sequence[AxisValue]]) -> "Sweep":
        """The sweep with other values on some axes.

        Raises:
            ValueError: an unknown axis, no value, a repeated value, or one that is not allowed.
        """
        for name, values in changes.items():
            if name not in self.axes:
                raise ValueError(f"axis {name!r} is unknown; {self.name} has {', '.join(self.axes)}")
            if not values or len(set(values)) != len(values):
                raise ValueError(f"axis {name} is {list(values)}; allowed: one or more different values")
        axes = {name: tuple(changes.get(name, values)) for name, values in self.axes.items()}
        for name, (words, holds) in self.allowed.items():
            for given in axes[name]:
                if isinstance(given, str) or not holds(given):
                    raise ValueError(f"{name} is {given}; allowed: {words}")
        return Sweep(**{**self.__dict__, "axes": axes})


@dataclass(frozen=True, kw_only=True)
class Point:
    """One planned number: where it stands on the axes, and the stage that computes it."""

    axes: Mapping[str, AxisValue]
    stage: Stage
    reference: str = ""


def points(sweep: Sweep, recipe: Recipe) -> list[Point]:
    """The grid in the order of its axes, then the references, each over those of the axes that it takes."""
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
