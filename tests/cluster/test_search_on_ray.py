"""A search as a person types it: killed midway, typed again, its winner on test. `make test-cluster`."""

import json
import subprocess
import sys
import time
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from analysis.load import load
from analysis.search import best, trials
from stars.drivers import read_all
from stars.results import read
from stars.store import Store
from tests.training import Tiny

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]
_TRIALS = 6


def command(tiny: Tiny, store: Path, *more: str) -> list[str]:
    options = ["--data", str(tiny.packed), "--store", str(store), "--trainer", "tune", "--trials", str(_TRIALS)]
    return [sys.executable, "-m", "tests.cluster.tiny_search", *options, *more]


def run(tiny: Tiny, store: Path) -> str:
    done = subprocess.run(command(tiny, store), capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def kill_when_some_are_told(tiny: Tiny, store: Path) -> None:
    """Start the search and kill its driver once a trial has ended."""
    driver = subprocess.Popen(command(tiny, store), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not any(b'"op_code":6' in path.read_bytes() for path in store.glob("searches/*/*.journal")):
        assert driver.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "no trial has ended in time"
        time.sleep(0.05)
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.wait()
    psutil.wait_procs(children, timeout=60)


def test_a_search_killed_midway_ends_with_a_consistent_study_and_one_winner_on_test(tiny: Tiny, tmp_path: Path) -> None:
    kill_when_some_are_told(tiny, tmp_path)
    run(tiny, tmp_path)
    [journal] = tmp_path.glob("searches/tiny_search/*.journal")
    study = optuna.load_study(study_name=journal.stem, storage=JournalStorage(JournalFileBackend(str(journal))))
    counted = [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]
    assert len(counted) == _TRIALS
    assert {trial.state.name for trial in study.trials} <= {"COMPLETE", "PRUNED", "FAIL"}, "nothing is left running"
    points = [json.dumps(trial.params) for trial in counted]
    assert len(set(points)) == _TRIALS
    assert counted[0].params == {"layer_decay": 0.2}, "the recipe's own settings first"

    store = Store(tmp_path)
    frame = trials(store, "tiny_search")
    full = best(frame)
    complete = [trial.number for trial in counted if trial.state.name == "COMPLETE"]
    assert sorted(full["trial"]) == complete, "what was stopped is in no table of full runs"
    rows = read(store).to_pylist()
    tested = {row["fingerprint"] for row in rows if row["split"] == "test" and row["probe"] == "knn"}
    winner = load(store, "tiny_search_winner")
    winner = winner[winner["reference"] == ""]
    assert tested == set(winner["fingerprint"]), "test is measured for the winner alone"
    assert len(tested) == 2, "one a seed"
    assert set(winner["layer_decay"]) == {study.best_trial.params["layer_decay"]}

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("outcome*.json")}
    run(tiny, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("outcome*.json")} == before
    assert [driver.ended for driver in read_all(store)] == ["", "finished", "finished"]
    assert not list((tmp_path / "leases").iterdir()), "the dead driver's leases are gone too"
