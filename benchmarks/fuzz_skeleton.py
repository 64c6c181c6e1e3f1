"""A hundred thousand hostile inputs: text of NTU RGB+D and PKU-MMD, zip archives, npz files, pickles, folders.

    python -m benchmarks.fuzz_skeleton                                 about ten minutes on one processor
    python -m benchmarks.fuzz_skeleton --num 2000 --seed 7             some seconds
    python -m benchmarks.fuzz_skeleton --only pickle --no-large        one kind, small ones only

Promised: every input is either read, and then as a slow reader reads it, or refused by one of the documented
exceptions with the file and, in text, the line; within 20 seconds of the processor's time and 200 MB; nothing in it is
executed, and nothing is left behind by what is refused. Exit status 1 when that is broken; the input is then kept.

Inputs follow from the seed and their number. `benchmarks/hostile` makes and judges them; the tests use the same.
"""

import contextlib
import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.hostile.case import Case, Kind
from benchmarks.hostile.judge import Violation, judge
from benchmarks.hostile.kinds import LARGE, NAMED, draw, named

MOST_MEGABYTES = 200.0
_BATCH = 5000
_WIDTH = 110
"""Of what is written to a file."""


@dataclass(kw_only=True)
class Tally:
    """What became of the inputs of a kind.

    Attributes:
        outcomes: how many were read, refused, or broke a promise.
        seconds: of the processor's time that the slowest took.
        slowest: its name.
        megabytes: by which the process grew at most during one input.
        largest: the name of that input.
    """

    outcomes: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    seconds: float = 0.0
    slowest: str = ""
    megabytes: float = 0.0
    largest: str = ""

    def add(self, other: "Tally") -> None:
        """Take in what was counted elsewhere."""
        for outcome, number in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + number
        if other.seconds > self.seconds:
            self.seconds, self.slowest = other.seconds, other.slowest
        if other.megabytes > self.megabytes:
            self.megabytes, self.largest = other.megabytes, other.largest


Tallies = dict[Kind, Tally]
Work = tuple[str, int, int, Kind | None]
"""`drawn`, `named` or `large`; the seed, where to begin, and the only kind."""


def main(
    *,
    num: int = 100_000,
    seed: int = 0,
    only: Kind | None = None,
    large: bool = True,
    processes: int = 1,
    out: Path = Path("hostile-inputs"),
) -> None:
    """Judge, print a table, and exit with 1 when a promise is broken.

    Args:
        num: drawn inputs; every one with a name comes in addition.
        seed: of all of them.
        only: one kind.
        large: also those of many megabytes.
        processes: how many work at once.
        out: folder for inputs that break a promise.
    """
    console, begun = Console(width=None if sys.stdout.isatty() else _WIDTH), time.monotonic()
    works: list[Work] = [("large", seed, 0, only)] * large + [("named", seed, 0, only)]
    works += [("drawn", seed, start, only) for start in range(0, num, _BATCH)]
    total: Tallies = {}
    # A process for each batch: what an input leaves in memory shall not hide what the next one takes.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, max_tasks_per_child=1) as pool:
        counts = [min(_BATCH, num - start) if what == "drawn" else 0 for what, _, start, _ in works]
        for tallies, kept in pool.map(run, works, counts, [out] * len(works)):
            for kind, tally in tallies.items():
                total.setdefault(kind, Tally()).add(tally)
            for line in kept:
                console.print(line, highlight=False, markup=False)
    show(total, console)
    console.print(f"seed {seed}, {time.monotonic() - begun:.0f} s", highlight=False)
    sys.exit(int(any(tally.outcomes.get("broken") for tally in total.values())))


def run(work: Work, count: int, out: Path) -> tuple[Tallies, list[str]]:
    """Judge some inputs in this process. Returns the counts, and a line for every broken promise."""
    what, seed, start, only = work
    tallies: Tallies = {}
    kept: list[str] = []
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for case in _warm():
                # They are judged again, and counted then.
                with contextlib.suppress(Violation):
                    judge(case, Path(folder))
            for label, case in _cases(what, seed, range(start, start + count), only):
                tally = tallies.setdefault(case.kind, Tally())
                if problem := _measured(case, Path(folder), tally):
                    kept.append(f"{problem}; kept as {_keep(case, home / out, label)}")
        finally:
            os.chdir(home)
    return tallies, kept


def show(tallies: Tallies, console: Console) -> None:
    """Print the table."""
    table = Table(title="hostile inputs")
    for column in ("kind", "inputs", "read", "refused", "broken", "slowest, s", "", "peak, MB", ""):
        table.add_column(column, justify="left" if column in {"kind", ""} else "right")
    for kind, tally in sorted(tallies.items()):
        outcomes = [tally.outcomes.get(outcome, 0) for outcome in ("read", "refused", "broken")]
        seconds, megabytes = f"{tally.seconds:.2f}", f"{tally.megabytes:.0f}"
        numbers = (str(sum(outcomes)), *map(str, outcomes))
        table.add_row(kind, *numbers, seconds, tally.slowest, megabytes, tally.largest)
    console.print(table)


def _measured(case: Case, folder: Path, tally: Tally) -> str | None:
    """Judge one input. Returns the promise that it breaks."""
    before = _megabytes("VmRSS")
    # What the process had at most is counted from here.
    Path("/proc/self/clear_refs").write_text("5")
    begun = time.process_time()
    problem = None
    try:
        outcome: str = judge(case, folder)
    except Violation as violation:
        outcome, problem = "broken", str(violation)
    seconds, megabytes = time.process_time() - begun, _megabytes("VmHWM") - before
    if megabytes > MOST_MEGABYTES:
        outcome, problem = "broken", problem or f"{case.kind}, {case.name}: it takes {megabytes:.0f} MB"
    one = Tally(seconds=seconds, slowest=case.name, megabytes=megabytes, largest=case.name)
    one.outcomes[outcome] += 1
    tally.add(one)
    return problem


def _cases(what: str, seed: int, numbers: Iterable[int], only: Kind | None) -> Iterator[tuple[str, Case]]:
    """The inputs of a work, and what each can be found by again."""
    if what == "drawn":
        drawn = ((f"{seed}-{number}", draw(seed, number)) for number in numbers)
        yield from (each for each in drawn if only in {None, each[1].kind})
        return
    for kind, ways in (LARGE if what == "large" else NAMED).items():
        for name in ways if only in {None, kind} else ():
            yield f"{seed}-{name.replace(' ', '-').replace('/', '-')[:60]}", named(kind, name, seed)


def _warm() -> Iterator[Case]:
    """One of each kind, so that what is imported and set up once is not counted."""
    for kind, ways in NAMED.items():
        yield named(kind, next(iter(ways)))
    yield from (draw(-1, number) for number in range(100))


def _keep(case: Case, out: Path, label: str) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{case.kind}-{label}"
    if isinstance(case.content, bytes):
        path.write_bytes(case.content)
    else:
        path.mkdir(exist_ok=True)
        for name, content in case.content.items():
            (path / name).write_bytes(content)
    return path


def _megabytes(entry: str) -> float:
    """Of this process: VmRSS now, VmHWM at most."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{entry}:"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    tyro.cli(main)
