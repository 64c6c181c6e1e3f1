"""The README's commands are right: each is read from it and tried, as far as it can be without a cluster."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

import analysis.__main__
from cluster.options import parse, read
from cluster.run import bind, main
from stars.__main__ import application
from stars.data.source import locate
from stars.recipes import small
from stars.stage import fingerprint
from stars.store import Store
from stars.sweep import Sweep, plan_table, write_plan
from sweeps.lr_decay import SWEEP
from sweeps.search import SWEEP as SEARCH
from tests.examples import DATA

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES: list[str] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [shlex.split(line, comments=True) for line in re.findall(r"^    (\S.*)$", README, re.MULTILINE)]


def commands(*start: str) -> list[list[str]]:
    """What follows `start` in the README's commands that begin so."""
    return [words[len(start) :] for words in COMMANDS if tuple(words[: len(start)]) == start]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store that holds the embedded data, made once."""
    store = Store(tmp_path_factory.mktemp("embedded"))
    locate("synthetic", store, num_processes=2)
    return store


def test_make_knows_its_targets() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[0] for words in commands("make")} <= targets
    assert len(commands("make")) == 2


DECLARED = [
    importlib.import_module(f"sweeps.{path.stem}").SWEEP
    for path in sorted((ROOT / "sweeps").glob("*.py"))
    if not path.stem.startswith("_")
]
SWEEPS = [
    (sweep, words)
    for sweep in DECLARED
    for words in commands("python", f"sweeps/{sweep.name}.py")
    if words != ["--help"]
]


@pytest.mark.parametrize(("sweep", "words"), SWEEPS, ids=lambda given: getattr(given, "name", str(given)))
def test_sweep_commands(sweep: Sweep, words: list[str], embedded: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(sweep, words)
    if "--data" not in words:
        main(sweep, [*words, "--plan", "--store", str(embedded.location)])
        searching = sweep is SEARCH or "--search" in words
        assert ("0 of 40 suggestions so far" if searching else "estimated time") in capsys.readouterr().out


def test_commands_of_several_sweeps() -> None:
    known = {sweep.name for sweep in DECLARED}
    for words in commands("python", "-m", "sweeps"):
        assert words[0] == "all" or set(words[0].split(",")) <= known
        assert read("", "", words[1:])


def test_every_sweep_is_named() -> None:
    assert {sweep.name for sweep in DECLARED if f"`{sweep.name}`" not in README} == {"lr_decay", "search"}


def test_the_job_command_reaches_the_sweep() -> None:
    (words,) = commands("ray", "job", "submit")
    assert words[:5] == ["--working-dir", ".", "--", "python", "sweeps/lr_decay.py"]
    assert parse(SWEEP, words[5:]).store == Path("/shared/stars")


def test_prepare_command(tmp_path: Path) -> None:
    (words,) = [words for words in commands("python", "-m", "stars", "prepare") if words[0] == "ntu-folder"]
    raw, out = words.index("--raw") + 1, words.index("--out") + 1
    words[raw], words[out] = str(ROOT / "tests" / "vectors" / "ntu_raw"), str(tmp_path / "out")
    application().cli(args=["prepare", *words])
    assert (tmp_path / "out" / "joints.npy").is_file()


def test_analysis_command(embedded: Store, capsys: pytest.CaptureFixture[str]) -> None:
    (words,) = [shlex.split(text)[3:] for text in re.findall(r"`(python -m analysis .*?)`", README.replace("\n", " "))]
    run = bind(SWEEP, parse(SWEEP, ["--store", str(embedded.location)]), Console(quiet=True))
    write_plan(embedded, plan_table(SWEEP, run.recipe, run.points))
    assert analysis.__main__.main([*words, "--store", str(embedded.location)]) == 0
    assert "stage 1 only" in capsys.readouterr().out


def test_the_variants_are_values_of_their_own() -> None:
    (code,) = [text for text in EXAMPLES if "recipe.three_stage" in text]
    lines = [line.partition("#")[0] for line in code.splitlines() if line.startswith(("recipe.", "replace("))]
    scope: dict[str, object] = {"recipe": small(DATA)}
    exec(code, scope)
    made = [eval(line, scope) for line in lines]
    assert len(made) == 5
    assert len({fingerprint(stage) for stage in (*made, small(DATA).tune(0))}) == 6


def test_the_python_example_names_columns_that_exist(tmp_path: Path) -> None:
    (code,) = [text for text in EXAMPLES if "analysis.load" in text]
    store = Store(tmp_path)
    recipe = small(DATA)
    from stars.sweep import points

    write_plan(store, plan_table(SWEEP, recipe, points(SWEEP, recipe)))
    exec(code.replace("~/.stars/store", str(tmp_path)), {})
