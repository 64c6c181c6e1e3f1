"""Table 2: k nearest neighbours, k = 1, of two- and three-stage STARS; MAMP is "stage 1 only".

    python sweeps/knn.py                                                 this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/knn.py               a cluster

Embedded data: about three minutes on two cores. NTU-60 with the paper's recipe: one stage 1, 5 short tunings and 5 of
three stages.
"""

from cluster.run import main
from stars.methods import BESIDE_KNN, METHODS
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, method: str, seed: int) -> KNN:
    """KNN of a method's encoder."""
    return recipe.knn(METHODS[method](recipe, seed))


SWEEP = Sweep(
    name="knn",
    title="K nearest neighbours",
    paper="Table 2",
    point=point,
    axes={"method": tuple(METHODS), "seed": range(5)},
    neighbours=1,
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
