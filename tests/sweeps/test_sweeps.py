"""Every sweep: what it declares, its plan, and the bad input it refuses."""

import importlib
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cluster.options import parse
from cluster.run import bind, main
from stars.data.dataset import split
from stars.data.ntu import NtuName
from stars.data.packed import Packed
from stars.data.packing import Packer
from stars.differences import between
from stars.recipes import RECIPES, Recipe
from stars.space import examples
from stars.stage import fingerprint, kind, upstream
from stars.sweep import Sweep, points
from stars.tune import Tune
from tests.examples import DATA
from tests.training import Tiny

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for path in (ROOT / "sweeps").glob("*.py") if not path.name.startswith("_"))


def declared(path: Path) -> Sweep:
    """The sweep that a file declares."""
    sweep: Sweep = importlib.import_module(f"sweeps.{path.stem}").SWEEP
    return sweep


def recipe_of(name: str) -> Recipe:
    """Base values with a target, for the sweeps that have one: novel actions of other data."""
    known, novel = replace(DATA, actions=(1, 2)), replace(DATA, name="other", content="1" * 64, actions=(3, 4))
    return replace(RECIPES[name](known), target=RECIPES[name](novel))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_sweep_is_a_short_declaration(path: Path) -> None:
    text, sweep = path.read_text(), declared(path)
    _, docstring, code = text.split('"""', 2)
    assert sweep.name == path.stem
    assert sweep.paper.lower() in docstring.lower(), "the docstring names the table or figure"
    assert f"python sweeps/{path.name}" in docstring, "and the command"
    assert sweep.searched or "Embedded data: " in docstring, "and the cost"
    assert sweep.searched or code.count("\n") <= 40
    assert "seed" in sweep.axes


GRIDS = [path for path in FILES if not declared(path).searched]
RANGED = [path for path in FILES if declared(path).ranges]
NUM_PRETRAININGS = {"masking": 12, "motion_target": 5, "stages": 2, "training_time": 3}
"""With the small recipe; other sweeps have one stage 1, and `recipe` one more for each of its changes and for all."""


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_a_sweep_shares_what_it_does_not_vary(path: Path) -> None:
    planned = points(declared(path), recipe_of("small"))
    kinds = [kind(stage) for stage in upstream(*(point.stage for point in planned)) if stage.trains()]
    num_changes = sum(name.startswith("stage1.") for name in between(recipe_of("small")))
    expected = {**NUM_PRETRAININGS, "recipe": num_changes + 2}
    assert kinds.count("pretrain") == expected.get(path.stem, 1)


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", RECIPES)
def test_every_point_of_the_grid_is_an_experiment_of_its_own(path: Path, name: str) -> None:
    grid = [point for point in points(declared(path), recipe_of(name)) if not point.reference]
    assert len({fingerprint(point.stage) for point in grid}) == len(grid)
    conditions = {tuple(content for axis, content in point.axes.items() if axis != "seed") for point in grid}
    assert len(conditions) > 1


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_the_recipe_itself_is_on_the_grid(path: Path) -> None:
    """So grids meet in what they share."""
    recipe = recipe_of("small")
    stages = {stage for point in points(declared(path), recipe) for stage in upstream(point.stage)}
    own = replace(recipe.tune(0), strategy=recipe.dino) if path.stem == "local_views" else recipe.tune(0)
    assert any(replace(stage, view=own.view) == own for stage in stages if isinstance(stage, Tune))


