"""Table 3: fine-tuning of two- and three-stage STARS; MAMP is "stage 1 only".

    python sweeps/finetune.py                                            this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/finetune.py          a cluster

Embedded data: about a quarter of an hour on two cores. NTU-60 with the paper's recipe: one stage 1, 5 tunings of either
kind, and 20 fine-tunings of 100 epochs, each of which costs more than all tunings together.
"""

from cluster.run import main
from stars.evaluations import finetune, from_scratch
from stars.methods import METHODS
from stars.probes.chance import Chance
from stars.probes.finetune import FineTune
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, method: str, seed: int) -> FineTune:
    """A method's encoder, trained on all labels."""
    return finetune(recipe, METHODS[method](recipe, seed), seed)


SWEEP = Sweep(
    name="finetune",
    title="Fine-tuning",
    paper="Table 3",
    point=point,
    axes={"method": tuple(METHODS), "seed": range(5)},
    references={
        "stage 1 only": lambda recipe, seed: finetune(recipe, recipe.pretrain(seed), seed),
        "W/o pre-training": from_scratch,
        "chance": lambda recipe: Chance(data=recipe.data),
    },
)

if __name__ == "__main__":
    main(SWEEP)
