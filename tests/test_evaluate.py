"""`python -m stars evaluate`: what applies is measured once and stands in one table, what does not says why."""

from dataclasses import replace
from pathlib import Path

import pytest

from stars.__main__ import application
from stars.evaluations import PROTOCOLS, from_scratch, semi_supervised
from stars.execute import realise
from stars.model.encoder import EncoderShape
from stars.probes.linear import Linear
from stars.recipes import Recipe, begun_with, small
from stars.stage import Stage, decode, encode, fingerprint, upstream
from stars.store import Store
from tests.examples import DATA, plain
from tests.training import Tiny


@pytest.fixture
def untrained(tiny: Tiny, tmp_path: Path) -> tuple[Store, Stage]:
    """A store with an untrained encoder for the tiny data."""
    workplace = tiny.workplace(tmp_path / "store")
    stage = small(tiny.data).untrained(0)
    realise(stage, workplace)
    return workplace.store, stage


def run(words: list[str], tiny: Tiny, store: Store) -> None:
    application().cli(args=["evaluate", *words, "--data", str(tiny.packed), "--store", str(store.location)])


def test_one_table_of_what_applies(
    tiny: Tiny, untrained: tuple[Store, Stage], capsys: pytest.CaptureFixture[str]
) -> None:
    store, stage = untrained
    words = [fingerprint(stage)[:12], "--protocols", "knn,few-shot,semi-1,few-shot-published"]
    run(words, tiny, store)
    printed = capsys.readouterr().out
    assert "recipe small" in printed
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]
    assert [row[4] for row in rows if row[1] == "knn"] == ["1", "2", "5", "10"]
    assert [row[4] for row in rows if row[1] == "fewshot"] == ["1", "2", "5"]
    assert all("±" in row[6] for row in rows if row[1] == "fewshot")
    for name, why in (("semi-1", "fraction is 0.01 of 24"), ("few-shot-published", "NovelKNN.data.actions is ()")):
        (absent,) = [row for row in rows if row[0] == name]
        assert "does not apply" in absent[3]
        assert why in absent[3]
    finished = {path: path.stat().st_mtime_ns for path in store.location.glob("*/*/outcome*.json")}
    run(words, tiny, store)
    assert capsys.readouterr().out == printed
    assert {path: path.stat().st_mtime_ns for path in store.location.glob("*/*/outcome*.json")} == finished


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nobody"], "'nobody' is no encoder"),
        (["{encoder}", "--protocols", "knn,sixth"], "--protocols has 'sixth'; allowed: all, or some of knn, linear"),
        (["{encoder}", "--actions", "x"], "--actions has 'x'; allowed: numbers"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], message: str, tiny: Tiny, untrained: tuple[Store, Stage]) -> None:
    store, stage = untrained
    with pytest.raises(ValueError, match=message):
        run([word.format(encoder=fingerprint(stage)[:12]) for word in words], tiny, store)


def probes(recipe: Recipe) -> dict[str, Stage]:
    return {name: make(recipe, recipe.tune(0)) for name, make in PROTOCOLS.items() if name != "few-shot-published"}


def test_every_protocol_is_a_value_of_its_own_on_one_encoder() -> None:
    made = probes(plain(DATA))
    assert len({fingerprint(probe) for probe in made.values()}) == len(made)
    for probe in made.values():
        assert decode(encode(probe)) == probe
        assert plain(DATA).tune(0) in upstream(probe)


def test_pre_training_is_left_out_and_draws_differ() -> None:
    recipe = small(DATA)
    alone = from_scratch(recipe, seed=2)
    assert (alone.layer_decay, alone.start) == (1.0, recipe.untrained(2))
    one, two = (semi_supervised(recipe, recipe.tune(0), 0.1, seed) for seed in range(2))
    assert (one.subset_seed, two.subset_seed) == (0, 1)


def test_an_encoder_of_other_sizes_brings_its_own() -> None:
    start = small(DATA).untrained(0)
    shape = EncoderShape(frames=48, joints=25, patch=4, width=32, depth=2, heads=2)
    other = replace(start, encoder=shape, view=replace(start.view, frames=48))
    linear = PROTOCOLS["linear"](begun_with(small(DATA), other), other)
    assert isinstance(linear, Linear)
    assert linear.view.frames == 48
