"""What scheduling costs: milliseconds and driver memory a point, and the size of the log.

    python benchmarks/scheduling/measure.py --points 10000                 about five minutes on two processors

The points (`points.py` beside this file) do next to nothing, so that what is measured is the platform. Promised: at
most 50 ms and 60 KB a point, and a log that does not grow with every point by more than a few lines.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import tyro
from rich.console import Console
from rich.table import Table

from stars.drivers import read_all
from stars.store import Store

_POINTS = Path(__file__).parent / "points.py"


@dataclass(frozen=True)
class Sample:
    """How far the driver was at a moment, and how much memory it held, in bytes."""

    seconds: float
    done: int
    memory: int


def measure(num_points: int, store: Path) -> tuple[list[Sample], int]:
    """Run so many points in a fresh store. Returns samples taken while it ran, and the driver's exit status."""
    Store(store)
    command = [sys.executable, str(_POINTS), "--seeds", str(num_points), "--store", str(store)]
    driver = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    process, begun, samples = psutil.Process(driver.pid), time.monotonic(), list[Sample]()
    while driver.poll() is None:
        time.sleep(0.5)
        done = sum(record.units.get("done", 0) for record in read_all(Store(store, read_only=True)))
        if done and (not samples or done > samples[-1].done):
            try:
                memory = process.memory_info().rss
            except psutil.NoSuchProcess:
                break
            samples.append(Sample(time.monotonic() - begun, done, memory))
    return samples, driver.wait()


def main(points: int = 10_000, out: Path | None = None) -> None:
    """Measure and print. Exits with 1 when a promise is broken.

    Args:
        points: how many.
        out: folder for the store, which must not exist. Default: a temporary one.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = out or Path(folder) / "store"
        samples, status = measure(points, store)
        log = sum(path.stat().st_size for path in (store / "logs").iterdir())
    # From the first tenth on: before that, processes start and modules are loaded.
    first = next(sample for sample in samples if sample.done >= points / 10)
    # After the last point comes the table, which is another matter.
    last = [sample for sample in samples if sample.done < points][-1]
    number = last.done - first.done
    milliseconds = 1000 * (last.seconds - first.seconds) / number
    kilobytes = (last.memory - first.memory) / 1024 / number
    table = Table(title=f"scheduling of {points} points")
    for column in ("measured", "value", "promised"):
        table.add_column(column)
    table.add_row("milliseconds a point", f"{milliseconds:.1f}", "50")
    table.add_row("driver memory, KB a point", f"{kilobytes:.1f}", "60")
    table.add_row("driver memory at the end, MB", f"{last.memory / 2**20:.0f}", "")
    table.add_row("log, bytes a point", f"{log / points:.0f}", "")
    Console().print(table)
    sys.exit(int(status != 0 or milliseconds > 50 or kilobytes > 60))


if __name__ == "__main__":
    tyro.cli(main)
