"""A sweep bound to what the command line chose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.budget import Budget
from cluster.options import Options
from stars.recipes import Recipe
from stars.store import Store
from stars.sweep import Point, Sweep


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is to be done.

    Attributes:
        sweep: with the values, or the ranges, that the command line gave.
        recipe: base values, on the data.
        validation: the same on the data without the validation subjects, which choose in a search; None for a grid.
        points: of the grid and its references; none yet in a search.
        store: where everything is kept.
        datasets: the packed stores of recordings, by their content.
        options: the command line.
        budget: what the run may cost.
    """

    sweep: Sweep
    recipe: Recipe
    validation: Recipe | None
    points: Sequence[Point]
    store: Store
    datasets: Mapping[str, Path]
    options: Options
    budget: Budget | None
