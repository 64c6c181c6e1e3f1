"""Small values that tests share."""

from dataclasses import replace

from stars.data.dataset import Data
from stars.probes.knn import KNN
from stars.recipes import Recipe, small

DATA = Data(name="example", content="0" * 64, joints=25, label_rule="action", protocol="XSub")


def plain(data: Data) -> Recipe:
    """The small recipe, every batch through all blocks: a point is then stage 1, tuning, features, probe."""
    recipe = small(data)
    return replace(recipe, stage2=replace(recipe.stage2, share_frozen_half=False))


def a_point(*, layer_decay: float = 0.2, seed: int = 0, k: tuple[int, ...] = (1, 10)) -> KNN:
    """One point of the decay sweep."""
    recipe = plain(DATA)
    return replace(recipe.knn(replace(recipe.tune(seed), layer_decay=layer_decay)), k=k)
