"""The recipes: their page, what they know of data sets, three stages."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stars.data.dataset import Data
from stars.differences import DATA_SETS, REASONS, between, changed, differences, page
from stars.recipes import RECIPES, Recipe, begun_with, paper, published, small
from stars.stage import fingerprint, upstream
from stars.tune import Tune
from tests.examples import DATA

ROOT = Path(__file__).resolve().parents[1]


def named(name: str) -> Data:
    return Data(name=name, content="0" * 64, joints=25, label_rule="action", protocol="XSub")


def test_the_page_is_what_the_recipes_say() -> None:
    assert (ROOT / "docs" / "RECIPES.md").read_text() == page(), "python -m stars recipes > docs/RECIPES.md"


def test_every_difference_has_a_reason_and_every_reason_a_difference() -> None:
    found = {field for name in DATA_SETS.values() for field in differences(name)}
    assert found == set(REASONS)


@pytest.mark.parametrize(
    ("name", "tuning", "pretraining"),
    [
        ("ntu60", (0.45, 1e-3), (3, 0.8, None)),
        ("NTU60_XView", (0.45, 1e-3), (3, 0.8, None)),
        ("ntu120", (0.4, 1e-3), (5, 0.75, None)),
        ("NTU120_XSet", (0.4, 1e-3), (5, 0.75, None)),
        ("pku1", (0.35, 1e-4), (5, 0.8, 300)),
        ("PKUv2_XSub", (0.35, 1e-4), (5, 0.8, 300)),
        ("NTU RGB+D 120", (0.4, 1e-3), (5, 0.75, None)),
        ("NTU-120", (0.4, 1e-3), (5, 0.75, None)),
        ("PKU-MMD II", (0.35, 1e-4), (5, 0.8, 300)),
        ("my recordings", (0.45, 1e-3), (3, 0.8, None)),
    ],
)
def test_published_settings_follow_the_data_set(
    name: str, tuning: tuple[float, float], pretraining: tuple[int, float, int | None]
) -> None:
    recipe = published(named(name))
    assert (recipe.stage2.layer_decay, recipe.stage2.learning_rate) == tuning
    stage1 = recipe.stage1
    assert (stage1.decoder.depth, stage1.masking.temperature, stage1.horizon) == pretraining
    assert paper(named(name)).stage1.masking.temperature == stage1.masking.temperature
    assert (paper(named(name)).stage2.layer_decay, paper(named(name)).stage2.learning_rate) == (0.2, 1e-3)


@pytest.mark.parametrize("recipe", [make(DATA) for make in RECIPES.values()], ids=RECIPES)
def test_three_stages_train_the_head_alone_before_both(recipe: Recipe) -> None:
    third = recipe.three_stage(3)
    head = third.start
    assert isinstance(head, Tune)
    assert [stage for stage in upstream(third) if isinstance(stage, Tune)] == [head, third]
    assert (head.tuned_blocks, third.tuned_blocks, third.continue_objective) == (0, None, True)
    assert (head.seed, third.seed) == (3, 3)
    assert head.start == recipe.stage1


@pytest.mark.parametrize("name", DATA_SETS.values())
@pytest.mark.parametrize(("make", "other"), [(paper, published), (published, paper)])
def test_all_differences_together_make_the_other_recipe(
    name: str, make: Callable[[Data], Recipe], other: Callable[[Data], Recipe]
) -> None:
    recipe, wanted = make(named(name)), other(named(name))
    together = changed(recipe, between(recipe))
    assert together.knn(together.tune(3)) == wanted.knn(wanted.tune(3))
    alone = [changed(recipe, {field: content}) for field, content in between(recipe).items()]
    assert len({fingerprint(one.knn(one.tune(3))) for one in (recipe, *alone, together)}) == len(alone) + 2


def test_a_small_recipe_keeps_its_sizes() -> None:
    """Also on data of which the released code goes on with epoch 300."""
    found = between(small(named("pku2")))
    assert not {"stage1.horizon", "stage1.decoder.depth", "stage2.epochs", "stage2.strategy.queue_size"} & found.keys()
    assert {"stage1.target.normalise", "stage2.layer_decay", "test_crop"} <= found.keys()


def test_what_is_not_there_is_not_varied() -> None:
    recipe = small(DATA)
    begun = begun_with(recipe, recipe.untrained(5))
    with pytest.raises(ValueError, match="--start with another masking of stage 1; allowed: without --start"):
        begun.with_stage1(masking=recipe.stage1.masking)
    with pytest.raises(ValueError, match="target of the recipe small is None; allowed: a recipe on other data"):
        recipe.targeted()
    with pytest.raises(ValueError, match="strategy is MoCo; allowed: NNCLR"):
        replace(recipe, stage2=replace(recipe.stage2, strategy=recipe.moco)).nnclr()


TOPICS = """
test_crop, stage2.view.crop, decoder.depth, masking.intensity, target.stride, Squared norm, 676 of 750, queue_size,
layer_decay, stage2.epochs, stage2.learning_rate, Weight decay of tuning, Two forward passes, symmetric,
exclude_own_sample, Negatives, clipping, power N - i, best KNN on the test split, weighted vote, Few-shot,
flipped and rotated, local views, koleo, Fine-tuning, Semi-supervised, published_world, second body, 81.9, decay_all,
least_frames, two stages, XSub, tuned_blocks, Embeddings, zero
"""


@pytest.mark.parametrize("topic", TOPICS.replace("\n", " ").strip().split(", "))
def test_the_page_speaks_of(topic: str) -> None:
    assert topic in page()
