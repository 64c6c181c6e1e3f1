"""The command line of a cluster: a head on this machine, jobs, how they fare.

    python -m cluster head
    python -m cluster submit -- python sweeps/lr_decay.py
    python -m cluster status
    python -m cluster stop [JOB]

Each prints the command of Ray's that it runs. Sweeps need none of this: `python sweeps/lr_decay.py` runs on this
machine by itself. See docs/CLUSTER.md.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import tyro
from tyro.extras import SubcommandApp

from cluster import jobs
from cluster.head import (
    STOP_SECONDS,
    Foreground,
    choose_ports,
    end,
    keep_token,
    record_path,
    recorded,
    start_command,
    start_settings,
    typed,
)
from stars.outcome import StoreError
from stars.store import Store, default_location
from stars.terminal import console

_CONSOLE = console()
_NUM_JOBS_SHOWN = 10


def head(
    cpus: int | None = None,
    gpus: int | None = None,
    port: int = 6379,
    dashboard_port: int = 8265,
    temp_dir: Path | None = None,
) -> None:
    """Start a Ray head on this machine and stay with it until Ctrl-C, which stops it and its jobs.

    It listens on 127.0.0.1 only and takes work only from those who have its token.

    Args:
        cpus: processors that stages may use. Default: all.
        gpus: GPUs that stages may use. Default: all.
        port: of the cluster; 0 takes any.
        dashboard_port: where jobs are submitted and the dashboard is seen; 0 takes any.
        temp_dir: where Ray keeps its logs and sockets; a short path. Default: Ray's own, /tmp/ray.
    """
    ports = choose_ports(port, dashboard_port)
    address = f"http://127.0.0.1:{ports.dashboard}"
    kept, settings = keep_token(), start_settings()
    command = start_command(ports, cpus=cpus, gpus=gpus, temporary=temp_dir)
    with Signals() as asked:
        foreground = Foreground(command, settings, address, record_path().with_suffix(".log"))
        _say(f"$ {typed(command, settings)}")
        try:
            if not foreground.wait_until(lambda: jobs.answers(address), asked):
                _fail_unless(asked(), foreground.log)
                return
            _say(f"head     {address}")
            _say(f"token    {kept}")
            _say("submit   python -m cluster submit -- python sweeps/lr_decay.py")
            _say("stop     Ctrl-C, or python -m cluster stop")
            _fail_unless(foreground.watch(asked), foreground.log)
            _stop_jobs(address)
        finally:
            foreground.stop()
            _say("the head is stopped")


def submit(entrypoint: tyro.conf.Positional[tuple[str, ...]], no_wait: bool = False) -> None:
    """Submit the working directory with a command to run in it, and follow its output; ends with its exit status.

    The job goes on when this command is interrupted. A stopped job ends with 143.

    Args:
        entrypoint: the command, after `--`.
        no_wait: do not follow; the exit status is that of the submission.
    """
    if not entrypoint:
        raise ValueError("submit has no command; allowed: python -m cluster submit -- python sweeps/lr_decay.py")
    server = _server()
    name = jobs.job_name(entrypoint, datetime.now(UTC))
    command, settings = jobs.submit_command(entrypoint, name, wait=not no_wait), jobs.settings(server)
    status = _run(command, settings)
    if no_wait:
        sys.exit(status)
    try:
        job = jobs.job(server, name)
    except jobs.NoHeadError as problem:
        _say(f"{name}: not submitted, or nobody can tell how it ended: {problem}")
        sys.exit(status or 1)
    _say(f"{job.name}: {job.status}")
    sys.exit(jobs.exit_status(job) if job.ended else status or 1)


def status(store: Path | None = None, sweep: str | None = None) -> None:
    """What the store holds and who is at work in it; then the cluster, when one answers.

    Args:
        store: the store. Default: $STARS_STORE, else ~/.stars/store.
        sweep: only this sweep.
    """
    from cluster.status import show_status

    opened = Store(store or default_location(), read_only=True)
    code = show_status(_CONSOLE, opened, sweep=sweep)
    server = jobs.address()
    if server is None:
        _say("cluster  none: RAY_ADDRESS is not set, and no head was started here")
    else:
        _show_cluster(server)
    sys.exit(code)


def stop(job: tyro.conf.Positional[Annotated[str | None, tyro.conf.arg(metavar="JOB")]] = None) -> None:
    """Stop a job; or, without one, the head that was started here, with its jobs.

    Units of a stopped job save a checkpoint; the same sweep, submitted again, goes on from there.

    Args:
        job: its submission id, as `status` lists it.
    """
    if job is not None:
        server = _server()
        sys.exit(_run(["ray", "job", "stop", job], jobs.settings(server)))
    found = recorded()
    if found is None:
        raise ValueError(f"no head was started here ({record_path()}); allowed: python -m cluster stop JOB")
    _say(f"$ kill -TERM {found.pid}" if found.watched() else f"process {found.pid} is gone; stopping what it left")
    left = end(found)
    _say(f"the head is stopped{f'; {left} of its processes had been left' if left else ''}")


class Signals:
    """Within, Ctrl-C and SIGTERM are noted, and nothing else happens."""

    def __enter__(self) -> Callable[[], bool]:
        """Begin; what comes back tells whether one has come."""
        self._come = False
        self._before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        return lambda: self._come

    def __exit__(self, *problem: object) -> None:
        """Put back what was there."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, *signal_and_frame: object) -> None:
        self._come = True


