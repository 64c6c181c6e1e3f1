"""A Ray head on this machine: started in the foreground, bound to 127.0.0.1, behind a token, and stopped whole.

`ray stop` would end every Ray process of the machine, whoever started it. Here, every process of a head carries a mark
in its environment, and only what carries it is stopped.
"""

import json
import os
import platform
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

MARK = "STARS_HEAD"
"""The environment variable that every process of a head carries."""
STOP_SECONDS = 20
"""Seconds that a stopped job has to save its work: units need up to 10, and Ray gives 3 unless told."""
_START_SECONDS = 120.0
_OBJECT_STORE_BYTES = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class Head:
    """A head that was started on this machine.

    Attributes:
        pid: the foreground process that watches over it.
        created: when that process began (seconds since 1970): numbers of processes are used again.
        mark: what its processes carry.
        address: of its dashboard, where jobs are submitted.
    """

    pid: int
    created: float
    mark: str
    address: str

    def watched(self) -> bool:
        """Whether the foreground process lives; one that is dead, but that nobody has waited for, does not."""
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def processes(self) -> list[psutil.Process]:
        """What carries the mark, this process excepted."""
        return [process for process in psutil.process_iter() if process.pid != os.getpid() and self._marked(process)]

    def _marked(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get(MARK) == self.mark
        except (psutil.AccessDenied, psutil.NoSuchProcess, OSError):
            # Somebody else's, gone by now, or going: none that could be stopped.
            return False


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Where a head listens, all on 127.0.0.1."""

    cluster: int
    dashboard: int
    agent: int
    client: int


def token_path() -> Path:
    """Where Ray looks for the token: `$RAY_AUTH_TOKEN_PATH`, else `~/.ray/auth_token`."""
    given = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    return Path(given).expanduser() if given else Path.home() / ".ray" / "auth_token"


def token() -> str | None:
    """The token as Ray finds it, None if there is none. Raises ValueError for an empty file."""
    if given := os.environ.get("RAY_AUTH_TOKEN", ""):
        return given
    path = token_path()
    if not path.exists():
        return None
    if content := path.read_text().strip():
        return content
    raise ValueError(f"{path} is empty; allowed: a token, or no file")


def keep_token() -> str:
    """Where the token is kept; makes one, readable by its owner alone, if there is none."""
    if "RAY_AUTH_TOKEN" in os.environ:
        return "$RAY_AUTH_TOKEN"
    path = token_path()
    if token() is None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    # One that Ray made is readable by everybody.
    path.chmod(0o600)
    return str(path)


def record_path() -> Path:
    """Where the head of this machine is written down; the home folder may be shared between machines."""
    return Path.home() / ".stars" / f"head-{platform.node()}.json"


def recorded() -> Head | None:
    """The head that was last started here and not stopped; it may be dead. Raises ValueError for a broken record."""
    path = record_path()
    if not path.exists():
        return None
    try:
        return Head(**json.loads(path.read_text()))
    except (ValueError, TypeError) as problem:
        raise ValueError(f"{path} is not the record of a head ({problem}); allowed: to delete it") from problem


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def choose_ports(port: int, dashboard_port: int) -> Ports:
    """The ports asked for (0: any), and any for what nobody types. Raises ValueError for one that is taken."""
    for name, asked in (("--port", port), ("--dashboard-port", dashboard_port)):
        with socket.socket() as probe:
            try:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", asked))
            except (OSError, OverflowError) as problem:
                raise ValueError(f"{name} is {asked}; allowed: a free port, or 0 for any ({problem})") from problem
    return Ports(
        cluster=port or free_port(), dashboard=dashboard_port or free_port(), agent=free_port(), client=free_port()
    )


def start_command(ports: Ports, *, cpus: int | None, gpus: int | None, temporary: Path | None) -> list[str]:
    """Ray's own command for such a head."""
    command = ["ray", "start", "--head", "--block", "--disable-usage-stats", f"--port={ports.cluster}"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={ports.dashboard}"]
    command += [f"--dashboard-agent-listen-port={ports.agent}", f"--ray-client-server-port={ports.client}"]
    # Stages read and write files; next to nothing passes through Ray's object store.
    command += [f"--object-store-memory={_OBJECT_STORE_BYTES}"]
    if cpus is not None:
        command += [f"--num-cpus={cpus}"]
    if gpus is not None:
        command += [f"--num-gpus={gpus}"]
    if temporary is not None:
        command += [f"--temp-dir={temporary}"]
    return command


def start_settings() -> dict[str, str]:
    """What a head needs in its environment; its jobs and workers inherit it."""
    return {
        "RAY_AUTH_MODE": "token",
        # The name speaks of other systems; what 0 does is to use 127.0.0.1 for every port, and not the outer address.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS),
        **own_programs(),
    }


def own_programs() -> dict[str, str]:
    """The search path on which `ray` and a job's `python` are those of the environment that runs this."""
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def typed(command: Sequence[str], settings: Mapping[str, str]) -> str:
    """The command line as a person would type it."""
    words = []
    for name, value in settings.items():
        ours, _, rest = value.partition(os.pathsep)
        same = name == "PATH" and rest == os.environ.get("PATH", os.defpath)
        words.append(f'{name}={shlex.quote(ours)}:"$PATH"' if same else f"{name}={shlex.quote(value)}")
    return " ".join([*words, shlex.join(command)])


class Foreground:
    """Runs a head until it is told to stop."""

    def __init__(self, command: Sequence[str], settings: Mapping[str, str], address: str, log: Path) -> None:
        """Start it; its output goes to `log`. Raises ValueError when this machine has one already."""
        before = recorded()
        if before is not None and before.watched():
            raise ValueError(f"a head runs already: {before.address}, process {before.pid}; allowed: one at a time")
        me = psutil.Process()
        self.head = Head(pid=me.pid, created=me.create_time(), mark=uuid.uuid4().hex, address=address)
        self.log = log
        record_path().parent.mkdir(parents=True, exist_ok=True)
        # Before the start: should this process be killed, `stop` finds what it left.
        record_path().write_text(json.dumps(asdict(self.head)))
        # A session of its own, so that Ctrl-C reaches this process only, and Ray is stopped in order.
        with log.open("w") as file:
            self._ray = subprocess.Popen(
                command,
                env={**os.environ, **settings, MARK: self.head.mark},
                # Not where this was typed: a head outlives checkouts, and its workers import no code from there.
                cwd=record_path().parent,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until(self, answers: Callable[[], bool], stopping: Callable[[], bool]) -> bool:
        """Wait until the head answers; False when it ended, was told to stop, or took too long."""
        deadline = time.monotonic() + _START_SECONDS
        while self._ray.poll() is None and not stopping() and time.monotonic() < deadline:
            if answers():
                return True
            time.sleep(0.2)
        return False

    def watch(self, stopping: Callable[[], bool]) -> bool:
        """Sleep while the head lives; False when it ended by itself."""
        while not stopping():
            if self._ray.poll() is not None:
                return False
            time.sleep(0.2)
        return True

    def stop(self) -> None:
        """Stop the head and everything that it started; nothing is left."""
        if self._ray.poll() is None:
            self._ray.terminate()
            try:
                self._ray.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._ray.kill()
                self._ray.wait()
        end(self.head)


def end(head: Head) -> int:
    """Stop what a head has left behind, and forget it. Returns how many processes there were."""
    if head.watched() and head.pid != os.getpid():
        watcher = psutil.Process(head.pid)
        watcher.send_signal(signal.SIGTERM)
        # It stops the jobs first, then Ray.
        psutil.wait_procs([watcher], timeout=3 * STOP_SECONDS)
    found = head.processes()
    for end_with in (psutil.Process.terminate, psutil.Process.kill):
        for process in (left := head.processes()):
            if process.is_running():
                _signal(process, end_with)
        psutil.wait_procs(left, timeout=5)
    record_path().unlink(missing_ok=True)
    return len(found)


def _signal(process: psutil.Process, end_with: Callable[[psutil.Process], None]) -> None:
    try:
        end_with(process)
    except psutil.NoSuchProcess:
        # It ended first, which is what was wanted.
        return
