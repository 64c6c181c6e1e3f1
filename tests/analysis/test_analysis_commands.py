"""The commands `table`, `reproduce` and `disagreement`."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analysis.__main__ import main
from stars.parquet import to_bytes


def _run(laboratory: Any, *arguments: str) -> int:
    return main([*arguments, "--store", str(laboratory.store.location)])


def _predict(laboratory: Any, name: str, *predicted: int, rows: Any = None, label: Any = (0, 1, 2, 1)) -> str:
    table = pa.table(
        {
            "row": list(rows or range(len(predicted))),
            "label": list(label),
            "k1": [0] * len(label),
            "k10": list(predicted),
        }
    )
    content = to_bytes(table.replace_schema_metadata({"classes": json.dumps(["a", "b", "c"])}))
    fingerprint: str = laboratory.named(name)
    assert laboratory.store.create(f"predictions/{fingerprint}.parquet", content)
    return fingerprint


@pytest.fixture
def strategies(laboratory: Any) -> Any:
    """One seed of a strategy of Table 6, as published."""
    context = {"dataset": "ntu60", "protocol": "xsub", "recipe": "paper"}
    laboratory.plan("strategies", [("", {"strategy": "DINO"}, laboratory.named(0))], context, paper="Table 6")
    laboratory.measure(laboratory.named(0), 0.776, 0.7, dataset="ntu60", count=16487)
    return laboratory


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ("markdown", "| 0.1 | **80.4 ± 0.4** |"),
        ("latex", r"0.1 & \textbf{80.4 $\pm$ 0.4} &"),
        ("html", "<strong>80.4 ± 0.4</strong>"),
        ("csv", "layer_decay,reference,mean,low,high"),
    ],
)
def test_the_table_of_a_sweep(
    lr_decay: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, words: str
) -> None:
    assert _run(lr_decay, "table", "lr_decay", "--format", form) == 0
    shown = capsys.readouterr().out
    assert words in shown
    out = tmp_path / "table.txt"
    assert _run(lr_decay, "table", "lr_decay", "--format", form, "--out", str(out)) == 0
    assert out.read_text(encoding="utf-8") == shown
    assert capsys.readouterr().out == ""


def test_other_numbers_of_a_sweep(lr_decay: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(lr_decay, "table", "lr_decay", "--k", "1", "--context", "recipe=paper") == 0
    assert "| 0.1 | **70.0 ± 0.0** |" in capsys.readouterr().out


def test_the_table_that_a_sweep_reproduces(strategies: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run(strategies, "table", "strategies", "--paper") == 0
    by_name = capsys.readouterr().out
    assert "| DINO, here | <u>77.6 ± 0.6</u> | - |\n| difference | 0.0 (within) | - |" in by_name
    assert _run(strategies, "table", "6") == 0
    assert capsys.readouterr().out == by_name
    assert _run(strategies, "table", "6", "--recipe", "published") == 0
    assert "Nothing of it has been run here with the recipe published." in capsys.readouterr().out


def test_reproduce(strategies: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    location = str(strategies.store.location)
    assert main(["reproduce", location]) == 0
    shown = capsys.readouterr().out
    assert "| reproduced | within the interval | 1 | the published number lies in ours |" in shown
    assert "245 published numbers; 1 have ours beside them." in shown
    assert "| 6 | DINO | NTU-60 | XSub | KNN k=10 top-1 | 77.6 | 77.6 | 0.0 | 0.7 | 1 | reproduced |" in shown
    assert "CrosSCLR" not in shown
    out = tmp_path / "cells.csv"
    assert main(["reproduce", location, "--format", "csv", "--out", str(out)]) == 0
    lines = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert len(lines) == 245
    assert [float(line["ours"]) for line in lines if line["ours"]] == pytest.approx([77.6])
    for form in ("latex", "html"):
        assert main(["reproduce", location, "--format", form]) == 0
        assert capsys.readouterr().out.count({"latex": r"\toprule", "html": "<table>"}[form]) == 2


def test_disagreement(laboratory: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = _predict(laboratory, "one", 0, 1, 2, 1), _predict(laboratory, "two", 1, 0, 0, 1)
    assert _run(laboratory, "disagreement", first[:8], second) == 0
    # Three samples that the first alone has right: 2 · 0.5³.
    assert "| 3 | 0 | 4 | 75.0 | 0.25 |" in capsys.readouterr().out
    assert _run(laboratory, "disagreement", first, second, "--k", "1") == 0
    assert "| 0 | 0 | 4 | 0.0 | 1 |" in capsys.readouterr().out


def test_disagreement_is_about_the_same_samples_in_any_order(
    laboratory: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first = _predict(laboratory, "one", 0, 1, 2, 1)
    turned = _predict(laboratory, "two", 1, 2, 1, 0, rows=(3, 2, 1, 0), label=(1, 2, 1, 0))
    assert _run(laboratory, "disagreement", first, turned) == 0
    assert "| 0 | 0 | 4 | 0.0 | 1 |" in capsys.readouterr().out
    for other in (
        _predict(laboratory, "rows", 0, 1, 2, 1, rows=(0, 1, 2, 4)),
        _predict(laboratory, "labels", 0, 1, 2, 1, label=(0, 1, 2, 2)),
    ):
        assert _run(laboratory, "disagreement", first, other) == 2
        assert "allowed: two probes of the same samples and labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["table", "nix"], "sweep 'nix' has no plan in"),
        (["table", "nix", "--paper"], "sweep 'nix' has no plan in the store; planned are: lr_decay"),
        (["table", "lr_decay", "--paper"], "reproduces 'Figure 3(a)', which is no table; allowed: without --paper"),
        (["table", "lr_decay", "--context", "recipe"], "'recipe' is not an entry; allowed: name=value"),
        (["table", "10"], "table 10 has no published cells; allowed: 1, 2, 3,"),
        (["table", "lr_decay", "--out", "HERE/not/there.tex"], "No such file"),
        (["disagreement", "ab", "cd"], "'ab' is the beginning of 0 probes with predictions; allowed: of one"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    lr_decay: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert _run(lr_decay, *[text.replace("HERE", str(tmp_path)) for text in arguments]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_as_a_command(strategies: Any) -> None:
    command = [sys.executable, "-m", "analysis", "reproduce", str(strategies.store.location), "--format", "csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 246
    assert done.stderr == ""
