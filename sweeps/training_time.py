"""Figure 1: accuracy of the linear probe against training time, of stage 1 and of both stages, by epochs of stage 1.

    python sweeps/training_time.py                                       this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/training_time.py     a cluster

Every length is a training of its own, on a schedule of its own; the report draws the seconds behind each number.
Embedded data: about ten minutes on two cores. NTU-60 with the paper's recipe: three stages 1, of a quarter, a half and
all of the epochs.
"""

from cluster.run import main
from stars.evaluations import linear
from stars.methods import beside
from stars.probes.linear import Linear
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, pretraining_epochs: int, method: str, seed: int) -> Linear:
    """The linear probe after a stage 1 of this length, and after stage 2 on top of it."""
    warmup_epochs = min(recipe.stage1.warmup_epochs, pretraining_epochs)
    if pretraining_epochs != recipe.stage1.epochs:
        recipe = recipe.with_stage1(epochs=pretraining_epochs, warmup_epochs=warmup_epochs, horizon=None)
    return linear(recipe, recipe.pretrain(seed) if method == "MAMP" else recipe.tune(seed), seed)


SWEEP = Sweep(
    name="training_time",
    title="Accuracy against training time",
    paper="Figure 1",
    point=point,
    axes={"pretraining_epochs": (100, 200, 400), "method": ("MAMP", "STARS"), "seed": range(3)},
    by_recipe={"pretraining_epochs": lambda recipe: [max(1, recipe.stage1.epochs // part) for part in (4, 2, 1)]},
    allowed={"pretraining_epochs": ("1 or more", lambda epochs: epochs >= 1)},
    references=beside(linear),
)

if __name__ == "__main__":
    main(SWEEP)
