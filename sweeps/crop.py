"""Section 4.2: the smallest part of a sequence that stage 2 sees; 1 is always the whole, as in the released code.

    python sweeps/crop.py                                                this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/crop.py              a cluster

Embedded data: about five minutes on two cores. NTU-60 with the paper's recipe: one stage 1 and 20 short tunings.
"""

from dataclasses import replace

from cluster.run import main
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, smallest_crop: float, seed: int) -> KNN:
    """KNN after tuning on random parts, from this share to the whole."""
    tuned = recipe.tune(seed)
    crop = (smallest_crop, 1.0) if smallest_crop < 1 else (1.0,)
    return recipe.knn(replace(tuned, view=replace(tuned.view, crop=crop)))


SWEEP = Sweep(
    name="crop",
    title="Smallest part that stage 2 sees",
    paper="section 4.2",
    point=point,
    axes={"smallest_crop": (0.25, 0.5, 0.75, 1.0), "seed": range(5)},
    allowed={"smallest_crop": ("in (0, 1]", lambda part: 0 < part <= 1)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
