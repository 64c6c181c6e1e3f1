"""Section 3.3: how many blocks stage 2 tunes, from the frozen encoder to the whole; the paper half.

    python sweeps/tuned_depth.py                                         this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/tuned_depth.py       a cluster

Embedded data: about five minutes on two cores. NTU-60 with the paper's recipe: one stage 1 and 45 short tunings, the
more costly the deeper.
"""

from dataclasses import replace

from cluster.run import main
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, tuned_blocks: int, seed: int) -> KNN:
    """KNN after tuning the head and so many blocks, from the last."""
    tuned, depth = recipe.tune(seed), recipe.stage1.encoder.depth
    # None is the half: the same experiment as in every other sweep.
    chosen = None if tuned_blocks == depth - depth // 2 else tuned_blocks
    return recipe.knn(replace(tuned, tuned_blocks=chosen))


SWEEP = Sweep(
    name="tuned_depth",
    title="Blocks that stage 2 tunes",
    paper="section 3.3",
    point=point,
    axes={"tuned_blocks": range(9), "seed": range(5)},
    by_recipe={"tuned_blocks": lambda recipe: range(recipe.stage1.encoder.depth + 1)},
    allowed={"tuned_blocks": ("0 or more", lambda blocks: blocks >= 0)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
