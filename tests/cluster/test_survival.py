"""Heavier: two workers give the numbers of one. `make test-cluster`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from stars.results import read
from stars.store import Store
from stars.sweep import points
from tests.cluster.tiny_sweep import SWEEP
from tests.training import Tiny, apart, output

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]


def command(tiny: Tiny, store: Path, *more: str) -> list[str]:
    """The sweep as a person types it."""
    return [sys.executable, "-m", "tests.cluster.tiny_sweep", "--data", str(tiny.packed), "--store", str(store), *more]


def run(tiny: Tiny, store: Path, *more: str) -> None:
    """Run it to its end, which must be good."""
    done = subprocess.run(command(tiny, store, *more), capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr


def values(store: Path) -> dict[str, float]:
    """Every number of a store, by what it is."""
    return {json.dumps([r["fingerprint"], r["k"]]): r["value"] for r in read(Store(store)).to_pylist()}


def test_two_workers_give_the_numbers_of_one(tiny: Tiny, tmp_path: Path) -> None:
    run(tiny, tmp_path / "one", "--trainer", "tune")
    run(tiny, tmp_path / "two", "--workers", "2", "--set", "layer_decay=0.2", "--seeds", "1")
    planned = [p for p in points(SWEEP, tiny.recipe) if dict(p.axes) == {"layer_decay": 0.2, "seed": 0}]
    encoder = planned[0].stage.features.encoder  # type: ignore[attr-defined]
    one, two = Store(tmp_path / "one"), Store(tmp_path / "two")
    assert two.outcome(encoder).measured["workers"] == 2  # type: ignore[union-attr]
    for stage in (encoder.start, encoder):
        assert apart(output(one, stage), output(two, stage)) < 1e-5
    assert values(tmp_path / "two").items() <= values(tmp_path / "one").items()
