"""The data benchmark runs, and the ways it compares do the same work; how fast they are is not tested."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.data import Figure
from benchmarks.reference.feeder import Feeder
from benchmarks.reference.sequences import pack, padded, sequences
from stars.data.batches import Cut

ROOT = Path(__file__).resolve().parents[2]


def test_a_quick_run_finds_everything_equal(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks.data", "--quick", "--json-file", str(figures)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {figure["name"]: figure for figure in json.loads(figures.read_text())}
    assert list(found) == [
        "text, a core",
        "batches, a core",
        "size on disk, npz / packed",
        "random reads",
        "memory of a walk through NTU-60's size",
    ]
    assert all(figure["is_equal"] for figure in found.values())
    assert found["size on disk, npz / packed"]["measured"] > 5
    assert found["memory of a walk through NTU-60's size"]["details"]["sequences"] == 300
    assert "not judged" in done.stdout


def test_made_up_sequences_are_as_long_as_real_ones(tmp_path: Path) -> None:
    given = list(sequences(3000, seed=0))
    num_rows = sum(sequence.shape[0] * sequence.shape[1] for sequence in given)
    assert num_rows * 300 / 3000 * 56_578 == pytest.approx(1.71e9, rel=0.03)
    assert max(len(sequence) for sequence in given) <= 300
    packed, array = pack(given[:40], tmp_path / "store"), padded(given[:40])
    for row in range(40):
        sample = packed.sample(row)
        np.testing.assert_array_equal(array[row].reshape(300, 2, 25, 3)[: len(sample)], sample)


def test_the_straightforward_feeder_refuses_frames_that_are_not_valid() -> None:
    feeder = Feeder(padded(list(sequences(1, seed=0))))
    with pytest.raises(ValueError, match="crop is 0 to 300; allowed: from 0 to"):
        feeder.sample(0, 0, 300, 120, torch.zeros(3))
    with pytest.raises(ValueError, match="allowed: angles"):
        feeder.batch([0], 120, Cut(torch.tensor([0]), torch.tensor([10])))


@pytest.mark.parametrize(("measured", "at_least", "kept"), [(2.0, True, True), (1.9, True, False), (2.1, False, False)])
def test_a_promise_is_kept_or_broken(measured: float, at_least: bool, kept: bool) -> None:
    assert Figure(name="x", promised=2, measured=measured, at_least=at_least).is_kept() == kept
