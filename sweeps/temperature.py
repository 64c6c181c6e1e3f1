"""Section 4.2: temperature of stage 2's loss, which the paper sets to 0.07.

    python sweeps/temperature.py                                         this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/temperature.py       a cluster

Embedded data: about five minutes on two cores. NTU-60 with the paper's recipe: one stage 1 and 30 short tunings.
"""

from dataclasses import replace

from cluster.run import main
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.space import Real
from stars.sweep import Sweep


def point(recipe: Recipe, *, temperature: float, seed: int) -> KNN:
    """KNN after tuning at a temperature."""
    return recipe.knn(replace(recipe.tune(seed), strategy=replace(recipe.nnclr(), temperature=temperature)))


SWEEP = Sweep(
    name="temperature",
    title="Temperature of the contrast",
    paper="section 4.2",
    point=point,
    axes={"temperature": (0.03, 0.07, 0.15, 0.3, 0.6, 1.0), "seed": range(5)},
    ranges={"temperature": Real(low=0.03, high=1.0, log=True)},
    first=lambda recipe: [{"temperature": recipe.nnclr().temperature}],
    allowed={"temperature": ("above 0", lambda temperature: temperature > 0)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
