"""MLflow (`pip install 'stars-skeleton[mlflow]'`): one experiment a sweep, one run a stage.

`MLFLOW_TRACKING_URI` names the server; without it, runs go to `<store>/mlflow/mlflow.db`
(`mlflow ui --backend-store-uri sqlite:///…/mlflow.db`, with the full package `mlflow`).
"""

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

# Read on import: nobody else is told of what runs here.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from cluster.tracking.tracker import OpenRun, hyperparameters, label
from stars.stage import Stage, fingerprint
from stars.store import Store

_FINGERPRINT = "stars.fingerprint"
_STATUS = {"finished": "FINISHED", "interrupted": "KILLED", "stopped": "KILLED"}
# MLflow refuses a batch with more.
_NUM_PARAMETERS = 100


class Page:
    """One run of MLflow."""

    def __init__(self, client: MlflowClient, run: str) -> None:
        """Write to the run of this identifier."""
        self._client, self._run = client, run

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One metric a number."""
        now = time.time_ns() // 1_000_000
        self._client.log_batch(self._run, metrics=[Metric(name, value, now, step) for name, value in metrics.items()])

    def end(self, status: str, numbers: Mapping[str, float], step: int) -> None:
        """The unit's numbers as metrics at the last step; any other end than a good one is MLflow's FAILED."""
        self.log(numbers, step)
        self._client.set_tag(self._run, "stars.ended", status)
        self._client.set_terminated(self._run, status=_STATUS.get(status, "FAILED"))


def connect(store: Store, sweep: str, context: Mapping[str, Any]) -> OpenRun:
    """Runs of the experiment named like the sweep, made when the first stage reports."""
    # Its lines about tables made would run through the live progress.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    folder = store.location / "mlflow"
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not address:
        folder.mkdir(exist_ok=True)
        address = f"sqlite:///{folder / 'mlflow.db'}"
    tags = {f"stars.{name}": str(value) for name, value in context.items()}
    client: MlflowClient | None = None

    def open_run(stage: Stage, _step: int) -> Page:
        nonlocal client
        # Not before it is needed, since it may wait for the server.
        client = client or MlflowClient(tracking_uri=address)
        known = client.get_experiment_by_name(sweep)
        experiment = known.experiment_id if known else client.create_experiment(sweep)
        name = fingerprint(stage)
        found = client.search_runs([experiment], filter_string=f"tags.`{_FINGERPRINT}` = '{name}'", max_results=1)
        if found:
            run = found[0].info.run_id
            client.update_run(run, status="RUNNING")
            return Page(client, run)
        run = client.create_run(experiment, run_name=label(stage), tags={**tags, _FINGERPRINT: name}).info.run_id
        parameters = [Param(key, str(value)) for key, value in hyperparameters(stage).items()]
        for first in range(0, len(parameters), _NUM_PARAMETERS):
            client.log_batch(run, params=parameters[first : first + _NUM_PARAMETERS])
        return Page(client, run)

    return open_run
