"""Table 11: DINO tuning with two global views, without and with two local ones.

    python sweeps/local_views.py                                         this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/local_views.py       a cluster

As in the paper the views are flipped and rotated, and local views halve the batch. Embedded data: about four minutes on
two cores. NTU-60 with the paper's recipe: one stage 1 and 10 tunings, of which half take twice as long.
"""

from dataclasses import replace

from cluster.run import main
from stars.augmentations.flip import SpatialFlip
from stars.augmentations.rotation import Rotation
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def point(recipe: Recipe, *, views: str, seed: int) -> KNN:
    """KNN, also of 20 and 40 neighbours, after tuning by DINO."""
    tuned = recipe.tune(seed)
    view = replace(tuned.view, augmentations=(SpatialFlip(), Rotation()))
    tuned = replace(tuned, strategy=recipe.dino, view=view)
    if views == "with local views":
        tuned = replace(tuned, strategy=replace(recipe.dino, num_locals=2), batch_size=tuned.batch_size // 2)
    return replace(recipe.knn(tuned), k=(10, 20, 40))


SWEEP = Sweep(
    name="local_views",
    title="Local views in DINO tuning",
    paper="Table 11",
    point=point,
    axes={"views": ("without local views", "with local views"), "seed": range(5)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
