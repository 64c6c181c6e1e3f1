"""Random SIGKILLs of the driver, of trials' actors and of Train workers: what they cost, and that they change nothing.

    python benchmarks/faults/faults.py --kills 20 --seed 0                    about 40 minutes on two processors
    python benchmarks/faults/faults.py --kills 20 --seed 0 --only worker      a quarter of an hour

Promised: the numbers are those of an undisturbed run, bit for bit; nothing that is finished is run again; no process
is left; and one kill makes at most one checkpoint interval of training be repeated. Exit status 1 when one is broken.
"""

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import get_args

import tyro
from equality import differences
from grid import make_data
from kills import Disturbed, Plan, Victim, disturb, undisturbed
from rich.console import Console
from rich.table import Table

from stars.runtime import PlainRuntime

_GRID = Path(__file__).parent / "grid.py"
_OPTIONS: dict[Victim, tuple[str, ...]] = {
    "driver": ("--trainer", "tune"),
    "actor": ("--trainer", "tune"),
    "worker": ("--workers", "2", "--seeds", "1"),
}
_LONGEST_PAUSE: dict[Victim, float] = {"driver": 75.0, "actor": 36.0, "worker": 45.0}
"""Seconds between a victim's start and its death, at most: long enough for a checkpoint to be written. A driver needs a
quarter of a minute before anything trains."""
_REPORTS: dict[Victim, float] = {"driver": 1.0, "actor": 1.0, "worker": 6.0}
"""Seconds between two reports of a training, at most: what is repeated is known no better."""
_WIDTH = 130
"""Of what is written to a file."""
CHECKPOINT_SECONDS = PlainRuntime().checkpoint_seconds


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was seen of one kind of kill, what differs from the undisturbed run, and that run's seconds."""

    victim: Victim
    seen: Disturbed
    differences: list[str]
    calm_seconds: float

    def kept(self) -> bool:
        """Whether all that is promised was kept."""
        return not (self.differences or self.seen.redone or self.seen.orphans) and self.most_repeated() <= self.limit()

    def most_repeated(self) -> float:
        """Seconds of training that one kill made be repeated, at most."""
        return max(self.seen.repeated, default=0.0)

    def limit(self) -> float:
        """What is promised, and what the measurement cannot tell apart from it."""
        return CHECKPOINT_SECONDS + _REPORTS[self.victim]


def main(kills: int = 20, seed: int = 0, only: Victim | None = None, out: Path | None = None) -> None:
    """Run, print, and exit with 1 when a promise is broken.

    Args:
        kills: of each kind.
        seed: of the victims and the moments.
        only: one kind.
        out: folder for everything; an undisturbed run that lies there is used again. Default: a temporary one.
    """
    console, begun = Console(width=None if sys.stdout.isatty() else _WIDTH), time.monotonic()

    def say(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - begun:5.0f} s[/dim] {line}", highlight=False)

    with tempfile.TemporaryDirectory() as temporary:
        folder = out or Path(temporary) / "faults"
        folder.mkdir(parents=True, exist_ok=True)
        make_data(folder / "data")
        victims: tuple[Victim, ...] = (only,) if only else get_args(Victim)
        plans = [
            Plan(victim=each, num_kills=kills, random=Random(seed), longest_pause=_LONGEST_PAUSE[each], say=say)
            for each in victims
        ]
        verdicts = [measure(plan, folder) for plan in plans]
        show(verdicts, console)
    sys.exit(int(not all(verdict.kept() for verdict in verdicts)))


def measure(plan: Plan, folder: Path) -> Verdict:
    """The undisturbed run, unless one with the same options was made already, then the disturbed ones.

    Raises:
        Broken: a command failed.
    """
    options = _OPTIONS[plan.victim]
    command = [sys.executable, str(_GRID), "--data", str(folder / "data"), *options]
    calm = folder / f"calm{''.join(options)}"
    if not calm.with_suffix(".seconds").exists():
        plan.say(f"undisturbed: {' '.join(options)}")
        begun = time.monotonic()
        undisturbed([*command, "--store", str(calm)], calm.with_suffix(".txt"))
        calm.with_suffix(".seconds").write_text(str(time.monotonic() - begun))
    seen = disturb(plan, command, folder)
    found = [line for store in seen.stores for line in differences(calm, store)]
    for line in [*found, *(f"redone: {stage}" for stage in seen.redone), *(f"left: {title}" for title in seen.orphans)]:
        plan.say(f"[red]{line}[/red]")
    calm_seconds = float(calm.with_suffix(".seconds").read_text())
    return Verdict(victim=plan.victim, seen=seen, differences=found, calm_seconds=calm_seconds)


def show(verdicts: list[Verdict], console: Console) -> None:
    """Print the table."""
    table = Table(title="random SIGKILLs")
    columns = ("victim", "kills", "lives", "grids", "seconds", "undisturbed", "redone", "equal", "orphans")
    for column in (*columns, "most repeated, s", "promised, s"):
        table.add_column(column, justify="left" if column == "victim" else "right")
    for verdict in verdicts:
        seen = verdict.seen
        table.add_row(
            verdict.victim,
            *map(str, (len(seen.kills), seen.lives, len(seen.stores))),
            f"{seen.seconds:.0f}",
            f"{verdict.calm_seconds:.0f}",
            str(len(seen.redone)),
            "no" if verdict.differences else "yes",
            str(len(seen.orphans)),
            f"{verdict.most_repeated():.1f}",
            f"{CHECKPOINT_SECONDS:.0f} (± {_REPORTS[verdict.victim]:.0f})",
        )
    console.print(table)


if __name__ == "__main__":
    tyro.cli(main)
