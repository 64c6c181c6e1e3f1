"""How a unit of work is run: in the Tune trial's own actor, or as a Ray Train `TorchTrainer` launched from it.

Both come through `stars.execute.perform`, so that a stage cannot tell them apart.
"""

import cluster.session  # noqa: F401 - first: it sets what Ray reads when it is imported  # isort: skip

import shutil
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from ray import train, tune
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback

from stars.execute import Workplace, ended, perform, realise
from stars.runtime import DistributedRuntime, PlainRuntime, Runtime
from stars.stage import Stage, decode, encode, fingerprint, kind
from stars.store import Attempt, Store

# Progress is for the eyes: more often would cost the driver more than it shows.
_REPORT_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to know, as plain data that Ray can ship.

    Attributes:
        store: location of the store.
        datasets: packed data sets by content hash.
        recipe: name that rows carry.
        num_workers: of a `TorchTrainer`.
        use_gpu: one GPU for every worker.
        retry: run again what has failed before.
        mark: left in the store by the driver; a worker that does not find it sees another place.
    """

    store: str
    mark: str
    datasets: Mapping[str, str]
    recipe: str
    num_workers: int = 1
    use_gpu: bool = False
    retry: bool = False

    def workplace(self) -> Workplace:
        """Open the store, on the worker."""
        datasets = {content: Path(folder) for content, folder in self.datasets.items()}
        store = Store(self.store)
        store.recognise(self.mark)
        return Workplace(store=store, datasets=datasets, recipe=self.recipe)


@dataclass
class Reporter:
    """Passes progress on, at most once in `every` seconds."""

    pass_on: Callable[[dict[str, Any]], None]
    stage: str
    every: float = _REPORT_SECONDS
    last: float = field(default=0.0)

    def __call__(self, metrics: Mapping[str, float], step: int) -> None:
        """Report, unless the last report is too young."""
        if time.monotonic() - self.last >= self.every:
            self.last = time.monotonic()
            self.pass_on({"stage": self.stage, "step": step, **metrics})


def trial(config: dict[str, Any]) -> None:
    """The Tune trainable: realise one unit. A defect is reported, not raised: raising would only run it again."""
    job, stage = Job(**config["job"]), _stage(config["stage"])
    # Bits depend on the number of threads: one for each processor asked for.
    torch.set_num_threads(1)
    try:
        workplace = job.workplace()
        if config["trainer"] == "ray":
            status = _train(stage, workplace, job)
        else:
            status = realise(stage, workplace, _in_actor, retry=job.retry).status
        report = {"status": status, "problem": ""}
    except Exception:
        # Every defect must reach the driver's log, with its traceback.
        report = {"status": "error", "problem": traceback.format_exc()}
    tune.report(report)


def _in_actor(workplace: Workplace, attempt: Attempt) -> Runtime:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    reporter = Reporter(tune.report, kind(attempt.stage))
    return PlainRuntime(store=workplace.store, attempt=attempt, device=device, on_report=reporter)


def _train(stage: Stage, workplace: Workplace, job: Job) -> str:
    """Run one stage as a `TorchTrainer`; its inputs exist. Returns how it ended."""
    store = workplace.store
    last = store.outcome(stage)
    if last is not None and (last.status == "finished" or not job.retry):
        return last.status
    attempt = store.begin(stage)
    config = {"job": job.__dict__, "stage": encode(stage), "attempt": attempt.name, "number": attempt.number}
    trainer = TorchTrainer(
        _train_worker,
        train_loop_config=config,
        scaling_config=train.ScalingConfig(num_workers=job.num_workers, use_gpu=job.use_gpu),
        run_config=train.RunConfig(
            name=f"{kind(stage)}-{fingerprint(stage)[:12]}-{attempt.name[:8]}",
            storage_path=str(store.location / "ray" / "train"),
            failure_config=train.FailureConfig(max_failures=1, controller_failure_limit=2),
            callbacks=[TuneReportCallback()],
        ),
    )
    try:
        trainer.fit()
    except train.TrainingFailedError:
        # A worker that ran out of memory has committed that; anything else is a defect.
        if store.outcome(stage) in (None, last):
            raise
    return ended(stage, store).status


def _train_worker(config: dict[str, Any]) -> None:
    """One of the `TorchTrainer`'s workers."""
    torch.set_num_threads(1)
    job = Job(**config["job"])
    workplace, stage = job.workplace(), _stage(config["stage"])
    _, ended_before = workplace.store.last_outcome(kind(stage), fingerprint(stage))
    if ended_before > config["number"]:
        # Ray restarts a group that a worker's death brought down; what has an outcome by then is not run again.
        return
    attempt = workplace.store.begin(stage, config["attempt"])
    device = train.torch.get_device()
    world_size = train.get_context().get_world_size()
    # Ray's report waits for every worker: several must report at the same steps, whatever their clocks say.
    reporter = Reporter(train.report, kind(stage), every=_REPORT_SECONDS if world_size == 1 else 0.0)
    common: dict[str, Any] = {"store": workplace.store, "attempt": attempt, "device": device, "on_report": reporter}
    runtime: Runtime = PlainRuntime(**common) if world_size == 1 else DistributedRuntime(**common)
    if runtime.rank == 0:
        shutil.rmtree(attempt.output)
        attempt.output.mkdir()
    runtime.barrier()
    perform(attempt, workplace, runtime)


def _stage(document: Mapping[str, Any]) -> Stage:
    value = decode(document)
    if not isinstance(value, Stage):
        raise TypeError(f"{type(value).__name__} is not a stage")
    return value
