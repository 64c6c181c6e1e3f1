"""One Ray session: a quiet local cluster, or the cluster that `RAY_ADDRESS` names."""

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping

# Ray reads these when it is imported, here and in every worker.
for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    # A node that an autoscaler adds takes minutes to come.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "300",
    "RAY_TQDM": "0",
    # Ctrl-C is ours to handle.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The searcher suggests what has room; Tune shall not throttle it by the processors that are there at the start.
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",
    # Nobody restores Tune's own experiment: saving it would cost more with every trial.
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
}.items():
    os.environ.setdefault(_name, _value)
if "RAY_ADDRESS" not in os.environ:
    # A cluster of our own: nobody without this token may submit work to it.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

import ray  # noqa: E402
import ray._private.state  # noqa: E402

from cluster.resources import Amount, Capacity, declared, growing  # noqa: E402

_OBJECT_STORE_BYTES = 128 * 2**20


@contextlib.contextmanager
def session() -> Iterator[None]:
    """Connect where `RAY_ADDRESS` says, else start a local cluster and stop it at the end; joins a running session."""
    if ray.is_initialized():
        yield
        return
    if "RAY_ADDRESS" in os.environ:
        ray.init(log_to_driver=False, logging_level="error")
    else:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level="error",
            object_store_memory=_OBJECT_STORE_BYTES,
        )
    try:
        yield
    finally:
        ray.shutdown()


def capacity() -> Capacity:
    """Processors and GPUs of the cluster: what its nodes have, and what its autoscaler may add.

    How far it grows is what the platform has told Ray or, since Ray's own autoscalers (of `ray up` and of KubeRay) tell
    nothing, what `STARS_MAX_CPUS` and `STARS_MAX_GPUS` say. Raises DoesNotFit where they say no number.
    """
    nodes = [_amount(node["Resources"]) for node in ray.nodes() if node["Alive"]]
    told = _amount(ray._private.state.state.get_max_resources_from_cluster_config() or {})
    said = declared(os.environ)
    return growing(nodes, Amount(cpus=max(told.cpus, said.cpus), gpus=max(told.gpus, said.gpus)))


def _amount(resources: Mapping[str, float]) -> Amount:
    return Amount(cpus=float(resources.get("CPU", 0)), gpus=float(resources.get("GPU", 0)))
