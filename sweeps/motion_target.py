"""Section 3.2: what stage 1 predicts: coordinates, or motion over so many frames; the text 4, the released code 1.

    python sweeps/motion_target.py                                       this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/motion_target.py     a cluster

Embedded data: about seven minutes on two cores. NTU-60 with the paper's recipe: five stages 1 and 25 short tunings.
"""

import re
from dataclasses import replace

from cluster.run import main
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep

KNOWN = re.compile(r"coordinates|motion over [1-9][0-9]*")


def point(recipe: Recipe, *, predicted: str, seed: int) -> KNN:
    """KNN after both stages, the first with this target."""
    if predicted == "coordinates":
        # A stride is without effect on them: the least stands for all.
        target = replace(recipe.stage1.target, kind="coordinates", stride=1)
    else:
        target = replace(recipe.stage1.target, kind="motion", stride=int(predicted.removeprefix("motion over ")))
    return recipe.knn(recipe.with_stage1(target=target).tune(seed))


SWEEP = Sweep(
    name="motion_target",
    title="What stage 1 predicts",
    paper="section 3.2",
    point=point,
    axes={
        "predicted": ("coordinates", "motion over 1", "motion over 2", "motion over 4", "motion over 8"),
        "seed": range(5),
    },
    allowed={"predicted": ("coordinates, or motion over N frames", lambda said: KNOWN.fullmatch(said) is not None)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
