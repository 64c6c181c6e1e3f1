"""Small values that tests share."""

from dataclasses import replace

from stars.data.dataset import Data
from stars.probes.knn import KNN
from stars.recipes import small

DATA = Data(name="example", content="0" * 64, joints=25, label_rule="action", protocol="XSub")


def a_point(*, layer_decay: float = 0.2, seed: int = 0, k: tuple[int, ...] = (1, 10)) -> KNN:
    """One point of the decay sweep."""
    recipe = small(DATA)
    return replace(recipe.knn(replace(recipe.tune(seed), layer_decay=layer_decay)), k=k)