def _say(line: str) -> None:
    _CONSOLE.print(line, highlight=False, markup=False)


def _server() -> str:
    server = jobs.address()
    if server is None:
        raise ValueError("no head is known; allowed: RAY_ADDRESS=http://…, or one started by python -m cluster head")
    return server


def _run(command: Sequence[str], settings: dict[str, str]) -> int:
    """Run one of Ray's commands, after printing it. Returns its exit status."""
    _say(f"$ {typed(command, settings)}")
    sys.stdout.flush()
    try:
        return subprocess.run(command, env={**os.environ, **settings}, check=False).returncode
    except KeyboardInterrupt:
        _say("no longer followed; the job goes on: python -m cluster status, python -m cluster stop JOB")
        return 130


def _fail_unless(good: bool, log: Path) -> None:
    if not good:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise ValueError(f"the head did not start, or ended by itself; {log} ends with:\n{tail}")


def _stop_jobs(server: str) -> None:
    """Let what runs save its checkpoints before Ray goes."""
    deadline = time.monotonic() + STOP_SECONDS
    try:
        running = [job for job in jobs.jobs(server) if not job.ended]
        for job in running:
            _say(f"stopping {job.name}")
            jobs.stop(server, job.name)
        while running and time.monotonic() < deadline:
            time.sleep(0.2)
            running = [job for job in jobs.jobs(server) if not job.ended]
    except jobs.NoHeadError as problem:
        _say(f"jobs could not be asked to stop: {problem}")


def _show_cluster(server: str) -> None:
    try:
        parts = [f"{used:g} of {total:g} {name} in use" for name, (used, total) in jobs.resources(server).items()]
        found = jobs.jobs(server)
    except jobs.NoHeadError as problem:
        _say(f"cluster  {problem}")
        return
    _say(f"cluster  {server}: {', '.join(parts)}")
    for job in found[-_NUM_JOBS_SHOWN:]:
        _say(f"job      {job.name}  {job.status}  since {job.started}  {job.entrypoint}")
    if len(found) > _NUM_JOBS_SHOWN:
        _say(f"and {len(found) - _NUM_JOBS_SHOWN} earlier jobs: ray job list")


def application() -> SubcommandApp:
    """The commands."""
    top = SubcommandApp()
    for command in (head, submit, status, stop):
        top.command(command)
    return top


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; bad input ends with status 2 and one line."""
    try:
        application().cli(
            prog="python -m cluster", description=__doc__, args=arguments, config=(tyro.conf.FlagCreatePairsOff,)
        )
    except (ValueError, OSError, StoreError, jobs.NoHeadError) as problem:
        print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - the edge
        sys.exit(2)


if __name__ == "__main__":
    main()