@pytest.mark.parametrize("path", RANGED, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", RECIPES)
def test_a_search_begins_with_the_recipe_itself(path: Path, name: str) -> None:
    sweep, recipe = declared(path), RECIPES[name](DATA)
    first = sweep.first_points(recipe)
    assert len(first) == 1
    assert sweep.point(recipe, seed=0, **first[0]) == recipe.knn(recipe.tune(0))


@pytest.mark.parametrize("path", RANGED, ids=lambda path: path.stem)
@pytest.mark.parametrize("name", RECIPES)
def test_every_end_of_every_range_is_an_experiment_of_its_own(path: Path, name: str) -> None:
    sweep, recipe = declared(path), RECIPES[name](DATA)
    space = sweep.space()
    base = {**sweep.first_points(recipe)[0]}
    # Where every axis exists, so that each can be moved alone.
    for allowed in space.ranges.values():
        base |= {other: values[0] for other, values in allowed.when}
    base = {axis: base.get(axis, examples(allowed)[0]) for axis, allowed in space.ranges.items()}
    for axis, allowed in space.ranges.items():
        moved = [{**base, axis: value} for value in examples(allowed)]
        kept = [{a: v for a, v in point.items() if space.exists(a, point)} for point in moved]
        assert len({sweep.point(recipe, seed=0, **space.checked(point)) for point in kept}) == len(kept)


@pytest.mark.parametrize("name", ["lr_decay", "transfer"])
def test_a_sweep_runs_by_path(name: str, tiny: Tiny, tmp_path: Path) -> None:
    """By path, because then `sweeps/` stands first on Python's path."""
    options = ["--plan", "--data", str(tiny.packed), "--store", str(tmp_path)]
    options += ["--target", str(tiny.packed)] if name == "transfer" else []
    program = [sys.executable, f"sweeps/{name}.py", *options]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 2, "the small recipe's batch is larger than this data set"
    assert "allowed: at least one batch" in done.stderr
    assert "Traceback" not in done.stderr


BAD = {
    "unknown option": (["--bogus"], "bogus"),
    "unknown data": (["--data", "/nowhere"], "--data is /nowhere; allowed: synthetic, or a folder"),
    "decay above 1": (["--set", "layer_decay=1.5"], "layer_decay is 1.5; allowed: in (0, 1]"),
    "decay 0": (["--set", "layer_decay=0"], "layer_decay is 0.0; allowed: in (0, 1]"),
    "no number": (["--set", "layer_decay=x"], "--set layer_decay has 'x'; allowed: values like [0.2, 1.0]"),
    "unknown axis": (["--set", "depth=1"], "axis 'depth' is unknown; tiny has layer_decay, seed"),
    "no value": (["--set", "layer_decay="], "allowed: AXIS=VALUE,VALUE"),
    "a value twice": (["--set", "layer_decay=0.2,0.2"], "allowed: one or more different values"),
    "an axis twice": (["--set", "seed=1", "--set", "seed=2"], "gives seed twice"),
    "no seed": (["--seeds", "0"], "--seeds is 0; allowed: 1 or more"),
    "no worker": (["--workers", "0"], "--workers is 0; allowed: 1 or more"),
    "workers that do not divide": (["--workers", "3"], "--workers is 3; allowed: a divisor of the batch of 8"),
    "workers in one process": (["--workers", "2", "--trainer", "tune"], "allowed: 1, or another trainer"),
    "store that cannot be": (["--store", "/proc/nope"], "cannot be written"),
    "protocol without test": (["--protocol", "XView"], "gives no training sample"),
    "subjects without any": (["--protocol", "subjects"], "allowed: --protocol subjects --test-subjects N,N-N,…"),
    "subjects for nothing": (["--test-subjects", "1"], "--protocol is XSub with --test-subjects 1; allowed"),
    "no subjects": (
        ["--protocol", "subjects", "--test-subjects", "3-1"],
        "--test-subjects has '3-1'; allowed",
    ),
    "nobody's subject": (["--protocol", "subjects", "--test-subjects", "77"], "test_subjects names 77; allowed"),
    "a list that is not there": (["--protocol", "list", "--train-list", "/nowhere/list"], "/nowhere/list"),
    "a list without names": (["--protocol", "list", "--train-list", "/dev/null"], "/dev/null: names no sample"),
    "a target for nothing": (["--target", "/nowhere"], "--target is /nowhere with tiny; allowed: with a sweep that"),
    "nobody's action": (["--actions", "119"], "actions names 119; allowed: actions that are there"),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_before_anything_runs(
    arguments: list[str], words: str, tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.cluster.tiny_sweep import SWEEP

    data = [] if "--data" in arguments else ["--data", str(tiny.packed)]
    store = [] if "--store" in arguments else ["--store", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(SWEEP, [*arguments, *data, *store])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err
    assert not list(tmp_path.glob("*/*/attempts"))


def test_any_protocol_is_chosen_on_the_command_line(tiny: Tiny, tmp_path: Path) -> None:
    from tests.cluster.tiny_sweep import SWEEP

    packed = Packed.open(tiny.packed)
    first = min(packed.column("action").tolist())
    last = max(packed.column("subject").tolist())
    own_list = tmp_path / "train.txt"
    names = [n for n, s in zip(packed.names, packed.column("subject"), strict=True) if s != last]
    own_list.write_text("\r\n".join(names) + "\r\n", encoding="utf-8-sig")
    place = ["--data", str(tiny.packed), "--store", str(tmp_path / "store")]
    splits = []
    for chosen in (["subjects", "--test-subjects", f"{last}"], ["list", "--train-list", str(own_list)]):
        run = bind(SWEEP, parse(SWEEP, ["--protocol", *chosen, "--actions", f"{first}-{first + 1}", *place]), Console())
        splits.append(split(run.recipe.data, packed))
    for part in ("train", "measured"):  # by subject there, by name here
        assert sorted(getattr(splits[0], part).tolist()) == getattr(splits[1], part).tolist()
    assert set(packed.column("subject")[splits[0].measured].tolist()) == {last}
    assert splits[0].class_names == (f"A{first:03d}", f"A{first + 1:03d}")


def test_a_plan_says_what_is_shared_done_and_left(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from stars.execute import realise
    from tests.cluster.tiny_sweep import SWEEP

    arguments = ["--plan", "--data", str(tiny.packed), "--store", str(tmp_path)]
    main(SWEEP, arguments)
    printed = capsys.readouterr().out
    assert "4 points, and 3 reference points" in printed
    assert "unknown (a stage of this plan has never been measured)" in printed
    for point in points(SWEEP, tiny.recipe):
        realise(point.stage, tiny.workplace(tmp_path))
    main(SWEEP, arguments)
    assert "nothing to run" in capsys.readouterr().out
    main(SWEEP, [*arguments, "--set", "layer_decay=0.2,0.5"])
    printed = capsys.readouterr().out
    assert "estimated time on" in printed
    assert "unknown" not in printed


def test_a_list_that_the_data_bring_is_a_protocol(tmp_path: Path) -> None:
    from tests.cluster.tiny_sweep import SWEEP

    names = [f"{number:03}" for number in range(24)]
    with Packer(tmp_path / "own", name="own", source="tests") as packer:
        for number, name in enumerate(names):
            packer.append(name, NtuName(0, 0, 0, 0, 1 + number % 2), np.full((3, 1, 25, 3), 1.0 + number, np.float32))
        packer.finish(train={"list": names[:16]})
    place = ["--data", str(tmp_path / "own"), "--store", str(tmp_path / "store")]
    run = bind(SWEEP, parse(SWEEP, ["--protocol", "list", *place]), Console())
    given = split(run.recipe.data, Packed.open(tmp_path / "own"))
    assert [given.packed.names[row] for row in given.train] == names[:16]


def test_a_flipped_byte_is_found_before_anything_runs(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.cluster.tiny_sweep import SWEEP

    shutil.copytree(tiny.packed, tmp_path / "data")
    with (tmp_path / "data" / "joints.npy").open("r+b") as file:
        file.seek(-5, 2)
        byte = file.read(1)
        file.seek(-5, 2)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(SystemExit) as ended:
        main(SWEEP, ["--data", str(tmp_path / "data"), "--store", str(tmp_path / "store")])
    assert ended.value.code == 2
    assert "joints.npy: altered since it was written" in capsys.readouterr().err
