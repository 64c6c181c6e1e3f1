"""Table 6: three strategies of tuning, the two with a teacher also with augmented views.

    python sweeps/tuning_strategy.py                                     this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/tuning_strategy.py   a cluster

Embedded data: about ten minutes on two cores. NTU-60 with the paper's recipe: one stage 1 and 25 short tunings, of
which those with a teacher take twice as long.
"""

from dataclasses import replace

from cluster.run import main
from stars.augmentations.flip import SpatialFlip
from stars.augmentations.rotation import Rotation
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, strategy: str, seed: int) -> KNN:
    """KNN after tuning by one strategy; `aug` flips and rotates every view."""
    tuned = recipe.tune(seed)
    name, _, augmented = strategy.partition(" ")
    view = replace(tuned.view, augmentations=(SpatialFlip(), Rotation())) if augmented else tuned.view
    strategies = {"NNCLR": tuned.strategy, "MoCo": recipe.moco, "DINO": recipe.dino}
    return recipe.knn(replace(tuned, strategy=strategies[name], view=view))


SWEEP = Sweep(
    name="tuning_strategy",
    title="Strategy of tuning in stage 2",
    paper="Table 6",
    point=point,
    axes={"strategy": ("DINO", "DINO aug", "MoCo", "MoCo aug", "NNCLR"), "seed": range(5)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
