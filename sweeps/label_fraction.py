"""Section 4.3: how many labels a pretrained encoder saves: fine-tuning on parts of them, up to all.

    python sweeps/label_fraction.py                                      this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/label_fraction.py    a cluster

From the recipe's smallest semi-supervised part upwards. Embedded data: about twenty minutes on two cores. NTU-60 with
the paper's recipe: one stage 1, 5 short tunings, and 75 fine-tunings.
"""

from cluster.run import main
from stars.evaluations import from_scratch, semi_supervised
from stars.probes.chance import Chance
from stars.probes.finetune import FineTune
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, label_fraction: float, seed: int) -> FineTune:
    """Two-stage STARS, trained on a part of the labels."""
    return semi_supervised(recipe, recipe.tune(seed), label_fraction, seed)


def stage1_only(recipe: Recipe, label_fraction: float, seed: int) -> FineTune:
    """MAMP."""
    return semi_supervised(recipe, recipe.pretrain(seed), label_fraction, seed)


SWEEP = Sweep(
    name="label_fraction",
    title="Labels for fine-tuning",
    paper="section 4.3",
    point=point,
    axes={"label_fraction": (0.01, 0.1, 0.25, 0.5, 1.0), "seed": range(5)},
    by_recipe={"label_fraction": lambda recipe: (*recipe.label_fractions, 0.25, 0.5, 1.0)},
    allowed={"label_fraction": ("in (0, 1]", lambda part: 0 < part <= 1)},
    references={
        "stage 1 only": stage1_only,
        "W/o pre-training": lambda recipe, label_fraction, seed: from_scratch(recipe, seed, label_fraction),
        "chance": lambda recipe: Chance(data=recipe.data),
    },
)

if __name__ == "__main__":
    main(SWEEP)
