"""A probe cut short: another value, whose training is the beginning of the whole one's."""

from dataclasses import replace

import pytest

from stars.horizon import planned_epochs, shortened
from stars.probes.chance import Chance
from stars.recipes import small
from stars.stage import decode, encode, fingerprint, upstream
from tests.examples import DATA, a_point


def test_only_the_last_training_is_cut() -> None:
    point = a_point()
    assert planned_epochs(point) == 6
    short = shortened(point, 2)
    tuned, whole = short.features.encoder, point.features.encoder  # type: ignore[attr-defined]
    assert tuned == replace(whole, horizon=2)
    assert tuned.start == whole.start
    assert tuned.whole() == whole
    assert decode(encode(short)) == short
    assert len({fingerprint(point), fingerprint(short), fingerprint(shortened(point, 3))}) == 3


def test_all_of_its_epochs_are_the_probe_itself() -> None:
    point = a_point()
    assert shortened(point, 6) == point
    assert fingerprint(shortened(shortened(point, 2), 6)) == fingerprint(point)


def test_a_probe_of_stage_1_is_cut_there() -> None:
    recipe = small(DATA)
    short = shortened(recipe.knn(recipe.pretrain(0)), 7)
    assert [getattr(stage, "horizon", None) for stage in upstream(short)] == [7, None, None]


@pytest.mark.parametrize("epochs", [0, -1, 7])
def test_impossible_horizons_are_refused(epochs: int) -> None:
    with pytest.raises(ValueError, match=rf"Tune.horizon is {epochs}; allowed: 1 to 5, below the epochs, or None"):
        shortened(a_point(), epochs)


def test_a_probe_without_a_training_cannot_be_cut() -> None:
    with pytest.raises(ValueError, match="Chance reads no training"):
        planned_epochs(Chance(data=DATA))
