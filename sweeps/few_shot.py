"""Table 5: actions that no stage was trained on, recognised by a few exemplars of each; the table shows one.

    python sweeps/few_shot.py                                            this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/few_shot.py          a cluster

Trained on half of the actions of `--data`, or on all where `--target` has others: `--data ntu60 --target ntu120`. The
published reading takes all training samples of the novel classes as exemplars. Embedded data: about three minutes on
two cores. NTU with the paper's recipe: one stage 1 and 10 short tunings.
"""

from cluster.run import main
from stars.evaluations import few_shot, novel_knn
from stars.methods import METHODS
from stars.probes.chance import Chance
from stars.probes.fewshot import FewShot
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, method: str, seed: int) -> FewShot:
    """One, two and five exemplars of each novel class; the seed draws them."""
    return few_shot(recipe.targeted(), METHODS[method](recipe, seed), seed)


SWEEP = Sweep(
    name="few_shot",
    title="One exemplar of each novel class",
    paper="Table 5",
    point=point,
    axes={"method": tuple(METHODS), "seed": range(5)},
    neighbours=1,
    target="novel actions",
    references={
        "stage 1 only": lambda recipe, seed: few_shot(recipe.targeted(), recipe.pretrain(seed), seed),
        "untrained encoder": lambda recipe, seed: few_shot(recipe.targeted(), recipe.untrained(seed), seed),
        "STARS, published reading": lambda recipe, seed: novel_knn(recipe.targeted(), recipe.tune(seed)),
        "chance": lambda recipe: Chance(data=recipe.targeted().data),
    },
)

if __name__ == "__main__":
    main(SWEEP)
