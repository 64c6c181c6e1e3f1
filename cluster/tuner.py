"""The one call of Ray Tune, and what its callbacks pass on."""

import cluster.session  # noqa: F401 - first: it sets what Ray reads when it is imported  # isort: skip

import contextlib
import io
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from cluster.executor import Job, trial
from cluster.resources import Needs
from cluster.schedule import Ready

_LOG = logging.getLogger("stars")
_LEAVE_SECONDS = 2.0


class Listener(Protocol):
    """Who hears what Tune's trials do."""

    def unit_started(self, name: str) -> None:
        """A unit's trial has its resources."""

    def unit_progress(self, name: str, report: Mapping[str, Any]) -> None:
        """A unit reports."""

    def look(self) -> None:
        """Called all the time."""

    def may_start(self) -> bool:
        """Whether trials that have no place yet may still get one."""


def run_tune(searcher: Ready, job: Job, needs: Needs, listener: Listener) -> None:
    """Run trials until the searcher is finished."""
    scratch = Path(tempfile.mkdtemp(prefix="stars-tune-"))
    try:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(trial, job=job), reserved(needs)),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=InOrder(listener.may_start),
                num_samples=-1,
                reuse_actors=True,
                trial_dirname_creator=lambda made: str(made.trial_id),
                trial_name_creator=lambda made: str(made.trial_id),
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch),
                verbose=0,
                # A unit whose process died is queued again by us, who see whether it comes forward.
                failure_config=tune.FailureConfig(max_failures=0),
                callbacks=[Watch(listener)],
            ),
        )
        # Tune prints a banner whatever it is told.
        noise = io.StringIO()
        with contextlib.redirect_stdout(noise):
            tuner.fit()
        _LOG.debug("%s", noise.getvalue())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def reserved(needs: Needs) -> Callable[[dict[str, Any]], Any]:
    """What a trial reserves: a launcher nearly nothing, since its workers reserve for themselves."""
    worker = {"CPU": needs.worker.cpus, **({"GPU": needs.worker.gpus} if needs.worker.gpus else {})}

    def ask(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        # A processor share, however small, would keep the workers of a full machine waiting for ever.
        return tune.PlacementGroupFactory([{"memory": 1} if config["lane"] == "ray" else worker])

    return ask


class InOrder(FIFOScheduler):
    """Trials as they were suggested; those without a place are ended when nothing more may start.

    Tune's own first-come scheduler hands every process that becomes free to the oldest trial without a place, and ends
    the process that was being started for it: on a node that an autoscaler has just added none would ever come up while
    trials elsewhere are shorter than that. So nothing is chosen here; Tune then starts each trial in its own place, and
    gives a free process to the next one.
    """

    def __init__(self, may_start: Callable[[], bool]) -> None:
        """Nothing waits."""
        super().__init__()
        self._may_start = may_start
        self._pending: dict[str, float] = {}

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Choose none; end what shall not start any more."""
        if self._may_start():
            return
        for pending in [other for other in tune_controller.get_live_trials() if other.status == Trial.PENDING]:
            first_seen = self._pending.setdefault(pending.trial_id, time.monotonic())
            # One that goes into a free process is also pending, for a moment, and cannot be ended in it.
            if time.monotonic() - first_seen > _LEAVE_SECONDS:
                tune_controller.stop_trial(pending)

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its scheduler with the experiment, which nobody restores."""
        return {}


class Watch(Callback):
    """Passes on what Tune's trials do."""

    def __init__(self, listener: Listener) -> None:
        """Watch for one listener."""
        self._listener = listener

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks with the experiment; a terminal cannot be saved, and nothing is restored."""
        return {}

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Tune's loop turns, several times a second."""
        self._listener.look()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A unit has its place."""
        self._listener.unit_started(trial.config["name"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Progress of a unit."""
        if "step" in result:
            self._listener.unit_progress(trial.config["name"], result)
