"""Two drivers in one store: each stage is computed once, and a dead one's work is free. `make test-cluster`."""

import subprocess
import time
from pathlib import Path

import psutil
import pytest

from stars.drivers import read_all
from stars.store import Store
from tests.cluster.test_survival import command, run, values
from tests.training import Tiny

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]
_PATIENCE = 240


def begin(tiny: Tiny, store: Path, *more: str) -> subprocess.Popen[str]:
    """Start the sweep beside this process."""
    return subprocess.Popen(command(tiny, store, *more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(driver: subprocess.Popen[str]) -> str:
    """Wait for a good end. Returns what was printed."""
    printed, _ = driver.communicate(timeout=_PATIENCE)
    assert driver.returncode == 0, printed
    return printed


def under_way(store: Path) -> None:
    """Wait until a driver runs something."""
    deadline = time.monotonic() + _PATIENCE
    while not any(driver.units.get("running") for driver in read_all(Store(store)) if not driver.ended):
        assert time.monotonic() < deadline, "no driver ever ran anything"
        time.sleep(0.1)


def kill(driver: subprocess.Popen[str]) -> None:
    """Kill it, and wait until the cluster that it started is gone."""
    children = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.communicate()
    psutil.wait_procs(children, timeout=60)


def test_two_sweeps_at_once_compute_each_stage_once(tiny: Tiny, tmp_path: Path) -> None:
    run(tiny, tmp_path / "calm", "--trainer", "tune", "--set", "layer_decay=0.2,0.6,1.0")
    store = tmp_path / "shared"
    pairs = ("0.2,1.0", "0.2,0.6")
    drivers = [begin(tiny, store, "--trainer", "tune", "--set", f"layer_decay={pair}") for pair in pairs]
    for driver in drivers:
        finish(driver)
    assert values(store) == values(tmp_path / "calm")
    attempts = [len(list(folder.iterdir())) for folder in store.glob("*/*/attempts")]
    assert set(attempts) == {1}, "every stage was begun once"
    assert not list((store / "leases").iterdir()), "everything was given back"


def test_a_dead_drivers_work_is_free_in_under_two_minutes(tiny: Tiny, tmp_path: Path) -> None:
    """Another run shares stage 1, which the dead one held. Here the process table tells at once."""
    first = begin(tiny, tmp_path, "--trainer", "tune", "--set", "layer_decay=0.2")
    under_way(tmp_path)
    kill(first)
    assert list((tmp_path / "leases").iterdir()), "it died with leases"
    begun = time.monotonic()
    run(tiny, tmp_path, "--trainer", "tune", "--set", "layer_decay=0.6")
    assert time.monotonic() - begun < 120
    assert [driver.ended for driver in read_all(Store(tmp_path))] == ["", "finished"]
