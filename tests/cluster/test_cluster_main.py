"""`python -m cluster`, without Ray: its commands, the token, the record of a head, what it makes of jobs' ends."""

import json
import os
import re
import shlex
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from cluster import head, jobs
from cluster.__main__ import main

TOKEN = "0123456789abcdef" * 4


@pytest.fixture(autouse=True)
def own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No test may find the head, or the token, of the person who runs it."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(Path, "home", lambda: home)
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    return home


def a_job(name: str, status: str = "RUNNING", code: int | None = None, start: int = 1) -> dict[str, Any]:
    """A job as the dashboard describes it."""
    return {
        "type": "SUBMISSION",
        "submission_id": name,
        "status": status,
        "entrypoint": "python sweeps/lr_decay.py",
        "start_time": start,
        "driver_exit_code": code,
    }


class Dashboard:
    """Answers like Ray's dashboard, from what a test has put into `jobs`."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        dashboard = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.headers["Authorization"] != f"Bearer {TOKEN}":
                    self.reply(401 if "Authorization" not in self.headers else 403, "no")
                elif self.path == "/api/jobs/":
                    self.reply(200, [*dashboard.jobs, {"type": "DRIVER", "submission_id": None}])
                elif self.path == "/api/cluster_status":
                    usage = {"CPU": [1.5, 4.0], "memory": [0.0, 9.0], "GPU": [0.0, 2.0]}
                    self.reply(200, {"data": {"clusterStatus": {"loadMetricsReport": {"usage": usage}}}})
                elif found := [job for job in dashboard.jobs if self.path == f"/api/jobs/{job['submission_id']}"]:
                    self.reply(200, found[0])
                else:
                    self.reply(404, "no such job")

            def do_POST(self) -> None:
                dashboard.stopped.append(self.path.split("/")[-2])
                self.reply(200, {"stopped": True})

            def reply(self, code: int, content: Any) -> None:
                body = json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: object) -> None:
                """Not on the test's terminal."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dashboard]:
    """One that the environment names, with its token."""
    served = Dashboard()
    monkeypatch.setenv("RAY_ADDRESS", served.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    yield served
    served.close()


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program in Ray's place: writes down how it was called, ends with the status in the file `status`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    called = folder / "called"
    program = folder / "ray"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$RAY_AUTH_MODE" "$RAY_API_SERVER_ADDRESS" "$@" > {called}\n'
        f"exit $(cat {folder}/status 2>/dev/null || echo 0)\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    return folder


ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTED = [
    shlex.split(line, comments=True)
    for name in ("README.md", "docs/CLUSTER.md")
    for line in re.findall(r"^    python -m cluster (\S.*)$", (ROOT / name).read_text(), re.MULTILINE)
]


def run(*arguments: str) -> int:
    """The command's exit status."""
    try:
        main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize("words", DOCUMENTED, ids=" ".join)
def test_documented_commands_exist(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    name, *options = words[: words.index("--")] if "--" in words else words
    assert run(name, "--help") == 0
    known = capsys.readouterr().out
    assert f"python -m cluster {name}" in known
    for option in options:
        assert not option.startswith("--") or option in known


def test_every_command_is_documented() -> None:
    assert {words[0] for words in DOCUMENTED} == {"head", "submit", "status", "stop"}


def test_a_token_is_made_once_for_its_owner_only(own_home: Path) -> None:
    assert head.token() is None
    path = own_home / ".ray" / "auth_token"
    assert head.keep_token() == str(path)
    made = head.token()
    assert made == path.read_text()
    assert len(made) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    head.keep_token()
    assert head.token() == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "one that Ray made is tightened"


def test_the_token_is_found_where_ray_finds_it(own_home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "elsewhere"))
    assert head.keep_token() == str(tmp_path / "elsewhere")
    assert not (own_home / ".ray").exists()
    (tmp_path / "elsewhere").write_text("\n")
    with pytest.raises(ValueError, match="elsewhere is empty"):
        head.token()
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    assert (head.token(), head.keep_token()) == (TOKEN, "$RAY_AUTH_TOKEN")


def test_a_taken_port_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run("head", "--dashboard-port", str(port), "--port", "0") == 2
    assert f"--dashboard-port is {port}; allowed: a free port" in capsys.readouterr().err
    with pytest.raises(ValueError, match="--port is 99999999"):
        head.choose_ports(99999999, 0)
    ports = head.choose_ports(0, 0)
    assert len({ports.cluster, ports.dashboard, ports.agent, ports.client}) == 4


def test_the_head_command_can_be_typed_and_listens_here_only() -> None:
    ports = head.Ports(cluster=1, dashboard=2, agent=3, client=4)
    command = head.start_command(ports, cpus=3, gpus=0, temporary=Path("/tmp/a b"))
    line = head.typed(command, head.start_settings())
    words = shlex.split(line)
    assert words[-len(command) :] == command
    assert {"--dashboard-host=127.0.0.1", "--num-cpus=3", "--num-gpus=0", "--temp-dir=/tmp/a b"} <= set(command)
    assert "RAY_AUTH_MODE=token" in words
    assert not any(TOKEN in word or os.environ["PATH"] in word for word in words)
    shown = subprocess.run(
        ["sh", "-c", f"{line.partition('ray start')[0]} env"], capture_output=True, text=True, check=True
    ).stdout
    settings = head.start_settings()
    assert all(f"{name}={value}" in shown.splitlines() for name, value in settings.items())


def recorded_child(home: Path, mark: str, watcher: int) -> subprocess.Popen[bytes]:
    """A process that carries a mark, and the record of a head that it belongs to."""
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"],
        env={**os.environ, head.MARK: mark},
        stdout=subprocess.PIPE,
    )
    assert child.stdout is not None
    child.stdout.readline()
    record = {"pid": watcher, "created": 1.0, "mark": mark, "address": "http://127.0.0.1:1"}
    (home / ".stars").mkdir()
    head.record_path().write_text(json.dumps(record))
    return child


