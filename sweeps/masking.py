"""Section 3.2: what stage 1 hides: how much, and at which temperature of motion; 0 hides at random, whatever moves.

    python sweeps/masking.py                                             this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/masking.py           a cluster

Embedded data: about a quarter of an hour on two cores. NTU-60 with the paper's recipe: 12 stages 1 and 60 short
tunings; the seeds reseed stage 2 alone, unless `--reseed-pretraining` says otherwise.
"""

from dataclasses import replace

from cluster.run import main
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, mask_ratio: float, mask_temperature: float, seed: int) -> KNN:
    """KNN after both stages, the first with this mask."""
    masking = replace(recipe.stage1.masking, ratio=mask_ratio, temperature=mask_temperature)
    return recipe.knn(recipe.with_stage1(masking=masking).tune(seed))


SWEEP = Sweep(
    name="masking",
    title="Masking in stage 1",
    paper="section 3.2",
    point=point,
    axes={"mask_ratio": (0.7, 0.8, 0.9), "mask_temperature": (0.0, 0.4, 0.8, 1.6), "seed": range(5)},
    by_recipe={"mask_temperature": lambda recipe: [recipe.stage1.masking.temperature * x for x in (0, 0.5, 1, 2)]},
    allowed={
        "mask_ratio": ("in (0, 1)", lambda ratio: 0 < ratio < 1),
        "mask_temperature": ("0 (at random) or more", lambda temperature: temperature >= 0),
    },
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
