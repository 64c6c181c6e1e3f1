"""The recipes: their page, what they know of data sets, three stages."""

from pathlib import Path

import pytest

from stars.data.dataset import Data
from stars.differences import DATA_SETS, REASONS, differences, page
from stars.recipes import RECIPES, Recipe, paper, published
from stars.stage import upstream
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
