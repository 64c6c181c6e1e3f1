"""What a search is about, and what it has suggested: values that know nothing of Optuna."""

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

from stars.space import AxisValue, Space

State: TypeAlias = Literal["running", "finished", "stopped", "failed"]

FACTOR = 3
"""One in so many goes on to the next horizon."""
# What the study's name covers. Optuna's major version stands for the options that it no longer lets one set.
SAMPLER: dict[str, Any] = {
    "n_startup_trials": 10,
    "n_ei_candidates": 24,
    "multivariate": True,
    "group": True,
    "constant_liar": True,
}
_MOST_HORIZONS = 4


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a search is about. Two searches that differ in any of it are two studies.

    Attributes:
        sweep: its name.
        space: what may be suggested.
        context: what else the number depends on: data set, recipe, protocol …
        seeds: each suggestion is measured with all of them, and judged by the mean.
        horizons: epochs after which a suggestion is measured, ascending; the last one is the whole training.
        metric: the number.
        k: neighbours, where the number has any.
        greater_is_better: the direction.
        seed: of the suggestions.
    """

    sweep: str
    space: Space
    context: Mapping[str, AxisValue]
    seeds: tuple[int, ...]
    horizons: tuple[int, ...]
    metric: str
    k: int | None
    greater_is_better: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse an empty space, seeds or horizons, and horizons that do not grow by about `FACTOR`."""
        if not self.space.ranges:
            raise ValueError(f"Settings.space of {self.sweep} has no axis; allowed: one or more")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"Settings.seeds is {self.seeds}; allowed: one or more different seeds")
        first = self.horizons[0] if self.horizons else 0
        rungs = [(horizon, first * FACTOR**number) for number, horizon in enumerate(self.horizons)]
        if first < 1 or not all(low <= horizon < FACTOR * low for horizon, low in rungs):
            raise ValueError(
                f"Settings.horizons is {self.horizons}; allowed: from 1, each about {FACTOR} times the last"
            )

    def name(self) -> str:
        """The study's name: the sweep and a hash of all that this says, of the sampler and of Optuna's version."""
        content = {
            **{name: value for name, value in self.__dict__.items() if name not in ("space", "context")},
            "space": self.space.document(),
            "context": dict(self.context),
            "sampler": SAMPLER,
            "factor": FACTOR,
            "optuna": importlib.metadata.version("optuna").partition(".")[0],
        }
        document = json.dumps(content, sort_keys=True, allow_nan=False)
        return f"{self.sweep}-{hashlib.sha256(document.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A suggestion measured at one horizon: the mean, each seed's value and probe, and when it was known."""

    horizon: int
    value: float
    values: Mapping[int, float]
    probes: Mapping[int, str]
    ended: datetime


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """A point that the study suggested, and how it stands. `reason` says why it failed."""

    number: int
    axes: Mapping[str, AxisValue]
    state: State
    reason: str
    rungs: tuple[Rung, ...]
    started: datetime
    ended: datetime | None


def horizons(epochs: int) -> tuple[int, ...]:
    """At most four numbers of epochs, ascending to `epochs`, each about `FACTOR` times the one before.

    Raises:
        ValueError: no epoch.
    """
    if epochs < 1:
        raise ValueError(f"epochs is {epochs}; allowed: 1 or more")
    found = [epochs // FACTOR**power for power in range(_MOST_HORIZONS)]
    return tuple(horizon for horizon in reversed(found) if horizon >= 1)
