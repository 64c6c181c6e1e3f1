"""Section 4.2: batch size of stage 2, at an unchanged learning rate.

    python sweeps/batch_size.py                                          this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/batch_size.py        a cluster

From a quarter of the recipe's to twice it. Embedded data: about four minutes on two cores. NTU-60 with the paper's
recipe: one stage 1 and 20 short tunings.
"""

from dataclasses import replace

from cluster.run import main
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, batch_size: int, seed: int) -> KNN:
    """KNN after tuning in batches of this size."""
    return recipe.knn(replace(recipe.tune(seed), batch_size=batch_size))


SWEEP = Sweep(
    name="batch_size",
    title="Batch size of stage 2",
    paper="section 4.2",
    point=point,
    axes={"batch_size": (32, 64, 128, 256), "seed": range(5)},
    by_recipe={"batch_size": lambda recipe: [max(2, recipe.stage2.batch_size * 2**n // 4) for n in range(4)]},
    allowed={"batch_size": ("2 or more", lambda size: size >= 2)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