def test_stop_ends_what_carries_the_mark_and_nothing_else(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    child = recorded_child(own_home, "mine", watcher=os.getpid())
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, head.MARK: "no"})
    try:
        assert run("stop") == 0
        assert child.poll() is not None
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
        child.kill()
        assert child.stdout is not None
        child.stdout.close()
    assert f"process {os.getpid()} is gone" in capsys.readouterr().out, "the number is used by another process now"
    assert not head.record_path().exists()
    assert run("stop") == 2
    assert "no head was started here" in capsys.readouterr().err


def test_a_head_that_dies_at_once_is_reported_with_its_log(
    ray: Path, own_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (ray / "ray").write_text("#!/bin/sh\npwd\necho no room for a head >&2\nexit 1\n")
    assert run("head", "--port", "0", "--dashboard-port", "0") == 2
    shown = capsys.readouterr()
    assert "no room for a head" in shown.err
    assert str(own_home / ".stars") in shown.err, "it is not started in the checkout"
    assert "the head is stopped" in shown.out
    assert not head.record_path().exists()


def test_a_dead_watcher_does_not_count_as_alive_until_it_is_waited_for() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    watcher = head.Head(pid=child.pid, created=psutil.Process(child.pid).create_time(), mark="m", address="")
    assert watcher.watched()
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert psutil.Process(child.pid).status() == psutil.STATUS_ZOMBIE
    assert not watcher.watched()
    child.wait()
    assert not watcher.watched()


def test_one_head_at_a_time(own_home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    me = psutil.Process()
    (own_home / ".stars").mkdir()
    record = {"pid": me.pid, "created": me.create_time(), "mark": "m", "address": "http://127.0.0.1:1"}
    head.record_path().write_text(json.dumps(record))
    assert run("head", "--port", "0", "--dashboard-port", "0") == 2
    assert f"a head runs already: http://127.0.0.1:1, process {me.pid}" in capsys.readouterr().err
    assert jobs.address() == "http://127.0.0.1:1"
    head.record_path().write_text("{}")
    assert run("stop") == 2
    assert "is not the record of a head" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("entrypoint", "stem"),
    [
        (["python", "sweeps/lr_decay.py", "--seeds", "2"], "lr_decay"),
        (["python", "-m", "tests.cluster.tiny_sweep"], "tiny_sweep"),
        (["bash", "-c", "exit 3"], "bash"),
        (["python", "a b.py"], "a-b"),
    ],
)
def test_a_job_is_named_by_what_it_runs(entrypoint: list[str], stem: str) -> None:
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    names = {jobs.job_name(entrypoint, now) for _ in range(3)}
    assert len(names) > 1, "the same work may be submitted twice in a second"
    assert all(name.startswith(f"{stem}-20260102T030405Z-") for name in names)


def test_submit_calls_ray_and_ends_like_the_job(
    ray: Path, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(jobs, "job_name", lambda *_: "decay-1")
    dashboard.jobs = [a_job("decay-1", "FAILED", 3)]
    (ray / "status").write_text("1")
    assert run("submit", "--", "python", "sweeps/lr_decay.py", "--no-wait", "--set", "layer_decay=0.2,0.4") == 3
    mode, address, *words = (ray / "called").read_text().splitlines()
    assert (mode, address) == ("token", dashboard.address)
    command = ["job", "submit", "--submission-id", "decay-1", "--working-dir", ".", "--"]
    command += ["python", "sweeps/lr_decay.py", "--no-wait", "--set", "layer_decay=0.2,0.4"]
    assert words == command
    shown = capsys.readouterr().out
    assert shlex.join(["ray", *command]) in shown
    assert "decay-1: FAILED" in shown
    assert TOKEN not in shown


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [("SUCCEEDED", 0, 0), ("FAILED", 2, 2), ("FAILED", -9, 137), ("FAILED", None, 1), ("STOPPED", None, 143)],
)
def test_exit_statuses(status: str, code: int | None, expected: int) -> None:
    job = jobs.Job(name="a", status=status, entrypoint="a", started="", exit_status=code)
    assert job.ended
    assert jobs.exit_status(job) == expected


def test_submit_without_waiting_ends_with_the_submission(ray: Path, dashboard: Dashboard) -> None:
    assert run("submit", "--no-wait", "--", "python", "a.py") == 0
    assert "--no-wait" in (ray / "called").read_text().splitlines()
    (ray / "status").write_text("7")
    assert run("submit", "--no-wait", "--", "python", "a.py") == 7


def test_a_refused_submission_is_no_success(
    ray: Path, dashboard: Dashboard, capsys: pytest.CaptureFixture[str]
) -> None:
    (ray / "status").write_text("1")
    assert run("submit", "--", "python", "a.py") == 1
    assert "not submitted" in capsys.readouterr().out


def test_what_cannot_be_submitted_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("submit") == 2
    assert "submit has no command" in capsys.readouterr().err
    assert run("submit", "--", "python", "a.py") == 2
    assert "no head is known" in capsys.readouterr().err
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert run("submit", "--", "python", "a.py") == 2
    assert "RAY_ADDRESS is 10.0.0.1:6379; allowed: the dashboard's address" in capsys.readouterr().err


def test_stop_a_job(ray: Path, dashboard: Dashboard) -> None:
    (ray / "status").write_text("4")
    assert run("stop", "decay-1") == 4
    assert (ray / "called").read_text().splitlines()[2:] == ["job", "stop", "decay-1"]


def test_the_dashboard_is_read(dashboard: Dashboard) -> None:
    dashboard.jobs = [a_job("later", start=2000), a_job("first", "SUCCEEDED", 0, start=1000)]
    first, later = jobs.jobs(dashboard.address)
    assert (first.name, first.ended, first.started) == ("first", True, "1970-01-01T00:00:01+00:00")
    assert (later.name, later.ended) == ("later", False)
    assert jobs.resources(dashboard.address) == {"CPU": (1.5, 4.0), "GPU": (0.0, 2.0)}
    assert jobs.answers(dashboard.address)
    jobs.stop(dashboard.address, "later")
    assert dashboard.stopped == ["later"]


def test_a_wrong_token_is_told_from_none(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    with pytest.raises(jobs.NoHeadError, match="403: the token is another one"):
        jobs.jobs(dashboard.address)
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    with pytest.raises(jobs.NoHeadError, match="401: the token is missing"):
        jobs.jobs(dashboard.address)
    assert not jobs.answers(dashboard.address)
    assert not jobs.answers(f"http://127.0.0.1:{head.free_port()}")


def test_status_shows_store_and_cluster(
    dashboard: Dashboard, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stars.store import Store

    store = Store(tmp_path / "store")
    dashboard.jobs = [a_job(f"decay-{number:02}", start=number) for number in range(12)]
    assert run("status", "--store", str(store.location)) == 0
    shown = capsys.readouterr().out
    assert f"cluster  {dashboard.address}: 1.5 of 4 CPU in use, 0 of 2 GPU in use" in shown
    assert "decay-11  RUNNING" in shown
    assert "decay-01" not in shown
    assert "and 2 earlier jobs" in shown
    assert run("status", "--store", str(store.location), "--sweep", "unheard") == 2
    monkeypatch.delenv("RAY_ADDRESS")
    capsys.readouterr()
    assert run("status", "--store", str(store.location)) == 0
    assert "cluster  none" in capsys.readouterr().out
