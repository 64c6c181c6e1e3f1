"""How a unit of work is run: in the Tune trial's own actor, or as a Ray Train `TorchTrainer` launched from it.

Both come through `stars.execute.perform`, so that a stage cannot tell them apart.
"""

import cluster.session  # noqa: F401 - first: it sets what Ray reads when it is imported  # isort: skip

import json
import math
import os
import shutil
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from ray import train, tune
from ray.exceptions import RayActorError, RaySystemError, WorkerCrashedError
from ray.train.torch import TorchTrainer
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)
from ray.tune.integration.ray_train import TuneReportCallback

from cluster.resources import Amount
from stars.execute import Held, Workplace, claimed, ended, perform, realise
from stars.fit import Interrupted
from stars.leases import Holder, lease_name
from stars.runtime import DistributedRuntime, PlainRuntime, Runtime
from stars.stage import Stage, decode, encode, fingerprint, kind
from stars.store import Attempt, Store

# Progress is for the eyes. Ray Train fetches a report every two seconds, and the next one waits for that.
_TRAINER_REPORT_SECONDS = 4.0
_REPORT_SECONDS = 1.0


class Lost(Exception):  # noqa: N818 - no defect of ours
    """A worker's process died, or never started; the unit may be run again."""


class Unplaced(Exception):  # noqa: N818 - no defect of ours
    """The workers have found no place in time; the unit may be run again."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to know, as plain data that Ray can ship.

    Attributes:
        store: location of the store.
        datasets: packed data sets by content hash.
        recipe: name that rows carry.
        num_workers: of a `TorchTrainer`.
        worker: processors and GPUs of one worker.
        retry: run again what has failed before.
        mark: left in the store by the driver; a worker that does not find it sees another place.
        driver: in whose name leases are taken.
    """

    store: str
    mark: str
    datasets: Mapping[str, str]
    recipe: str
    num_workers: int
    worker: Amount
    retry: bool
    driver: str

    def workplace(self, unit: str) -> Workplace:
        """Open the store, on the worker."""
        datasets = {content: Path(folder) for content, folder in self.datasets.items()}
        store = Store(self.store)
        store.recognise(self.mark)
        holder = Holder(driver=self.driver, unit=unit)
        return Workplace(store=store, datasets=datasets, recipe=self.recipe, holder=holder)

    def asked_to_stop(self) -> bool:
        """Whether the driver wants everything to end now."""
        return stop_file(Path(self.store), self.driver).exists()

    def use_threads(self) -> None:
        """As many threads as processors were asked for: bits depend on their number."""
        torch.set_num_threads(max(1, int(self.worker.cpus)))


def stop_file(store: Path, driver: str) -> Path:
    """The file by which a driver tells its units to save and leave."""
    return store / "drivers" / f"{driver}.stop"


@dataclass
class Reporter:
    """Passes progress on, at most once in `every` seconds of training.

    Ray Train's report waits for every worker, so all must report at the same steps: they agree on the seconds.
    """

    pass_on: Callable[[dict[str, Any]], None]
    stage: Stage
    every: float
    last: float = field(default=-math.inf)

    def __call__(self, metrics: Mapping[str, float], step: int) -> None:
        """Report, unless the last report is too young."""
        if metrics["seconds"] - self.last >= self.every:
            self.last = metrics["seconds"]
            self.pass_on({"stage": kind(self.stage), "fingerprint": fingerprint(self.stage), "step": step, **metrics})


def trial(config: dict[str, Any], job: Job) -> None:
    """The Tune trainable: realise one unit, and report how it ended.

    Nothing is raised: the driver shall hear what it was. A trial that ends without a word is one whose process died.
    """
    job.use_threads()
    try:
        stage, workplace = _stage(config["stage"]), job.workplace(config["name"])
        if config["lane"] == "ray":
            status = _train(stage, workplace, job)
        else:
            status = realise(stage, workplace, _in_actor(job), retry=job.retry).status
        report = {"status": status}
    except Lost as problem:
        report = {"status": "lost", "problem": f"its workers died: {problem}"}
    except Unplaced as problem:
        report = {"status": "unplaced", "problem": str(problem)}
    except Held as held:
        report = {"status": "held", "work": lease_name(held.stage)}
    except Interrupted:
        report = {"status": "interrupted"}
    except Exception:
        # Every defect must reach the driver's log, with its traceback.
        report = {"status": "error", "problem": traceback.format_exc()}
    tune.report(report)


def device(worker: Amount, found: Callable[[], torch.device]) -> torch.device:
    """Where a worker computes: on its GPU, if it reserved one or a share of one, else on the CPU.

    Args:
        worker: what it reserved.
        found: its GPU, among those that this process sees.

    Raises:
        RuntimeError: it reserved one, and torch sees none: it would keep a GPU from others and compute on the CPU.
    """
    if not worker.gpus:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"the worker reserved a GPU, and torch sees none (torch {torch.__version__}, "
            f"CUDA_VISIBLE_DEVICES {os.environ.get('CUDA_VISIBLE_DEVICES')!r}); "
            "allowed: nodes with GPUs that torch can use, or --gpus-per-trial 0"
        )
    return found()


def _in_actor(job: Job) -> Callable[[Workplace, Attempt], Runtime]:
    place = device(job.worker, lambda: torch.device("cuda"))

    def make(workplace: Workplace, attempt: Attempt) -> Runtime:
        reporter = Reporter(tune.report, attempt.stage, _REPORT_SECONDS)
        return PlainRuntime(
            store=workplace.store, attempt=attempt, device=place, on_report=reporter, stop=job.asked_to_stop
        )

    return make


