"""`--start`: a sweep that begins with an encoder from elsewhere, as it is typed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from cluster.options import parse
from cluster.run import bind, main
from stars.checkpoints.layouts import read_weights
from stars.execute import realise
from stars.imported import find, imported, keep
from stars.pretrain import Pretrain
from stars.probes.knn import KNN
from stars.recipes import Recipe
from stars.stage import Stage, fingerprint, upstream
from stars.store import Store
from stars.sweep import Sweep
from stars.tune import Tune
from tests.checkpoints.files import SHAPE, mamp_file
from tests.training import Tiny

Capture = pytest.CaptureFixture[str]


def point(recipe: Recipe, *, seed: int) -> KNN:
    """KNN after tuning, in batches of what the tests' data set holds."""
    tuned = recipe.tune(seed)
    return recipe.knn(replace(tuned, batch_size=8, epochs=1))


SWEEP = Sweep(
    name="start",
    title="From a start",
    paper="none",
    point=point,
    axes={"seed": range(2)},
    references={
        "start": lambda recipe, seed: recipe.knn(recipe.pretrain(seed)),
        "untrained encoder": lambda recipe, seed: recipe.knn(recipe.untrained(seed)),
    },
)


@pytest.fixture(name="store")
def with_an_encoder(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    weights = read_weights(mamp_file(tmp_path / "mine.pth"))
    keep(store, imported("mine", weights), weights, tmp_path / "mine.pth")
    return store


def test_stage_1_is_not_planned(tiny: Tiny, store: Store, tmp_path: Path) -> None:
    stage = imported("mine", read_weights(tmp_path / "mine.pth"))
    for text in ("mine", fingerprint(stage)[:10]):
        options = parse(SWEEP, ["--start", text, "--data", str(tiny.packed), "--store", str(store.location)])
        run = bind(SWEEP, options, Console())
        steps = upstream(*(planned.stage for planned in run.points))
        assert {step.start for step in steps if isinstance(step, Tune)} == {stage}
        untrained = [step for step in steps if isinstance(step, Pretrain)]
        assert [(step.epochs, step.encoder) for step in untrained] == [(0, SHAPE)] * 2, "only what tables compare with"


def test_tuning_goes_on_from_it(tiny: Tiny, store: Store) -> None:
    options = parse(SWEEP, ["--start", "mine", "--seeds", "1", "--data", str(tiny.packed)])
    run = bind(SWEEP, replace(options, store=store.location), Console())
    grid, start, _ = (planned.stage for planned in run.points)
    for stage in (grid, start):
        assert realise(stage, tiny.workplace(store.location)).status == "finished"
    before, after = (load_file(store.output(s) / "encoder.safetensors") for s in (find(store, "mine"), tuned_by(grid)))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(("blocks.1.", "norm.")) for name in moved), "the upper half of two blocks"


def tuned_by(probe: Stage) -> Tune:
    return next(step for step in upstream(probe) if isinstance(step, Tune))


def test_the_plan_shows_no_pretraining(tiny: Tiny, store: Store, capsys: Capture) -> None:
    place = ["--plan", "--data", str(tiny.packed), "--store", str(store.location)]
    main(SWEEP, [*place, "--start", "mine"])
    printed = capsys.readouterr().out
    assert "2 points, and 4 reference points" in printed
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if "│" in line]
    to_run = {name: int(left) for name, _, _, left, *_ in rows}
    assert to_run == {"imported": 0, "frozenhalf": 1, "tune": 2, "features": 5, "knn": 5, "pretrain, no epoch": 2}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--start", "yours"], "'yours' is no encoder in"),
        (["--start", "mine", "--reseed-pretraining"], "--reseed-pretraining with --start"),
    ],
)
def test_what_does_not_go_is_refused(
    arguments: list[str], words: str, tiny: Tiny, store: Store, capsys: Capture
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(SWEEP, [*arguments, "--data", str(tiny.packed), "--store", str(store.location)])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
