"""The examples run on a store as a sweep leaves it."""

import subprocess
import sys
from pathlib import Path

from stars.store import Store
from tests.stores import finish_all, planned

ROOT = Path(__file__).resolve().parents[1]


def test_an_ablation_is_analysed_in_twenty_lines(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    finish_all(store, planned(store))
    program = ROOT / "examples" / "analyse.py"
    assert len([line for line in program.read_text().splitlines() if line.strip()]) <= 25
    words = [sys.executable, str(program), str(store.location), "lr_decay"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    assert "best: layer_decay=" in done.stdout
    assert "finished" in done.stdout