def _train(stage: Stage, workplace: Workplace, job: Job) -> str:
    """Run one stage as a `TorchTrainer`; its inputs exist. Returns how it ended.

    Raises Lost, Unplaced, Held, Interrupted.
    """
    store = workplace.store
    with claimed(stage, workplace):
        last = store.outcome(stage)
        if last is not None and (last.status == "finished" or not job.retry):
            return last.status
        attempt = store.begin(stage)
        try:
            _trainer(attempt, job).fit()
        except (train.TrainingFailedError, RayActorError) as problem:
            # A worker that ran out of memory has committed that; a process that died is run again.
            if store.outcome(stage) in (None, last):
                if unplaced(problem):
                    raise Unplaced(_no_room(job)) from problem
                if death(problem):
                    raise Lost(str(problem)) from problem
                raise
        if job.asked_to_stop() and store.outcome(stage) in (None, last):
            raise Interrupted(0)
        return ended(stage, store).status


def _trainer(attempt: Attempt, job: Job) -> TorchTrainer:
    stage = attempt.stage
    config = {"job": job, "stage": encode(stage), "attempt": attempt.name, "number": attempt.number}
    return TorchTrainer(
        _train_worker,
        train_loop_config=config,
        scaling_config=train.ScalingConfig(
            num_workers=job.num_workers,
            use_gpu=job.worker.gpus > 0,
            resources_per_worker={"CPU": job.worker.cpus, **({"GPU": job.worker.gpus} if job.worker.gpus else {})},
        ),
        run_config=train.RunConfig(
            name=f"{kind(stage)}-{fingerprint(stage)[:12]}-{attempt.name[:8]}",
            storage_path=str(Path(job.store) / "ray" / "train"),
            # Workers that find no place make room for other units; how often they try again is the driver's to say.
            failure_config=train.FailureConfig(max_failures=2, controller_failure_limit=0),
            callbacks=[TuneReportCallback()],
        ),
    )


def unplaced(problem: Exception) -> bool:
    """Whether the workers of a `TorchTrainer` found no place in time, so that none of them ever ran."""
    return isinstance(problem, train.ControllerError) and isinstance(
        problem.controller_failure, WorkerGroupStartupTimeoutError
    )


def _no_room(job: Job) -> str:
    each = f"{job.worker.cpus:g} processors and {job.worker.gpus:g} GPUs"
    seconds = os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"]
    return f"no room for {job.num_workers} workers of {each} within {seconds} s"


def death(problem: Exception) -> bool:
    """Whether a `TorchTrainer` failed because processes died or did not start, and not by the code of a worker.

    When one worker dies, the others' collectives fail with it; so a death outweighs whatever else was raised. A defect
    that a death has hidden shows when the unit is run again.
    """
    if isinstance(problem, train.WorkerGroupError):
        causes = list(problem.worker_failures.values())
        return any(_died(cause) for cause in causes) or all(_bereft(cause) for cause in causes)
    return _died(problem.controller_failure if isinstance(problem, train.ControllerError) else problem)


def _died(cause: Exception) -> bool:
    """Whether a process is gone, hangs, or never started; Ray Train wraps what it hears from a worker's process."""
    if isinstance(cause, WorkerHealthCheckFailedError):
        cause = cause.health_check_failure
    gone = (RayActorError, WorkerCrashedError, RaySystemError, WorkerHealthCheckTimeoutError)
    return isinstance(cause, (*gone, WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError))


def _bereft(cause: Exception) -> bool:
    """Whether a collective has lost the other side (gloo's and NCCL's words), whose death may not be known yet."""
    words = ("closed by peer", "reset by peer", "remote process exited")
    return isinstance(cause, RuntimeError) and any(word in str(cause) for word in words)


def _train_worker(config: dict[str, Any]) -> str:
    """One of the `TorchTrainer`'s workers."""
    job: Job = config["job"]
    job.use_threads()
    stage = _stage(config["stage"])
    workplace = job.workplace(fingerprint(stage))
    _, ended_before = workplace.store.last_outcome(kind(stage), fingerprint(stage))
    if ended_before > config["number"]:
        # Ray restarts a group that a worker's death brought down; what has an outcome by then is not run again.
        return "ended before"
    attempt = workplace.store.begin(stage, config["attempt"])
    world_size = train.get_context().get_world_size()
    reporter = Reporter(train.report, stage, _TRAINER_REPORT_SECONDS)
    common: dict[str, Any] = {
        "store": workplace.store,
        "attempt": attempt,
        "device": device(job.worker, train.torch.get_device),
        "on_report": reporter,
        "stop": job.asked_to_stop,
    }
    runtime: Runtime = PlainRuntime(**common) if world_size == 1 else DistributedRuntime(**common)
    if runtime.rank == 0:
        shutil.rmtree(attempt.output)
        attempt.output.mkdir()
    runtime.barrier()
    try:
        perform(attempt, workplace, runtime)
    except Interrupted:
        # Raised on, it would look like a failure to Ray, which would start the group again.
        return "interrupted"
    return "ended"


def _stage(document: Mapping[str, Any] | str) -> Stage:
    value = decode(json.loads(document) if isinstance(document, str) else document)
    if not isinstance(value, Stage):
        raise TypeError(f"{type(value).__name__} is not a stage")
    return value
