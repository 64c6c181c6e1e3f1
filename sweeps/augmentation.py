"""Table 7: augmentations in stage 2.

    python sweeps/augmentation.py                                        this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/augmentation.py      a cluster

Two views, cropped as the recipe says and augmented apart, as published. Embedded data: about six minutes on two cores.
NTU-60 with the paper's recipe: one stage 1 and 30 tunings, of which 25 take twice as long as the recipe's.
"""

from dataclasses import replace

from cluster.run import main
from stars.augmentations.axis_mask import AxisMask
from stars.augmentations.flip import SpatialFlip
from stars.augmentations.rotation import Rotation
from stars.augmentations.shear import Shear
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep

CHANGES = {"Spatial Flip": SpatialFlip(), "Rotation": Rotation(), "AxisMask": AxisMask(), "Shear": Shear()}


def point(recipe: Recipe, *, augmentation: str, seed: int) -> KNN:
    """KNN after tuning on augmented views."""
    tuned = recipe.tune(seed)
    if augmentation == "No Augmentation":
        return recipe.knn(tuned)
    view = replace(tuned.view, augmentations=tuple(CHANGES[name] for name in augmentation.split(" + ")))
    return recipe.knn(replace(tuned, view=view, strategy=replace(recipe.nnclr(), num_views=2)))


SWEEP = Sweep(
    name="augmentation",
    title="Augmentations in stage 2",
    paper="Table 7",
    point=point,
    axes={"augmentation": (*CHANGES, "Spatial Flip + Rotation", "No Augmentation"), "seed": range(5)},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
