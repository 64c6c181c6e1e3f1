"""Many points whose stages do next to nothing: what the scheduling of one costs.

    python benchmarks/scheduling/points.py --seeds 10000 --store DIR

A point is the accuracy of the majority class, on the same recordings under another name each time.
"""

from dataclasses import replace

from cluster.run import main
from stars.probes.chance import Chance
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, seed: int) -> Chance:
    """A stage of its own for every seed."""
    return Chance(data=replace(recipe.data, name=f"{recipe.data.name}-{seed}"))


SWEEP = Sweep(
    name="scheduling",
    title="What scheduling a point costs",
    paper="none",
    point=point,
    axes={"seed": range(10_000)},
)

if __name__ == "__main__":
    main(SWEEP)
