"""Every sweep bound to data and planned, each by itself and all together; where their targets come from."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cluster.options import parse
from cluster.run import bind, main
from cluster.several import main as main_of_all
from cluster.target import OTHER_PEOPLE, resolve
from stars.data.dataset import describe, split
from stars.data.packed import Packed
from stars.data.prepare import prepare
from stars.data.source import EMBEDDED
from stars.data.synthetic import Synthetic
from stars.execute import realise
from stars.pretrain import Pretrain
from stars.stage import upstream
from stars.sweep import Sweep, plan_table, points
from tests.cluster.tiny_sweep import SWEEP as TINY
from tests.sweeps.test_sweeps import GRIDS, declared
from tests.training import Tiny

SWEEPS = [declared(path) for path in GRIDS]
# As short as recordings can be: they are planned with, never trained on. Six subjects make about 370 training samples.
SOURCE = Synthetic(num_classes=7, num_subjects=9, num_replications=3, min_frames=12, max_frames=12)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that the small recipe's batches are filled by."""
    folder = tmp_path_factory.mktemp("wide") / "packed"
    prepare(SOURCE.names(), SOURCE.text, folder, name="wide", source=repr(SOURCE), num_processes=1)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planned")


def options_of(sweep: Sweep, wide: Path, store: Path) -> list[str]:
    target = ["--target", str(wide)] if sweep.target == "data set" else []
    return ["--data", str(wide), "--store", str(store), *target]


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_its_plan(sweep: Sweep, wide: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(sweep, ["--plan", *options_of(sweep, wide, store)])
    printed = capsys.readouterr().out
    assert f"{sweep.name}: distinct stages" in printed
    assert "reference points" in printed
    assert not list(store.glob("*/*/attempts"))


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_values_from_the_command_line_stay(sweep: Sweep, wide: Path, store: Path) -> None:
    for name, values in sweep.axes.items():
        if name == "source":
            continue
        some = [next(iter(values))]
        if name == "label_fraction":
            some = [0.1]
        words = str(some[0])
        options = parse(sweep, [*options_of(sweep, wide, store), "--set", f"{name}={words}"])
        run = bind(sweep, options, Console(quiet=True))
        assert {point.axes[name] for point in run.points if not point.reference} == set(some)


def test_all_are_planned_together(wide: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--data", str(wide), "--store", str(store), "--target", str(wide)]
    main_of_all(SWEEPS, ["all", "--plan", "--seeds", "2", *place])
    printed = capsys.readouterr().out
    each = [bind(s, parse(s, ["--seeds", "2", *options_of(s, wide, store)]), Console(quiet=True)) for s in SWEEPS]
    asked = [set(upstream(*(point.stage for point in run.points))) for run in each]
    distinct = set().union(*asked)
    shared = sum(sum(stage in stages for stages in asked) > 1 for stage in distinct)
    assert f"{len(distinct)} distinct stages, of which {shared} are shared" in " ".join(printed.split())
    assert shared > 50
    trained_once = [stage for stage in distinct if isinstance(stage, Pretrain) and stage == each[0].recipe.stage1]
    assert len(trained_once) == 1


def test_several_that_are_finished_are_shown_one_after_another(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = replace(TINY, name="again", title="Again")
    for point in points(TINY, tiny.recipe):
        realise(point.stage, tiny.workplace(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main_of_all([TINY, again], ["tiny,again", "--data", str(tiny.packed), "--store", str(tmp_path)])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "tiny (1 of 2)" in printed
    assert "again (2 of 2)" in printed
    assert printed.count("everything is finished already") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bogus", "--plan"], "sweep 'bogus' has no grid here; allowed: all, or some of"),
        (["knn", "--set", "method=STARS"], "--set or --search with knn; allowed: with a single sweep"),
    ],
)
def test_bad_input_for_several_is_refused(
    arguments: list[str], words: str, wide: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main_of_all(SWEEPS, [*arguments, "--data", str(wide), "--store", str(store)])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


BAD = [
    ("transfer", [], "--target is missing with transfer; allowed: a folder"),
    ("transfer", ["--target", "/nowhere"], "--data is /nowhere; allowed"),
    ("few_shot", ["--actions", "2"], "--data has the action 2 alone; allowed: two or more"),
    ("few_shot", ["--target", "WIDE"], "whose actions --data has too; allowed: data with others"),
    ("few_shot", ["--search", "optuna"], "--search with few_shot, whose target has no validation subjects"),
    ("tuning_strategy", ["--set", "strategy=BYOL"], "strategy is 'BYOL'; allowed: 'DINO', 'DINO aug', 'MoCo'"),
    ("motion_target", ["--set", "predicted=motion over 0"], "allowed: coordinates, or motion over N frames"),
    ("recipe", ["--set", "change=bogus"], "change is 'bogus'; allowed: none, stage1."),
    ("semi_supervised", ["--set", "label_fraction=0.01"], "with a label fraction of 0.01; allowed: at least one batch"),
    ("masking", ["--set", "mask_ratio=1"], "mask_ratio is 1.0; allowed: in (0, 1)"),
    ("tuned_depth", ["--set", "tuned_blocks=9"], "Tune.tuned_blocks is 9; allowed: 0 to 4"),
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: " ".join((bad[0], *bad[1])))
def test_bad_input_is_refused(
    bad: tuple[str, list[str], str], wide: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, arguments, words = bad
    (sweep,) = [sweep for sweep in SWEEPS if sweep.name == name]
    given = [str(wide) if text == "WIDE" else text for text in arguments]
    with pytest.raises(SystemExit) as ended:
        main(sweep, ["--plan", "--data", str(wide), "--store", str(store), *given])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_few_shot_pretrains_on_other_actions_than_it_tests_on(wide: Path, store: Path) -> None:
    (sweep,) = [sweep for sweep in SWEEPS if sweep.name == "few_shot"]
    run = bind(sweep, parse(sweep, options_of(sweep, wide, store)), Console(quiet=True))
    assert run.recipe.data.actions == (1, 2, 3)
    assert run.recipe.targeted().data.actions == (4, 5, 6, 7)
    packed = Packed.open(wide)
    assert set(split(run.recipe.targeted().data, packed).class_names) == {"A004", "A005", "A006", "A007"}
    plan = plan_table(sweep, run.recipe, run.points)
    assert '"target_actions": "4 to 7"' in plan["context"][0].as_py()


def test_the_novel_actions_of_a_target_are_those_that_the_data_lack(wide: Path, store: Path) -> None:
    (sweep,) = [sweep for sweep in SWEEPS if sweep.name == "few_shot"]
    some = ["--actions", "1-4", "--target", str(wide)]
    run = bind(sweep, parse(sweep, [*options_of(sweep, wide, store), *some]), Console(quiet=True))
    assert run.recipe.targeted().data.actions == (5, 6, 7)


def test_transfer_from_the_embedded_data_goes_to_other_people(wide: Path, tiny: Tiny) -> None:
    """Both are stood in for: only where they come from is asked."""
    (sweep,) = [sweep for sweep in SWEEPS if sweep.name == "transfer"]
    packed, asked = Packed.open(wide), []

    def place(named: str | None) -> Path:
        asked.append(named)
        return tiny.packed

    both = resolve(sweep, parse(sweep, []), describe(packed), packed, place)
    assert asked == [None]
    assert both.target == tiny.data
    assert set(both.packed) == {tiny.data.content, packed.manifest.content}
    assert replace(EMBEDDED, seed=1) == OTHER_PEOPLE
