"""Ray's jobs: what is submitted, how it is called, how it ended. Talks to the dashboard's HTTP interface, without Ray.

`ray job submit` ends with 1 whatever a failed job's own exit status was, with 0 for a stopped one, and needs to be told
by `RAY_AUTH_MODE` to send its token. Here the job's own exit status comes back.
"""

import itertools
import json
import os
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.head import own_programs, recorded, token

STOPPED = 143
"""Exit status for a job that was stopped, as a shell has it for a program ended by SIGTERM."""
_PATIENCE_SECONDS = 10.0
_ENDED = {"SUCCEEDED", "FAILED", "STOPPED"}


class NoHeadError(Exception):
    """No head answers at the address; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A submitted job.

    Attributes:
        name: its submission id.
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        entrypoint: its command.
        started: UTC, ISO 8601.
        exit_status: of its command, None while it runs or when it was killed.
    """

    name: str
    status: str
    entrypoint: str
    started: str
    exit_status: int | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.status in _ENDED


def address() -> str | None:
    """The dashboard's address: `$RAY_API_SERVER_ADDRESS`, `$RAY_ADDRESS`, or that of the head started here, or none.

    Raises:
        ValueError: an address of another kind.
    """
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        if given := os.environ.get(name, ""):
            if not given.startswith(("http://", "https://")):
                raise ValueError(f"{name} is {given}; allowed: the dashboard's address, such as http://127.0.0.1:8265")
            return given.rstrip("/")
    head = recorded()
    return head.address if head is not None and head.watched() else None


def settings(server: str) -> dict[str, str]:
    """What Ray's own commands need in their environment to reach that head."""
    return {"RAY_AUTH_MODE": "token", "RAY_API_SERVER_ADDRESS": server, **own_programs()}


def job_name(entrypoint: Sequence[str], now: datetime) -> str:
    """A submission id that says what runs: the script's name, the time (UTC), four random digits."""
    module = next((word for before, word in itertools.pairwise(entrypoint) if before == "-m"), None)
    script = next((word for word in entrypoint if word.endswith(".py")), entrypoint[0])
    stem = module.rpartition(".")[2] if module else Path(script).stem
    return f"{re.sub(r'[^A-Za-z0-9_-]', '-', stem)}-{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def submit_command(entrypoint: Sequence[str], name: str, *, wait: bool) -> list[str]:
    """Ray's own command that submits the working directory and runs `entrypoint` in it."""
    options = ["--submission-id", name, "--working-dir", ".", *([] if wait else ["--no-wait"])]
    return ["ray", "job", "submit", *options, "--", *entrypoint]


def exit_status(job: Job) -> int:
    """What a shell would have said of the job's command: its exit status, 128 and the signal for a killed one."""
    if job.status == "SUCCEEDED":
        return 0
    if job.status == "STOPPED":
        return STOPPED
    if job.exit_status is None or job.exit_status == 0:
        return 1
    return job.exit_status if job.exit_status > 0 else 128 - job.exit_status


def job(server: str, name: str) -> Job:
    """One job. Raises NoHeadError when nothing answers, or knows no such job."""
    return _job(ask(server, f"/api/jobs/{name}"))


def jobs(server: str) -> list[Job]:
    """Every job that was submitted, in the order of their start. Raises NoHeadError when nothing answers."""
    found = [_job(content) for content in ask(server, "/api/jobs/") if content["type"] == "SUBMISSION"]
    return sorted(found, key=lambda job: job.started)


def stop(server: str, name: str) -> None:
    """Ask a job to stop, without waiting for it. Raises NoHeadError when nothing answers."""
    ask(server, f"/api/jobs/{name}/stop", method="POST")


def resources(server: str) -> dict[str, tuple[float, float]]:
    """Of the whole cluster, in use and in all: `CPU`, and `GPU` where there are any. Raises NoHeadError."""
    usage: Mapping[str, Any] = ask(server, "/api/cluster_status")["data"]["clusterStatus"]["loadMetricsReport"]["usage"]
    return {name: (float(used), float(total)) for name, (used, total) in usage.items() if name in ("CPU", "GPU")}


def answers(server: str) -> bool:
    """Whether a head takes jobs there."""
    try:
        jobs(server)
        resources(server)
    except (NoHeadError, KeyError, TypeError):
        # A head that is only just up says nothing of its resources yet.
        return False
    return True


def ask(server: str, path: str, method: str = "GET") -> Any:
    """The dashboard's answer, read from JSON. Raises NoHeadError saying what it said instead."""
    secret = token()
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    request = urllib.request.Request(server + path, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS) as reply:
            return json.load(reply)
    except urllib.error.HTTPError as problem:
        reason = "the token is missing" if problem.code == 401 else "the token is another one"
        said = reason if problem.code in (401, 403) else problem.read().decode(errors="replace").strip()[-200:]
        raise NoHeadError(f"{server}{path} answers {problem.code}: {said}") from problem
    except (OSError, ValueError) as problem:
        raise NoHeadError(f"{server} does not answer: {problem}") from problem


def _job(content: Mapping[str, Any]) -> Job:
    started = datetime.fromtimestamp((content["start_time"] or 0) / 1000, UTC)
    return Job(
        name=content["submission_id"],
        status=content["status"],
        entrypoint=content["entrypoint"],
        started=started.isoformat(timespec="seconds"),
        exit_status=content["driver_exit_code"],
    )
