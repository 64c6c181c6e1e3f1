"""Section 3.3: how many nearest neighbours the positive of stage 2 is drawn from; the paper takes the nearest.

    python sweeps/neighbours.py                                          this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/neighbours.py        a cluster

Embedded data: about four minutes on two cores. NTU-60 with the paper's recipe: one stage 1 and 25 short tunings.
"""

from dataclasses import replace

from cluster.run import main
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, neighbours: int, seed: int) -> KNN:
    """KNN after tuning with positives from so many neighbours."""
    return recipe.knn(replace(recipe.tune(seed), strategy=replace(recipe.nnclr(), neighbours=neighbours)))


SWEEP = Sweep(
    name="neighbours",
    title="Neighbours that a positive is drawn from",
    paper="section 3.3",
    point=point,
    axes={"neighbours": (1, 2, 5, 10, 20), "seed": range(5)},
    allowed={"neighbours": ("1 or more", lambda neighbours: neighbours >= 1)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
