"""Figure 3(b): size of the queue of stage 2.

    python sweeps/queue_size.py                                          this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/queue_size.py        a cluster

From an eighth of the recipe's size to four times it. Embedded data: about five minutes on two cores. NTU-60 with the
paper's recipe: one stage 1 and 30 short tunings, which cost the same whatever the queue.
"""

from dataclasses import replace

from cluster.run import main
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, queue_size: int, seed: int) -> KNN:
    """KNN after tuning with a queue of so many samples."""
    return recipe.knn(replace(recipe.tune(seed), strategy=replace(recipe.nnclr(), queue_size=queue_size)))


SWEEP = Sweep(
    name="queue_size",
    title="Size of NNCLR's queue",
    paper="Figure 3(b)",
    point=point,
    axes={"queue_size": (1024, 2048, 4096, 8192, 16384, 32768), "seed": range(5)},
    by_recipe={"queue_size": lambda recipe: [max(1, recipe.nnclr().queue_size * 2**n // 8) for n in range(6)]},
    allowed={"queue_size": ("1 or more", lambda size: size >= 1)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
