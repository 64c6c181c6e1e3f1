"""Every sweep run on a data set that takes no time: seed 0, every word of an axis and one of its numbers."""

from dataclasses import replace

import pytest

from analysis.load import load
from analysis.table import summary
from stars.execute import Workplace, realise
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.store import Store
from stars.strategies.dino import DINO
from stars.strategies.moco import MoCo
from stars.sweep import Sweep, plan_table, points, write_plan
from sweeps import local_views
from tests.sweeps.test_sweeps import GRIDS, declared
from tests.training import Tiny

SWEEPS = [declared(path) for path in GRIDS]


def short(recipe: Recipe) -> Recipe:
    """Every other training as short as can be, too."""
    stage1 = replace(recipe.stage1, epochs=2)
    return replace(
        recipe,
        stage1=stage1,
        stage2=replace(recipe.stage2, start=stage1, epochs=2),
        moco=MoCo(queue_size=16, hidden=8),
        dino=DINO(outputs=8, local_frames=8),
        head_epochs=1,
        third_epochs=1,
        linear_epochs=1,
        linear_batch_size=8,
        finetune_epochs=1,
        finetune_warmup_epochs=0,
        finetune_batch_size=8,
        finetune_hidden=8,
        label_fractions=(0.5, 0.75),
    )


def recipe_of(sweep: Sweep, tiny: Tiny) -> Recipe:
    """With a target where the sweep has one: the same recordings, which their labels tell apart."""
    recipe = short(tiny.recipe)
    if sweep.target == "none":
        return recipe
    if sweep.target == "data set":
        return replace(recipe, target=recipe)
    known, novel = replace(tiny.data, actions=(1, 2)), replace(tiny.data, actions=(3, 4))
    stage1 = replace(recipe.stage1, data=known)
    known_recipe = replace(recipe, data=known, stage1=stage1, stage2=replace(recipe.stage2, data=known, start=stage1))
    return replace(known_recipe, target=replace(recipe, data=novel))


def narrow(sweep: Sweep, recipe: Recipe) -> Sweep:
    """All words, of numbers the last, and the first seed."""
    fitted = sweep.fitted(recipe)
    some = {name: list(values) if isinstance(values[0], str) else [values[-1]] for name, values in fitted.axes.items()}
    return fitted.widened({**some, "seed": [0]})


@pytest.fixture(scope="module")
def place(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """One store for all: what several sweeps share is computed once here, too."""
    return Workplace(store=Store(tmp_path_factory.mktemp("runs")), datasets={tiny.data.content: tiny.packed})


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_every_point_leaves_the_one_number_that_its_table_shows(sweep: Sweep, tiny: Tiny, place: Workplace) -> None:
    recipe, neighbours = recipe_of(sweep, tiny), sweep.neighbours
    if sweep.name == "local_views":
        # There are fewer samples than the paper's neighbours.
        sweep = replace(sweep, point=lambda recipe, **axes: replace(local_views.point(recipe, **axes), k=(1, 3)))
    sweep = narrow(sweep, recipe)
    planned = points(sweep, recipe)
    for point in planned:
        outcome = realise(point.stage, place)
        assert outcome.status == "finished", outcome.reason
        neighbours = recipe.k[-1] if isinstance(point.stage, KNN) and sweep.name != "few_shot" else neighbours
    write_plan(place.store, plan_table(sweep, recipe, planned))
    table = summary(load(place.store, sweep.name), sweep=sweep.name, metric=sweep.metric, k=neighbours)
    assert len(table) == len({(point.reference, *point.axes.values()) for point in planned})
    assert (table["count"] == 1).all()
    assert table["mean"].between(0, 1).all()
