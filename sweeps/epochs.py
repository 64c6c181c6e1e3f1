"""Section 4.2: how long stage 2 tunes; the paper 20 epochs.

    python sweeps/epochs.py                                              this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/epochs.py            a cluster

From a quarter of the recipe's epochs to four times them. Embedded data: about five minutes on two cores. NTU-60 with
the paper's recipe: one stage 1 and 25 tunings, of 31 epochs on average.
"""

from dataclasses import replace

from cluster.run import main
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, epochs: int, seed: int) -> KNN:
    """KNN after tuning for so many epochs."""
    return recipe.knn(replace(recipe.tune(seed), epochs=epochs))


SWEEP = Sweep(
    name="epochs",
    title="Epochs of stage 2",
    paper="section 4.2",
    point=point,
    axes={"epochs": (5, 10, 20, 40, 80), "seed": range(5)},
    by_recipe={"epochs": lambda recipe: [max(1, recipe.stage2.epochs * 2**n // 4) for n in range(5)]},
    allowed={"epochs": ("1 or more", lambda epochs: epochs >= 1)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
