"""Section 3.3: how wide the predictor of stage 2 is, which the paper leaves open.

    python sweeps/heads.py                                               this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/heads.py             a cluster

Embedded data: about five minutes on two cores. NTU-60 with the paper's recipe: one stage 1 and 25 short tunings.
"""

from dataclasses import replace

from cluster.run import main
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, hidden: int, seed: int) -> KNN:
    """KNN after tuning with a predictor of this hidden width."""
    return recipe.knn(replace(recipe.tune(seed), strategy=replace(recipe.nnclr(), hidden=hidden)))


SWEEP = Sweep(
    name="heads",
    title="Width of the predictor's hidden layer",
    paper="section 3.3",
    point=point,
    axes={"hidden": (256, 1024, 2048, 4096, 8192), "seed": range(5)},
    by_recipe={"hidden": lambda recipe: [max(1, recipe.nnclr().hidden * part // 16) for part in (1, 4, 8, 16, 32)]},
    allowed={"hidden": ("1 or more", lambda width: width >= 1)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
