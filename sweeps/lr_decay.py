"""Figure 3(a): layer-wise learning-rate decay of the tuned half of the encoder.

    python sweeps/lr_decay.py                                            this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/lr_decay.py          a cluster

Embedded data: about five minutes on two cores. NTU-60 with the paper's recipe: one stage 1 and 35 short tunings.
"""

from dataclasses import replace

from cluster.run import main
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.space import Real
from stars.sweep import Sweep


def point(recipe: Recipe, *, layer_decay: float, seed: int) -> KNN:
    """KNN after tuning with one decay."""
    return recipe.knn(replace(recipe.tune(seed), layer_decay=layer_decay))


SWEEP = Sweep(
    name="lr_decay",
    title="Layer-wise learning-rate decay in stage 2",
    paper="Figure 3(a)",
    point=point,
    axes={"layer_decay": (0.1, 0.2, 0.3, 0.45, 0.65, 0.85, 1.0), "seed": range(5)},
    ranges={"layer_decay": Real(low=0.05, high=1.0)},
    first=lambda recipe: [{"layer_decay": recipe.stage2.layer_decay}],
    allowed={"layer_decay": ("in (0, 1]", lambda decay: 0 < decay <= 1)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
