"""A cluster that grows while units wait, and one whose processors somebody else has taken. `make test-cluster`."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from stars.execute import Workplace, realise
from stars.store import Store
from stars.sweep import points
from tests.cluster.autoscaling import HEAD_NODE, Cluster, autoscaling, fixed
from tests.cluster.long_sweep import SWEEP
from tests.cluster.test_survival import command, values
from tests.training import Tiny

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]
_PATIENCE = 300

# Takes every processor of the cluster until its input ends, and says what there is at the beginning and at the end.
OCCUPANT = """
import sys
import ray
from ray.util.placement_group import placement_group, placement_group_table
ray.init(log_to_driver=False, logging_level="error")
group = placement_group([{"CPU": 1}] * int(ray.cluster_resources()["CPU"]))
print(group.wait(60), flush=True)
sys.stdin.readline()
print(sorted({row["state"] for row in placement_group_table().values() if row["placement_group_id"] != group.id.hex()}))
"""


@contextlib.contextmanager
def begun(cluster: Cluster, words: Sequence[str], more: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A program that joins the cluster, killed at the end if it still runs."""
    environment = {**os.environ, **cluster.environment, **more}
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as program:
        try:
            yield program
        finally:
            program.kill()


def watched(cluster: Cluster, driver: subprocess.Popen[str]) -> tuple[set[str], set[str]]:
    """Watch a driver to its end. Returns the nodes that the cluster had, and those on which units ran."""
    had: set[str] = set()
    used: set[str] = set()
    deadline = time.monotonic() + _PATIENCE
    while driver.poll() is None:
        assert time.monotonic() < deadline, "the sweep hangs"
        had |= cluster.nodes().keys()
        used |= cluster.busy_nodes("ImplicitFunc")
        time.sleep(0.2)
    return had, used


def test_a_sweep_grows_the_cluster_and_gives_the_same_numbers(tiny: Tiny, tmp_path: Path) -> None:
    sweep = [
        word.replace("tiny_sweep", "long_sweep") for word in command(tiny, tmp_path / "grown", "--trainer", "tune")
    ]
    with autoscaling(max_workers=3) as cluster:
        assert list(cluster.nodes()) == [HEAD_NODE]
        with begun(cluster, sweep, {"STARS_MAX_CPUS": "4"}) as driver:
            had, used = watched(cluster, driver)
            printed, problems = driver.communicate()
            assert driver.returncode == 0, printed + problems
        assert "units to run on 4 processors and 0 GPUs" in printed
        assert len(had) == 4, "as many nodes as there may be, while units wait"
        assert len(used) == 4, "and units run on all of them"
        deadline = time.monotonic() + _PATIENCE
        while list(cluster.nodes()) != [HEAD_NODE]:
            assert time.monotonic() < deadline, "idle nodes stay"
            time.sleep(0.2)
    assert not cluster.processes()

    plain = Workplace(store=Store(tmp_path / "plain"), datasets={tiny.data.content: tiny.packed})
    for point in points(SWEEP, tiny.recipe)[::3]:
        realise(point.stage, plain)
    assert values(plain.store.location).items() <= values(tmp_path / "grown").items()


def test_what_others_have_taken_is_not_waited_for_for_ever(tiny: Tiny, tmp_path: Path) -> None:
    little = {"RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "4"}
    with fixed(cpus=2, settings=little) as cluster:
        with begun(cluster, command(tiny, tmp_path / "a", "--workers", "4"), {}) as driver:
            _, problems = driver.communicate(timeout=_PATIENCE)
            assert driver.returncode == 2
            (line,) = problems.splitlines()
            assert "--cpus-per-trial is 4 for 4 workers; allowed: at most 2, all that the cluster has or can" in line
        with begun(cluster, [sys.executable, "-c", OCCUPANT], {}) as occupant:
            assert occupant.stdout is not None
            assert occupant.stdout.readline() == "True\n"
            for more in (("--workers", "2"), ("--trainer", "tune")):
                with begun(cluster, command(tiny, tmp_path / more[1], *more), little) as driver:
                    printed, problems = driver.communicate(timeout=_PATIENCE)
                    assert driver.returncode == 1, printed + problems
                    assert "the cluster has had no room for any unit for 12 s: nothing more is started" in printed
                    if more[0] == "--workers":
                        assert "no room for 2 workers of 1 processors and 0 GPUs within 4 s" in printed
                    assert "missing" in printed
            rest, _ = occupant.communicate("go\n", timeout=_PATIENCE)
            assert rest.strip() in ("[]", "['REMOVED']"), "no other placement group is left"
    assert not cluster.processes()
