"""Preparations and imports that are killed and typed again end with the same store, and leave nothing beside it.

The same with twenty kills of each is a benchmark: `benchmarks/faults/prepare_kills.py`.
"""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from benchmarks.faults.prepare_kills import Seen, Source, check, contents, measure, write_archive, write_texts
from stars.data.exchange.npz import import_npz
from stars.data.journal import claim_new
from stars.data.packing import Packer
from tests.data.exchange.test_npz import saved

ROOT = Path(__file__).resolve().parents[2]


def test_two_kills_of_a_preparation_from_an_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    write_texts(tmp_path / "texts", 100)
    write_archive(tmp_path / "texts", tmp_path / "texts.zip")
    command = (sys.executable, "-m", "stars", "prepare", "ntu-folder", "--raw", str(tmp_path / "texts.zip"))
    source = Source(name="zip", command=(*command, "--processes", "1"))
    seen = measure(source, tmp_path / "zip", 2, Random(0), lambda line: None)
    assert (seen.kills, seen.broken) == (2, [])
    # A kill may come when the store is complete and the process about to leave.
    assert seen.lives >= 2
    assert seen.stores >= 1


def test_the_benchmark_notices_another_store(tmp_path: Path) -> None:
    import_npz(saved(tmp_path / "a.npz"), tmp_path / "out" / "store")
    (tmp_path / "out" / "left").touch()
    seen = Seen(source="x")
    check(tmp_path / "out" / "store", {**contents(tmp_path / "out" / "store"), "joints.npy": "other"}, seen)
    differs, beside = seen.broken
    assert "differs" in differs
    assert "['left']" in beside


IMPORT = """
import sys, time
from pathlib import Path
from stars.data.exchange.npz import import_npz

def told(done, total):
    print("begun", flush=True)
    time.sleep(60)

import_npz(Path(sys.argv[1]), Path(sys.argv[2]), progress=told)
"""


def test_a_killed_import_leaves_what_the_next_one_removes(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.npz")
    command = [sys.executable, "-c", IMPORT, str(path), str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout
    assert process.stdout.readline() == b"begun\n"
    (left,) = tmp_path.glob(".out.*")
    import_npz(path, tmp_path / "other")
    assert left.exists(), "of another store"
    # One that lives is not disturbed, and does not disturb.
    import_npz(path, tmp_path / "out")
    assert left.exists()
    process.kill()
    process.communicate()
    import_npz(path, tmp_path / "out")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.npz", "other", "out"]


def test_a_folder_is_locked_for_as_long_as_its_packer_lives(tmp_path: Path) -> None:
    with Packer(tmp_path / "out", name="x", source="x") as packer:
        with Packer(tmp_path / "out", name="x", source="x") as other:
            assert packer.folder != other.folder
        assert not other.folder.exists()
        assert packer.folder.exists()
    assert not list(tmp_path.iterdir())
    left, descriptor = claim_new(tmp_path / "out")
    os.close(descriptor)
    with Packer(tmp_path / "out", name="x", source="x"):
        assert not left.exists(), "what nobody holds is removed"
