import csv
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import analysis
from analysis.__main__ import main


def _files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def _run(laboratory: Any, *arguments: str) -> int:
    return main([*arguments, "--store", str(laboratory.store.location)])


def test_prints_the_table_and_writes_nothing(lr_decay: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = _files(tmp_path)
    assert _run(lr_decay, "lr_decay") == 0
    shown = capsys.readouterr()
    assert "80.4 ± 0.4" in shown.out
    assert shown.err == ""
    assert _files(tmp_path) == before


def test_csv_goes_to_output_and_notes_do_not(lr_decay: Any, capsys: pytest.CaptureFixture[str]) -> None:
    probe = lr_decay.named("late")
    lr_decay.plan("lr_decay", [("late", {}, probe)])
    lr_decay.measure(probe, 0.9, code="bbb")
    assert _run(lr_decay, "lr_decay", "--format", "csv") == 0
    shown = capsys.readouterr()
    lines = list(csv.DictReader(io.StringIO(shown.out)))
    assert [float(line["mean"]) for line in lines if line["reference"] == "late"] == [0.9]
    assert "2 code versions: aaa (15), bbb (1)" in shown.err


def test_markdown(lr_decay: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(lr_decay, "lr_decay", "--format", "markdown", "--k", "1") == 0
    assert "| 0.1 | **70.0 ± 0.0** |" in capsys.readouterr().out


def test_the_figure_is_written_where_it_is_asked_for(lr_decay: Any, tmp_path: Path) -> None:
    assert _run(lr_decay, "lr_decay", "--figure", str(tmp_path / "curve.png")) == 0
    assert sorted(path.name for path in tmp_path.glob("curve*")) == ["curve.pdf", "curve.png"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nix"], "sweep 'nix' has no plan in"),
        (["lr_decay", "--context", "dataset=ntu60"], "not planned with dataset=ntu60"),
        (["lr_decay", "--context", "dataset"], "'dataset' is not an entry; allowed: name=value"),
        (["lr_decay", "--figure", "HERE/curve.jpg"], "allowed: a path that ends in .png"),
        (["lr_decay", "--figure", "HERE/not/there/curve.png"], "No such file"),
        (["lr_decay", "--figure", "HERE/curve.png", "--axis", "seed"], "axis 'seed' is unknown"),
        (["lr_decay", "--plan", "zz"], "plan 'zz' is the start of 0 plans of lr_decay; there are: "),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    lr_decay: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = _files(tmp_path)
    given = [text.replace("HERE", str(tmp_path)) for text in arguments]
    assert _run(lr_decay, *given) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""
    assert _files(tmp_path) == before


def test_plans_that_contradict_each_other_can_be_chosen_from(
    laboratory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = [laboratory.plan("s", [("", {"d": 0.5}, laboratory.named(version))]) for version in range(2)]
    laboratory.measure(laboratory.named(1), 0.75)
    assert _run(laboratory, "s") == 2
    assert "choose one of the plans in the store" in capsys.readouterr().err
    assert _run(laboratory, "s", "--plan", Path(keys[1]).name[:8]) == 0
    assert "75.0" in capsys.readouterr().out


def test_a_damaged_store_is_one_line(lr_decay: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = next((lr_decay.store.location / "results").iterdir())
    path.write_bytes(b"PAR1 and no more")
    assert _run(lr_decay, "lr_decay") == 2
    shown = capsys.readouterr().err
    assert path.name in shown
    assert shown.count("\n") == 1


def test_as_a_command_it_leaves_no_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "analysis", "lr_decay", "--store", str(tmp_path / "typo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"analysis: store {tmp_path / 'typo'}: not there"]


def test_nothing_heavy_is_loaded() -> None:
    modules = [f"analysis.{path.stem}" for path in Path(analysis.__path__[0]).glob("[!_]*.py")]
    assert len(modules) > 5
    names = ("torch", "ray", "optuna", "sweeps", "cluster", "matplotlib.pyplot")
    program = f"import sys, analysis.__main__, {', '.join(modules)}; print([n for n in {names} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
