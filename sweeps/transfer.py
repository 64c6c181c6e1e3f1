"""Table 4: pretrained and tuned on one data set, fine-tuned on another (`--target`).

    python sweeps/transfer.py                                            this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/transfer.py          a cluster

Embedded data: about a quarter of an hour on two cores, of which the other people's recordings take half a minute.
NTU-60 to PKU-MMD II with the paper's recipe (`--data ntu60 --target pku2`): one stage 1, 10 tunings, and 20
fine-tunings of 5,000 sequences.
"""

from cluster.run import main
from stars.evaluations import finetune, from_scratch
from stars.methods import METHODS
from stars.probes.chance import Chance
from stars.probes.finetune import FineTune
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, source: str, method: str, seed: int) -> FineTune:
    """An encoder of the source, trained on the target's labels."""
    if source != recipe.data.name:
        raise ValueError(f"source is {source!r}; allowed: {recipe.data.name!r}, the name of --data")
    return finetune(recipe.targeted(), METHODS[method](recipe, seed), seed)


SWEEP = Sweep(
    name="transfer",
    title="Transfer to another data set",
    paper="Table 4",
    point=point,
    axes={"source": ("ntu60",), "method": tuple(METHODS), "seed": range(5)},
    by_recipe={"source": lambda recipe: (recipe.data.name,)},
    target="data set",
    references={
        "stage 1 only": lambda recipe, source, seed: finetune(recipe.targeted(), recipe.pretrain(seed), seed),  # noqa: ARG005
        "W/o pre-training": lambda recipe, source, seed: from_scratch(recipe.targeted(), seed),  # noqa: ARG005
        "chance": lambda recipe: Chance(data=recipe.targeted().data),
    },
)

if __name__ == "__main__":
    main(SWEEP)
