"""A search for the settings of stage 2: those that section 4.2 fixes, for another recipe or other data.

    python sweeps/search.py --search optuna --trials 40           this machine, embedded synthetic data

The recipe's own settings are tried first. Suggestions are judged on subjects held out of the training part; only the
winner is measured on the test part. Has no grid: it can only be searched.
"""

from collections.abc import Sequence
from dataclasses import replace

from cluster.run import main
from stars.methods import BESIDE_KNN
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.space import AxisValue, Choice, Integer, Real
from stars.sweep import Sweep


def point(
    recipe: Recipe,
    *,
    learning_rate: float,
    layer_decay: float,
    temperature: float,
    queue_doublings: int,
    neighbours: int,
    crop: str,
    smallest_crop: float = 1.0,
    seed: int,
) -> KNN:
    """KNN after tuning with these settings; the queue is as long as the recipe's, doubled or halved so often."""
    base, strategy = recipe.tune(seed), recipe.nnclr()
    queue_size = round(strategy.queue_size * 2.0**queue_doublings)
    strategy = replace(strategy, temperature=temperature, queue_size=queue_size, neighbours=neighbours)
    view = replace(base.view, crop=(smallest_crop, 1.0) if crop == "random" else (1.0,))
    return recipe.knn(replace(base, strategy=strategy, view=view, learning_rate=learning_rate, layer_decay=layer_decay))


def first(recipe: Recipe) -> Sequence[dict[str, AxisValue]]:
    """The recipe as it is."""
    strategy, crop = recipe.nnclr(), recipe.stage2.view.crop
    settings: dict[str, AxisValue] = {
        "learning_rate": recipe.stage2.learning_rate,
        "layer_decay": recipe.stage2.layer_decay,
        "temperature": strategy.temperature,
        "queue_doublings": 0,
        "neighbours": strategy.neighbours,
        "crop": "random" if len(crop) == 2 else "whole",
    }
    return [{**settings, "smallest_crop": crop[0]} if len(crop) == 2 else settings]


SWEEP = Sweep(
    name="search",
    title="Settings of stage 2",
    paper="section 4.2",
    point=point,
    axes={"seed": range(3)},
    ranges={
        "learning_rate": Real(low=1e-4, high=3e-2, log=True),
        "layer_decay": Real(low=0.05, high=1.0),
        "temperature": Real(low=0.03, high=1.0, log=True),
        "queue_doublings": Integer(low=-3, high=2),
        "neighbours": Integer(low=1, high=16, log=True),
        "crop": Choice(values=("whole", "random")),
        "smallest_crop": Real(low=0.2, high=0.9, when=(("crop", ("random",)),)),
    },
    first=first,
    references=BESIDE_KNN,
)

if __name__ == "__main__":
    main(SWEEP)
