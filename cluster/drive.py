"""Run the missing stages of a plan under Ray Tune: each as soon as its inputs exist."""

import contextlib
import io
import logging
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from cluster.options import Options
from cluster.progress import Display
from cluster.session import num_cpus, num_gpus, session  # first: it sets what Ray reads on import

from ray import tune  # isort: skip
from ray.tune import Callback  # isort: skip

from cluster.executor import Job, trial
from cluster.schedule import Ready
from stars.execute import units
from stars.pretrain import Pretrain
from stars.stage import Stage, decode, fingerprint, kind
from stars.store import Store
from stars.sweep import Point

_LOG = logging.getLogger("stars")


def drive(
    points: Sequence[Point],
    *,
    store: Store,
    datasets: Mapping[str, Path],
    recipe: str,
    options: Options,
    console: Console,
) -> None:
    """Run what is missing of the points. Failures are in the store and in the log; nothing is raised for them."""
    with session():
        gpus = num_gpus()
        job = Job(
            store=str(store.location),
            mark=store.token(),
            datasets={content: str(folder) for content, folder in datasets.items()},
            recipe=recipe,
            num_workers=options.workers,
            use_gpu=gpus > 0,
            retry=options.retry,
        )
        as_trainer = trained_by_ray(options, gpus)
        queue = units([point.stage for point in points], store, as_trainer)
        trainer = {fingerprint(unit.stage): "ray" if as_trainer(unit.stage) else "tune" for unit in queue}
        display = Display(console, _LOG, len(queue))
        display.say(f"{len(queue)} units to run on {num_cpus()} processors and {gpus} GPUs")
        base = {"job": asdict(job)}
        with display.live():
            searcher = Ready(queue, base, trainer, capacity=gpus or num_cpus(), num_workers=options.workers)
            _tune(searcher, display, gpus)


def trained_by_ray(options: Options, gpus: int) -> Any:
    """Which stages run as `TorchTrainer`s: all that train, none, or (auto) stage 1 and whatever is large."""
    large = options.workers > 1 or gpus > 0

    def answer(stage: Stage) -> bool:
        if options.trainer == "auto":
            return stage.trains() and (large or isinstance(stage, Pretrain))
        return stage.trains() and options.trainer == "ray"

    return answer


def resources(gpus: int) -> Any:
    """What a trial reserves: a launcher nearly nothing, since its workers reserve for themselves."""

    def ask(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        if config["trainer"] == "ray":
            # A processor share, however small, would keep the workers of a full machine waiting for ever.
            return tune.PlacementGroupFactory([{"memory": 1}])
        return tune.PlacementGroupFactory([{"CPU": 1, "GPU": 1} if gpus else {"CPU": 1}])

    return ask


def _tune(searcher: Ready, display: Display, gpus: int) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="stars-tune-"))
    try:
        tuner = tune.Tuner(
            tune.with_resources(trial, resources(gpus)),
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                reuse_actors=True,
                max_concurrent_trials=max(1, num_gpus() or num_cpus()) + 1,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=str(scratch),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=2),
                callbacks=[Watch(display)],
            ),
        )
        # Tune prints a banner whatever it is told.
        noise = io.StringIO()
        with contextlib.redirect_stdout(noise):
            tuner.fit()
        _LOG.debug("%s", noise.getvalue())
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class Watch(Callback):
    """Tells the display what Tune's trials report."""

    def __init__(self, display: Display) -> None:
        """Watch for one display."""
        self._display = display

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its callbacks with the experiment; a terminal cannot be saved, and nothing is restored."""
        return {}

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Progress of a unit."""
        if "step" in result:
            detail = f"{result['stage']} step {result['step']}, loss {result['loss']:.4f}"
            self._display.running(trial.config["name"], detail)
        if result.get("problem"):
            _LOG.error("%s\n%s", trial.config["name"], result["problem"])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A unit ended, well or not."""
        result = trial.last_result
        status = result.get("status", "error")
        what = kind(decode(trial.config["stage"]))  # type: ignore[arg-type]
        self._display.ended(trial.config["name"], what, status, float(result.get("time_total_s", 0.0)))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial's process died more often than it is restarted."""
        what = kind(decode(trial.config["stage"]))  # type: ignore[arg-type]
        self._display.ended(trial.config["name"], what, "lost", 0.0)
