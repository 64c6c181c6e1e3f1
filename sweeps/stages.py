"""Section 4.4: what the stages are worth: both losses at once, NNCLR alone, plain MAE in place of motion.

    python sweeps/stages.py                                              this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/stages.py            a cluster

NNCLR alone tunes all blocks of an untrained encoder for as many epochs as stage 1 has; plain MAE hides joints at random
and predicts where they are. Embedded data: about a quarter of an hour on two cores. NTU-60 with the paper's recipe: two
stages 1, 5 trainings of both losses and 5 of NNCLR alone, which each cost as much as a stage 1, and 15 tunings.
"""

from dataclasses import replace

from cluster.run import main
from stars.joint import with_contrast
from stars.methods import BESIDE_KNN, METHODS
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, stages: str, seed: int) -> KNN:
    """KNN of the encoder that these stages lead to."""
    stage1 = recipe.stage1
    if stages == "both losses":
        return recipe.knn(replace(with_contrast(stage1, recipe.nnclr()), seed=seed))
    if stages == "NNCLR alone":
        alone = replace(recipe.tune(seed), start=recipe.untrained(seed), epochs=stage1.epochs)
        return recipe.knn(replace(alone, tuned_blocks=stage1.encoder.depth, layer_decay=1.0))
    if stages == "MAE and NNCLR":
        masking, target = replace(stage1.masking, temperature=0.0), replace(stage1.target, kind="coordinates", stride=1)
        return recipe.knn(recipe.with_stage1(masking=masking, target=target).tune(seed))
    return recipe.knn(METHODS[stages](recipe, seed))


SWEEP = Sweep(
    name="stages",
    title="Stages of training",
    paper="section 4.4",
    point=point,
    axes={"stages": (*METHODS, "both losses", "NNCLR alone", "MAE and NNCLR"), "seed": range(5)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
