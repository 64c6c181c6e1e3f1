"""Table 1: the linear probe of two- and three-stage STARS; MAMP is "stage 1 only".

    python sweeps/linear.py                                              this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/linear.py            a cluster

Embedded data: about eight minutes on two cores. NTU-60 with the paper's recipe: one stage 1, 5 tunings of either kind,
and 20 linear probes, whose 100 passes over the data each cost as much as the tunings.
"""

from cluster.run import main
from stars.evaluations import linear
from stars.methods import METHODS, beside
from stars.probes.linear import Linear
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, method: str, seed: int) -> Linear:
    """The linear probe of a method's encoder."""
    return linear(recipe, METHODS[method](recipe, seed), seed)


SWEEP = Sweep(
    name="linear",
    title="Linear probe",
    paper="Table 1",
    point=point,
    axes={"method": tuple(METHODS), "seed": range(5)},
    references=beside(linear),
)

if __name__ == "__main__":
    main(SWEEP)
