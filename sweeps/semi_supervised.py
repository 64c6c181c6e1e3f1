"""Table 9: fine-tuning on 1 % and on 10 % of the labels; the small recipe, which 1 % would leave four, on 5 %.

    python sweeps/semi_supervised.py                                     this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/semi_supervised.py   a cluster

Each seed draws its own labels. Embedded data: about five minutes on two cores. NTU-60 with the paper's recipe: one
stage 1, 10 tunings, and 40 fine-tunings on 400 and on 4,000 sequences.
"""

from cluster.run import main
from stars.evaluations import semi_supervised
from stars.methods import METHODS
from stars.probes.chance import Chance
from stars.probes.finetune import FineTune
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, label_fraction: float, method: str, seed: int) -> FineTune:
    """A method's encoder, trained on a part of the labels."""
    return semi_supervised(recipe, METHODS[method](recipe, seed), label_fraction, seed)


def stage1_only(recipe: Recipe, label_fraction: float, seed: int) -> FineTune:
    """MAMP."""
    return semi_supervised(recipe, recipe.pretrain(seed), label_fraction, seed)


SWEEP = Sweep(
    name="semi_supervised",
    title="Fine-tuning on a part of the labels",
    paper="Table 9",
    point=point,
    axes={"label_fraction": (0.01, 0.1), "method": tuple(METHODS), "seed": range(5)},
    by_recipe={"label_fraction": lambda recipe: recipe.label_fractions},
    allowed={"label_fraction": ("above 0 and below 1", lambda part: 0 < part < 1)},
    references={"stage 1 only": stage1_only, "chance": lambda recipe: Chance(data=recipe.data)},
)

if __name__ == "__main__":
    main(SWEEP)
