"""The decay sweep at a size for tests. Also a program: `python -m tests.cluster.tiny_sweep --data … --store …`."""

from dataclasses import replace

from cluster.run import main
from stars.probes.chance import Chance
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep
from tests.training import precise, tiny_recipe


def tiny(recipe: Recipe, epochs: int = 2) -> Recipe:
    """The tests' recipe on the data that the command line chose, in double precision."""
    small = precise(tiny_recipe(recipe.data))
    stage1 = replace(small.stage1, epochs=epochs)
    return replace(small, stage1=stage1, stage2=replace(small.stage2, start=stage1, epochs=epochs))


def point(recipe: Recipe, *, layer_decay: float, seed: int) -> KNN:
    """KNN after tuning with one decay."""
    return tiny(recipe).knn(replace(tiny(recipe).tune(seed), layer_decay=layer_decay))


SWEEP = Sweep(
    name="tiny",
    title="Layer decay, tiny",
    paper="Figure 3(a)",
    point=point,
    axes={"layer_decay": (0.2, 1.0), "seed": range(2)},
    allowed={"layer_decay": ("in (0, 1]", lambda decay: 0 < decay <= 1)},
    references={
        "stage 1 only": lambda recipe, seed: tiny(recipe).knn(tiny(recipe).pretrain(seed)),
        "chance": lambda recipe: Chance(data=recipe.data),
    },
    neighbours=3,
)

if __name__ == "__main__":
    main(SWEEP)
