"""Section 4.2: text and released code (`docs/RECIPES.md`): each difference alone, and all together.

    python sweeps/recipe.py                                              this machine, embedded synthetic data
    ray job submit --working-dir . -- python sweeps/recipe.py            a cluster

Towards the released code; with `--recipe published`, towards the text. Embedded data: about eight minutes on two cores.
NTU-60 with the paper's recipe: nine stages 1 and 85 short tunings.
"""

from collections.abc import Sequence

from cluster.run import main
from stars.differences import between, changed
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.sweep import Sweep


def changes(recipe: Recipe) -> Sequence[str]:
    """No change, every field alone, and all of them."""
    return ("none", *between(recipe), "all")


def point(recipe: Recipe, *, change: str, seed: int) -> KNN:
    """KNN of the recipe with one field, or all, as the other recipe has them."""
    if change not in changes(recipe):
        raise ValueError(f"change is {change!r}; allowed: {', '.join(changes(recipe))}")
    taken = {name: content for name, content in between(recipe).items() if change in (name, "all")}
    chosen = changed(recipe, taken)
    return chosen.knn(chosen.tune(seed))


SWEEP = Sweep(
    name="recipe",
    title="Paper against published code",
    paper="section 4.2",
    point=point,
    axes={"change": ("none", "all"), "seed": range(5)},
    by_recipe={"change": changes},
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
