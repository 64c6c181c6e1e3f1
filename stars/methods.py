"""The paper's methods by their names in its tables, and the lines that stand beside them whatever is measured."""

from collections.abc import Callable, Mapping

from stars.encoders import EncoderStage
from stars.probes.chance import Chance
from stars.recipes import Recipe
from stars.stage import Stage

METHODS: Mapping[str, Callable[[Recipe, int], EncoderStage]] = {
    "STARS-3stage": lambda recipe, seed: recipe.three_stage(seed),
    "STARS": lambda recipe, seed: recipe.tune(seed),
}
"""From a recipe and a seed to the encoder. MAMP is the reference "stage 1 only"."""


def beside(probe: Callable[[Recipe, EncoderStage, int], Stage]) -> dict[str, Callable[..., Stage]]:
    """References of a sweep: stage 1 alone, the untrained encoder, and the most frequent class.

    Args:
        probe: what measures an encoder, with a seed of its own where it has one.
    """
    return {
        "stage 1 only": lambda recipe, seed: probe(recipe, recipe.pretrain(seed), seed),
        "untrained encoder": lambda recipe, seed: probe(recipe, recipe.untrained(seed), seed),
        "chance": lambda recipe: Chance(data=recipe.data),
    }


BESIDE_KNN = beside(lambda recipe, encoder, seed: recipe.knn(encoder))  # noqa: ARG005 - KNN has no seed
"""Those of a sweep that measures by K nearest neighbours."""
