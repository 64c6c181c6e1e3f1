"""What is driven, and how; where its targets come from; how it ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from cluster.budget import Budget
from cluster.options import Options
from stars.stage import Stage
from stars.store import Store

MakeSource = Callable[[Callable[[], int]], "Source"]
"""Makes the source of a run once the run is ours alone; it is given the number of trials that the cluster holds now."""
How = Literal["finished", "unfinished", "interrupted", "budget"]


class Source(Protocol):
    """Where the targets of a run come from: a grid has them all at once, a search thinks of them on the way."""

    def start(self) -> list[Stage]:
        """The targets to begin with."""

    def ended(self, stage: Stage, status: str) -> list[Stage]:
        """A target has ended, `finished` or not; returns what is wanted next."""

    def more(self) -> list[Stage]:
        """What is wanted besides, now that there may be more room."""

    def close(self) -> None:
        """Nothing more is asked, for whatever reason."""


@dataclass(frozen=True)
class Grid:
    """All targets at once."""

    targets: list[Stage]

    def start(self) -> list[Stage]:
        """All of them."""
        return self.targets

    def ended(self, stage: Stage, status: str) -> list[Stage]:
        """Nothing more."""
        return []

    def more(self) -> list[Stage]:
        """Nothing more."""
        return []

    def close(self) -> None:
        """Nothing to put away."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is driven, and how.

    Attributes:
        sweep: its name.
        run: what no two drivers may do at once, as in `Driver.run`.
        store: where everything is kept.
        datasets: packed data sets by content hash.
        recipe: name that rows carry.
        context: what the command line chose, for trackers.
        options: the command line.
        budget: what the run may cost.
    """

    sweep: str
    run: str
    store: Store
    datasets: Mapping[str, Path]
    recipe: str
    context: Mapping[str, Any]
    options: Options
    budget: Budget | None


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a run ended, with the exit status that says so; None where the results decide."""

    how: How
    status: int | None = None
