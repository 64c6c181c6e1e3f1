"""The decay sweep, searched, at a size for tests. Also a program: `python -m tests.cluster.tiny_search --data …`."""

from dataclasses import replace

from cluster.run import main
from stars.probes.chance import Chance
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.space import Real
from stars.sweep import Sweep
from tests.cluster.tiny_sweep import tiny


def point(recipe: Recipe, *, layer_decay: float, seed: int) -> KNN:
    """KNN after three epochs of tuning with one decay."""
    small = tiny(recipe, epochs=3)
    return small.knn(replace(small.tune(seed), layer_decay=layer_decay))


SWEEP = Sweep(
    name="tiny_search",
    title="Layer decay, searched",
    paper="Figure 3(a)",
    point=point,
    axes={"seed": range(2)},
    ranges={"layer_decay": Real(low=0.05, high=1.0)},
    first=lambda recipe: [{"layer_decay": 0.2}],
    references={"chance": lambda recipe: Chance(data=recipe.data)},
    neighbours=3,
)

if __name__ == "__main__":
    main(SWEEP)
