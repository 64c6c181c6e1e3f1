"""What a trial takes, what the cluster has or may grow to, and how many trials that makes."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_CPUS = "STARS_MAX_CPUS"
MAX_GPUS = "STARS_MAX_GPUS"
"""Environment variables: how many processors and GPUs the nodes of an autoscaled cluster may have in all. The
autoscalers that come with Ray (of `ray up`, of KubeRay) keep that to themselves; 0 or no variable: it does not grow."""


@dataclass(frozen=True, kw_only=True)
class Amount:
    """Processors and GPUs."""

    cpus: float
    gpus: float

    def times(self, number: float) -> "Amount":
        """So many of it."""
        return Amount(cpus=self.cpus * number, gpus=self.gpus * number)

    def holds(self, need: "Amount") -> int:
        """How many times `need`, which takes processors, fits into it; a share of a GPU lies on one GPU."""
        fits = _whole(self.cpus / need.cpus)
        if need.gpus >= 1:
            fits = min(fits, _whole(self.gpus / need.gpus))
        elif need.gpus > 0:
            fits = min(fits, _whole(self.gpus) * _whole(1 / need.gpus))
        return max(0, fits)


def _whole(number: float) -> int:
    """Round down, with a hair more: thirds of a GPU add up to a little less than one."""
    return math.floor(number + 1e-6)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a cluster has and may yet get.

    Attributes:
        nodes: processors and GPUs of every node that is there.
        growth: what an autoscaler may add to them; on nodes of which size, nobody says.
    """

    nodes: tuple[Amount, ...]
    growth: Amount = Amount(cpus=0, gpus=0)

    @property
    def cpus(self) -> float:
        """Processors in all."""
        return sum(node.cpus for node in self.nodes) + self.growth.cpus

    @property
    def gpus(self) -> float:
        """GPUs in all."""
        return sum(node.gpus for node in self.nodes) + self.growth.gpus

    def holds(self, worker: Amount) -> int:
        """How many workers fit: each onto one node."""
        return sum(part.holds(worker) for part in (*self.nodes, self.growth))


def growing(nodes: Iterable[Amount], largest: Amount) -> Capacity:
    """The capacity of these nodes, where the cluster may grow until it is as large as `largest`."""
    now = Capacity(nodes=tuple(nodes))
    growth = Amount(cpus=max(0.0, largest.cpus - now.cpus), gpus=max(0.0, largest.gpus - now.gpus))
    return Capacity(nodes=now.nodes, growth=growth)


def declared(environment: Mapping[str, str]) -> Amount:
    """The size that `STARS_MAX_CPUS` and `STARS_MAX_GPUS` say the cluster may grow to; 0 where they say nothing.

    Raises:
        DoesNotFit: something else than a number.
    """
    return Amount(cpus=_declared(environment, MAX_CPUS), gpus=_declared(environment, MAX_GPUS))


def _declared(environment: Mapping[str, str], name: str) -> float:
    text = environment.get(name, "0")
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    # Not a number is no more than 0 either.
    if not 0 <= number < math.inf:
        raise DoesNotFit(f"${name} is {text!r}; allowed: how many the cluster may grow to, 0 or more")
    return number


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What trials take.

    Attributes:
        worker: what one worker takes; a trial in its own process is one worker.
        num_workers: of a `TorchTrainer`.
    """

    worker: Amount
    num_workers: int

    @property
    def trainer(self) -> Amount:
        """What a whole `TorchTrainer` takes."""
        return self.worker.times(self.num_workers)


def needs(*, num_workers: int, cpus_per_trial: float | None, gpus_per_trial: float | None, has_gpus: bool) -> Needs:
    """What the command line asks for; a processor a worker, and a GPU a worker where there are any, unless given.

    Raises:
        ValueError: a number that the workers do not divide, or processors that are no whole number.
    """
    cpus = num_workers if cpus_per_trial is None else cpus_per_trial
    gpus = num_workers * has_gpus if gpus_per_trial is None else gpus_per_trial
    if num_workers < 1:
        raise ValueError(f"--workers is {num_workers}; allowed: 1 or more")
    if cpus <= 0 or cpus % num_workers:
        raise ValueError(f"--cpus-per-trial is {cpus:g}; allowed: a multiple of --workers, {num_workers}")
    if gpus < 0 or (num_workers > 1 and gpus % num_workers):
        raise ValueError(f"--gpus-per-trial is {gpus:g}; allowed: 0, or a multiple of --workers, {num_workers}")
    if gpus > 1 and gpus % 1:
        raise ValueError(f"--gpus-per-trial is {gpus:g}; allowed: a fraction below 1, or a whole number")
    if num_workers == 1 and gpus > 1:
        raise ValueError(f"--gpus-per-trial is {gpus:g} with one worker, which uses one; allowed: at most 1")
    return Needs(worker=Amount(cpus=cpus / num_workers, gpus=gpus / num_workers), num_workers=num_workers)


class DoesNotFit(ValueError):  # noqa: N818 - says what it is
    """Trials that could never start on this cluster, or a size of it that is none."""


def require(capacity: Capacity, needed: Needs) -> None:
    """Refuse trials that could never start. Raises DoesNotFit."""
    worker = needed.worker
    for option, variable, have, want in (
        ("--cpus-per-trial", MAX_CPUS, capacity.cpus, needed.trainer.cpus),
        ("--gpus-per-trial", MAX_GPUS, capacity.gpus, needed.trainer.gpus),
    ):
        if want > have:
            shared = f" for {needed.num_workers} workers" if needed.num_workers > 1 else ""
            raise DoesNotFit(
                f"{option} is {want:g}{shared}; allowed: at most {have:g}, all that the cluster has or can grow to "
                f"(${variable}, where it has an autoscaler)"
            )
    if capacity.holds(worker) < needed.num_workers:
        raise DoesNotFit(
            f"each of {needed.num_workers} workers takes {worker.cpus:g} processors and {worker.gpus:g} GPUs of one "
            f"node; allowed: what the nodes hold, which is {capacity.holds(worker)} such workers"
        )
