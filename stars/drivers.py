"""Who is at work in a store: one small file a driver, rewritten every few seconds while it lives.

    <store>/drivers/<driver>.json

The file is the driver's pulse (`beat` counts on), its account (`spent`), and what a status shows. It decides no
number: what is computed once and for all stands in outcomes. Whether a driver lives is judged by watching whether its
beat moves, never by comparing two machines' clocks; on the driver's own machine the process table tells at once.
"""

import json
import os
import platform
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from stars.outcome import StoreError
from stars.store import Store

BEAT_SECONDS = 5.0
"""How often a driver rewrites its file."""
SILENCE_SECONDS = 60.0
"""A driver whose beat has not moved for so long, as observed, is dead."""
RECORD_SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process, told apart from any other one before and after it on any machine."""

    machine: str
    pid: int
    created: float

    def here(self) -> bool:
        """Whether it belongs to this machine, so that the process table can tell of it."""
        return self.machine == _machine()

    def exists(self) -> bool:
        """Whether this machine's process table has it."""
        try:
            process = psutil.Process(self.pid)
            # One that has died and that nobody has buried is dead.
            return abs(process.create_time() - self.created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


@dataclass(frozen=True, kw_only=True)
class Driver:
    """What a driver says of itself.

    Attributes:
        name: 32 hexadecimal digits.
        process: which process it is.
        started: UTC, ISO 8601.
        command: as typed.
        job: submission id of the Ray job it runs as; empty outside a job.
        sweep: name of the sweep.
        run: what no two drivers may do at once: `sweeps/<sweep>/<plan hash>` or `searches/<sweep>/<study>`.
        beat: counts on while the driver lives.
        ended: empty while it runs; then `finished`, `unfinished`, `interrupted` or `budget`.
        units: how many there are in all (`total`), and of them `done`, `failed`, `running`.
        running: what runs now, each with `fingerprint`, `kind`, `since` (UTC; empty until it has its place) and
            `detail`.
        failed: what failed, each with `fingerprint`, `kind`, `status` and `reason`.
        capacity: `cpus` and `gpus` that may be used now.
        in_use: `cpus` and `gpus` that running units hold.
        spent: `seconds` of the driver's life, `cpu_seconds` and `gpu_seconds` that units held, and `usd`, where there
            is a price.
        left_seconds: expected; None when nobody can tell.
    """

    name: str
    process: Process
    started: str
    command: str
    job: str
    sweep: str
    run: str
    beat: int = 0
    ended: str = ""
    units: Mapping[str, int] = field(default_factory=dict)
    running: tuple[Mapping[str, str], ...] = ()
    failed: tuple[Mapping[str, str], ...] = ()
    capacity: Mapping[str, float] = field(default_factory=dict)
    in_use: Mapping[str, float] = field(default_factory=dict)
    spent: Mapping[str, float] = field(default_factory=dict)
    left_seconds: float | None = None
    schema: int = RECORD_SCHEMA

    def write(self, store: Store) -> None:
        """Rewrite the driver's file."""
        store.replace(f"drivers/{self.name}.json", json.dumps(asdict(self), sort_keys=True, indent=1).encode())


def begin(*, command: str, sweep: str, run: str) -> Driver:
    """The record of this process as a driver."""
    me = psutil.Process()
    return Driver(
        name=uuid.uuid4().hex,
        process=Process(machine=_machine(), pid=me.pid, created=me.create_time()),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        job=os.environ.get("RAY_JOB_SUBMISSION_ID", ""),
        sweep=sweep,
        run=run,
    )


def read(store: Store, name: str) -> Driver | None:
    """One driver's record; None when there is none. Raises StoreError naming a file that cannot be read."""
    key = f"drivers/{name}.json"
    try:
        content: dict[str, Any] = json.loads(store.read(key))
        if content["schema"] != RECORD_SCHEMA:
            raise ValueError(f"schema {content['schema']}")
        process = Process(**content.pop("process"))
        running, failed = (tuple(content.pop(name)) for name in ("running", "failed"))
        return Driver(process=process, running=running, failed=failed, **content)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as problem:
        raise StoreError(f"{store.location / key}: not a record this version reads ({problem})") from problem


def read_all(store: Store) -> Iterator[Driver]:
    """Every driver that ever worked here, in the order of their start."""
    found = [read(store, Path(key).stem) for key in store.keys("drivers", ".json")]
    yield from sorted((driver for driver in found if driver), key=lambda driver: driver.started)


class Observer:
    """Tells living drivers from dead ones by watching their beats."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        """Watch the drivers of a store; a driver counts as alive until its silence has been long enough."""
        self._store, self._clock = store, clock
        self._seen: dict[str, tuple[int, float]] = {}

    def alive(self, name: str) -> bool:
        """Whether the driver lives, as far as can be told now."""
        driver = read(self._store, name)
        if driver is None or driver.ended:
            return False
        if driver.process.here():
            return driver.process.exists()
        beat, since = self._seen.get(name, (-1, 0.0))
        if driver.beat != beat:
            self._seen[name] = (driver.beat, self._clock())
            return True
        return self._clock() - since < SILENCE_SECONDS

    def moving(self, name: str) -> bool | None:
        """Whether the driver certainly lives: True once its beat was seen to move; None while nobody can tell yet."""
        driver = read(self._store, name)
        if driver is None or driver.ended:
            return False
        if driver.process.here():
            return driver.process.exists()
        first = name not in self._seen
        before = self._seen.get(name)
        lives = self.alive(name)
        if not lives:
            return False
        return True if not first and before is not None and self._seen[name][0] != before[0] else None


def _machine() -> str:
    """The host, its boot and its process namespace: where process numbers mean the same."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [platform.node(), boot.read_text().strip() if boot.exists() else ""]
    return " ".join([*parts, str(namespace.readlink()) if namespace.exists() else ""])
