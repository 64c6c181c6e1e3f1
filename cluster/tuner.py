"""The one call of Ray Tune, and what its callbacks pass on."""

import cluster.session  # noqa: F401 - first: it sets what Ray reads when it is imported  # isort: skip

import contextlib
import io
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from ray import tune
from ray.tune import Callback

from cluster.executor import Job, trial
from cluster.resources import Needs
from cluster.schedule import Ready

_LOG = logging.getLogger("stars")


class Listener(Protocol):
    """Who hears what Tune's trials do."""

    def unit_started(self, name: str) -> None:
        """A unit's trial has its resources."""

    def unit_progress(self, name: str, report: Mapping[str, Any]) -> None:
        """A unit reports."""

    def look(self) -> None:
        """Called all the time."""


def run_tune(searcher: Ready, job: Job, needs: Needs, listener: Listener) -> None:
    """Run trials until the searcher is finished."""
    scratch = Path(tempfile.mkdtemp(prefix="stars-tune-"))
    try:
        tuner = tune.Tuner(
            tune.with_resources(tune.with_parameters(trial, job=job), _resources(needs)),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
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


def _resources(needs: Needs) -> Callable[[dict[str, Any]], Any]:
    """What a trial reserves: a launcher nearly nothing, since its workers reserve for themselves."""
    worker = {"CPU": needs.worker.cpus, **({"GPU": needs.worker.gpus} if needs.worker.gpus else {})}

    def ask(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        # A processor share, however small, would keep the workers of a full machine waiting for ever.
        return tune.PlacementGroupFactory([{"memory": 1} if config["lane"] == "ray" else worker])

    return ask


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
