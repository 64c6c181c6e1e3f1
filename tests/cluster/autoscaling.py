"""Ray clusters for tests: a head of its own, and an autoscaler that adds nodes which are only processes.

Every process carries a mark, and the token is new, so that nothing here touches, or is touched by, another cluster.
"""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cluster.head import MARK, Head, Ports, choose_ports, start_command, start_settings

HEAD_NODE = "f" * 51 + "00000"
"""How Ray's provider of such nodes knows the head; the nodes that it adds are counted from there."""
_PATIENCE = 120.0
_IDLE_MINUTES = 0.1


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A running cluster.

    Attributes:
        environment: what a driver needs to join it.
        mark: what its processes carry.
    """

    environment: Mapping[str, str]
    mark: str

    def processes(self) -> list[psutil.Process]:
        """Everything that belongs to it."""
        return Head(pid=0, created=0.0, mark=self.mark, address="").processes()

    def nodes(self) -> dict[str, psutil.Process]:
        """By name of every node the process that manages it."""
        found = {}
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == "raylet":
                    found[process.environ()["RAY_OVERRIDE_NODE_ID_FOR_TESTING"]] = process
        return found

    def busy_nodes(self, actor: str) -> set[str]:
        """The nodes on which an actor whose title begins so runs."""
        found = set()
        for name, manager in self.nodes().items():
            with contextlib.suppress(psutil.NoSuchProcess):
                if any(" ".join(child.cmdline()).startswith(f"ray::{actor}") for child in manager.children()):
                    found.add(name)
        return found


@contextlib.contextmanager
def autoscaling(*, max_workers: int) -> Iterator[Cluster]:
    """A head of one processor, whose autoscaler may add as many nodes of one processor; idle ones go after 6 s."""
    ports = choose_ports(0, 0)
    config = _autoscaler(f"127.0.0.1:{ports.cluster}", max_workers)
    settings = {
        "RAY_FAKE_CLUSTER": "1",
        "RAY_enable_autoscaler_v2": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_CLOUD_INSTANCE_ID": HEAD_NODE,
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_NODE,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(config, file)
        file.flush()
        with _running(ports, 1, settings, [f"--autoscaling-config={file.name}"]) as cluster:
            yield cluster


@contextlib.contextmanager
def fixed(*, cpus: int, settings: Mapping[str, str]) -> Iterator[Cluster]:
    """One node that stays as it is; `settings` are in the environment of every worker."""
    with _running(choose_ports(0, 0), cpus, settings, []) as cluster:
        yield cluster


@contextlib.contextmanager
def _running(ports: Ports, cpus: int, settings: Mapping[str, str], more: Sequence[str]) -> Iterator[Cluster]:
    # Ray's sockets lie there, whose paths may have no more than 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    token, mark = secrets.token_hex(32), uuid.uuid4().hex
    own = {**start_settings(), "RAY_AUTH_TOKEN": token, **settings, MARK: mark}
    joining = {**start_settings(), "RAY_ADDRESS": f"127.0.0.1:{ports.cluster}", "RAY_AUTH_TOKEN": token}
    cluster = Cluster(environment=joining, mark=mark)
    command = [*start_command(ports, cpus=cpus, gpus=0, temporary=folder), "--include-dashboard=false", *more]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    log = folder / "start.txt"
    with log.open("w") as file:
        # A session of its own: Ctrl-C reaches the test only, which stops the cluster in order.
        head = subprocess.Popen(
            command, env={**inherited, **own}, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait(head, log)
        yield cluster
    finally:
        _stop(head, cluster)
        shutil.rmtree(folder)


def _wait(head: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it answers; what it prints then is its own last word before it sleeps."""
    deadline = time.monotonic() + _PATIENCE
    while "Ray runtime started" not in log.read_text():
        assert head.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def _stop(head: subprocess.Popen[bytes], cluster: Cluster) -> None:
    """End everything that carries the mark."""
    head.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        head.wait(10)
    head.kill()
    head.wait()
    deadline = time.monotonic() + _PATIENCE
    while left := cluster.processes():
        assert time.monotonic() < deadline, f"{left} cannot be killed"
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5)


def _autoscaler(address: str, max_workers: int) -> dict[str, Any]:
    """What an autoscaler wants to know; most of it is for real machines, and must be there all the same."""
    empty = dict.fromkeys(
        (
            "initialization_commands",
            "setup_commands",
            "head_setup_commands",
            "worker_setup_commands",
            "head_start_ray_commands",
            "worker_start_ray_commands",
            "cluster_synced_files",
            "rsync_exclude",
            "rsync_filter",
        ),
        (),
    )
    node = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0}
    return {
        "cluster_name": "test",
        "max_workers": max_workers,
        "idle_timeout_minutes": _IDLE_MINUTES,
        "upscaling_speed": 100.0,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": HEAD_NODE,
            "launch_multiple": True,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {**node, "max_workers": 0},
            "ray.worker": {**node, "max_workers": max_workers},
        },
        "auth": {},
        "docker": {},
        "file_mounts": {},
        **empty,
    }
