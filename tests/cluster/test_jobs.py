"""Heavier: jobs on a head with a token, submitted from a clean copy as a person does. `make test-cluster`."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cluster.head import Head
from stars.store import Store
from tests.training import Tiny

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 240

SWEEP = """\
from cluster.run import main
from tests.cluster.tiny_sweep import SWEEP

if __name__ == "__main__":
    main(SWEEP)
"""
SLOW = """\
import pathlib, signal, sys, time

def save(*_):
    time.sleep(4)  # longer than Ray gives a job by itself
    pathlib.Path(sys.argv[1]).write_text("saved")
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
print("running", flush=True)
time.sleep(600)
"""


@dataclass
class Clone:
    """A clean copy of the project, a home of its own, and a head that was started in it."""

    folder: Path
    environment: dict[str, str]
    foreground: subprocess.Popen[bytes]
    log: Path

    def run(self, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
        """A command typed in the copy."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def cluster(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One of `python -m cluster`'s commands."""
        return self.run(sys.executable, "-m", "cluster", *words)

    def head(self) -> Head:
        """As it is written down."""
        (path,) = (Path(self.environment["HOME"]) / ".stars").glob("head-*.json")
        return Head(**json.loads(path.read_text()))


def copied(folder: Path) -> None:
    """What git would give to somebody else, and a small sweep; the sources differ from those installed here."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    (folder / "sweeps" / "tiny.py").write_text(SWEEP)
    (folder / "slow.py").write_text(SLOW)
    (folder / "stars" / "other.py").write_text('"""Makes this copy another version of the code."""\n')


@contextmanager
def started() -> Iterator[Clone]:
    """A head in a copy; afterwards nothing of it may be left."""
    # Short, since the paths of sockets may not be long.
    top = Path(tempfile.mkdtemp(prefix="stars-"))
    try:
        copied(top / "clone")
        (top / "home").mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        environment |= {"HOME": str(top / "home"), "STARS_STORE": str(top / "store")}
        command = [sys.executable, "-m", "cluster", "head", "--cpus", "2", "--port", "0", "--dashboard-port", "0"]
        log = top / "foreground.log"
        with log.open("wb") as file:
            foreground = subprocess.Popen(
                [*command, "--temp-dir", str(top / "ray")],
                cwd=top / "clone",
                env={**environment, "PYTHONUNBUFFERED": "1"},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        clone = Clone(folder=top / "clone", environment=environment, foreground=foreground, log=log)
        try:
            wait_for(log, "python -m cluster stop", clone)
            yield clone
        finally:
            head = clone.head() if foreground.poll() is None else None
            foreground.terminate()
            assert foreground.wait(90) == 0, log.read_text()
        assert head is None or not head.processes(), "nothing is left"
    finally:
        shutil.rmtree(top)


def wait_for(log: Path, words: str, clone: Clone) -> None:
    """Until a log says so."""
    deadline = time.monotonic() + PATIENCE
    while words not in (text := log.read_text() if log.exists() else ""):
        assert clone.foreground.poll() is None, clone.log.read_text()
        assert time.monotonic() < deadline, text
        time.sleep(0.2)


@pytest.fixture(scope="module")
def clone() -> Iterator[Clone]:
    """One head for the tests that leave it alone."""
    with started() as found:
        yield found


def test_a_sweep_runs_as_a_job_with_the_submitted_code(clone: Clone, tiny: Tiny, tmp_path: Path) -> None:
    address = clone.head().address
    options = ["--data", str(tiny.packed), "--store", str(tmp_path), "--trainer", "tune"]
    options += ["--set", "layer_decay=0.2", "--seeds", "1"]
    # Ray's own command, with `python` and `ray` from the environment that the head was started from.
    words = ["ray", "job", "submit", "--working-dir", ".", "--", "python", "sweeps/tiny.py", *options]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = clone.run(*words, RAY_ADDRESS=address, RAY_AUTH_MODE="token", PATH=path)
    assert done.returncode == 0, done.stdout
    assert "Layer decay, tiny" in done.stdout
    assert "stage 1 only" in done.stdout

    store = Store(tmp_path, read_only=True)
    outcomes = [store.last_outcome(stage_kind, name)[0] for stage_kind, name in store.stages()]
    assert {outcome.status for outcome in outcomes if outcome} == {"finished"}
    version = "import stars.provenance; print(stars.provenance.code_version())"
    submitted = clone.run(sys.executable, "-c", version).stdout.strip()
    here = subprocess.run([sys.executable, "-c", version], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert submitted.startswith("source ")
    assert submitted != here.strip()
    recorded = [path.read_text() for path in tmp_path.glob("*/*/outcome.json")]
    assert recorded
    assert all(f'"{submitted}"' in text for text in recorded), "workers ran the submitted code, and no other"

    (package,) = clone.folder.parent.glob("ray/session_2*/runtime_resources/working_dir_files/_ray_pkg_*[0-9a-f]")
    assert sum(path.stat().st_size for path in package.rglob("*")) < 10 * 2**20
    assert not list(package.rglob("*.npz"))


def test_the_exit_status_is_the_jobs_own(clone: Clone) -> None:
    done = clone.cluster("submit", "--", "python", "-c", "print('hello from a job'); raise SystemExit(3)")
    assert done.returncode == 3, done.stdout
    assert "hello from a job" in done.stdout
    assert "python-" in done.stdout
    assert "FAILED" in done.stdout


def test_without_the_token_nobody_is_answered(clone: Clone) -> None:
    for path in ("/api/jobs/", "/api/cluster_status"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(clone.head().address + path, timeout=30)
        assert refused.value.code == 401
        refused.value.close()
    token = Path(clone.environment["HOME"]) / ".ray" / "auth_token"
    assert token.stat().st_mode & 0o077 == 0


def test_the_second_of_two_jobs_is_told_of_the_first(clone: Clone, tiny: Tiny, tmp_path: Path) -> None:
    words = ["--", "python", "sweeps/tiny.py", "--data", str(tiny.packed), "--store", str(tmp_path)]
    words += ["--trainer", "tune", "--seeds", "30"]
    first = clone.cluster("submit", "--no-wait", *words)
    assert first.returncode == 0, first.stdout
    name = first.stdout.partition("--submission-id ")[2].split()[0]
    deadline = time.monotonic() + PATIENCE
    while not list(tmp_path.glob("drivers/*.json")):
        assert time.monotonic() < deadline, clone.cluster("status").stdout
        time.sleep(0.2)
    second = clone.cluster("submit", *words)
    assert second.returncode == 3, second.stdout
    assert "alive" in second.stdout
    assert f"{name}  RUNNING" in clone.cluster("status", "--store", str(tmp_path)).stdout
    assert clone.cluster("stop", name).returncode == 0
    assert f"{name}  STOPPED" in clone.cluster("status", "--store", str(tmp_path)).stdout


def test_ctrl_c_lets_jobs_save_and_leaves_nothing(tmp_path: Path) -> None:
    with started() as clone:
        head = clone.head()
        done = clone.cluster("submit", "--no-wait", "--", "python", "slow.py", str(tmp_path / "saved"))
        assert done.returncode == 0, done.stdout
        deadline = time.monotonic() + PATIENCE
        while not any("running" in path.read_text() for path in clone.folder.parent.glob("ray/session_2*/logs/job-*")):
            assert time.monotonic() < deadline, "the job did not start"
            time.sleep(0.2)
        assert head.processes()
        clone.foreground.send_signal(signal.SIGINT)
        assert clone.foreground.wait(90) == 0
        assert (tmp_path / "saved").read_text() == "saved"
        assert not head.processes(), "nothing is left"
        assert clone.cluster("stop").returncode == 2, "there is no head any more"
