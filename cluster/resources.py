"""What a trial takes, what the cluster has or may grow to, and how many trials that makes."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Amount:
    """Processors and GPUs."""

    cpus: float
    gpus: float

    def times(self, number: float) -> "Amount":
        """So many of it."""
        return Amount(cpus=self.cpus * number, gpus=self.gpus * number)

    def without(self, other: "Amount") -> "Amount":
        """What is left of it."""
        return Amount(cpus=self.cpus - other.cpus, gpus=self.gpus - other.gpus)

    def holds(self, need: "Amount") -> int:
        """How many times `need` fits into it."""
        parts = [(self.cpus, need.cpus), (self.gpus, need.gpus)]
        # A hair more than whole: thirds of a GPU add up to a little less than one.
        return max(0, min(math.floor(have / want + 1e-6) for have, want in parts if want > 0))


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
    """Trials that could never start on this cluster."""


def require(capacity: Amount, needed: Needs) -> None:
    """Refuse trials that could never start. Raises DoesNotFit."""
    for option, have, want in (
        ("--cpus-per-trial", capacity.cpus, needed.trainer.cpus),
        ("--gpus-per-trial", capacity.gpus, needed.trainer.gpus),
    ):
        if want > have:
            raise DoesNotFit(
                f"{option} is {want:g}; allowed: at most {have:g}, all that the cluster has or can grow to"
            )
