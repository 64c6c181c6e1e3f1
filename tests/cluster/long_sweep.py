"""The tiny sweep with tunings of some seconds. Also a program: `python -m tests.cluster.long_sweep --data …`."""

from dataclasses import replace

from cluster.run import main
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep
from tests.cluster.tiny_sweep import tiny

EPOCHS = 100


def point(recipe: Recipe, *, layer_decay: float, seed: int) -> KNN:
    """KNN after a long tuning with one decay."""
    return tiny(recipe).knn(replace(tiny(recipe).tune(seed), layer_decay=layer_decay, epochs=EPOCHS))


SWEEP = Sweep(
    name="long",
    title="Layer decay, long",
    paper="Figure 3(a)",
    point=point,
    axes={"layer_decay": (0.2, 1.0), "seed": range(4)},
    neighbours=3,
)

if __name__ == "__main__":
    main(SWEEP)
