"""What the road of the data gains over the straightforward one: reading text, storing, finding, cutting batches.

    python -m benchmarks.data                                          about two minutes, 2.5 GB of temporary files
    python -m benchmarks.data --json figures.json
    python -m benchmarks.data --quick                                  seconds; ratios are shown, but not judged

The straightforward ways are in `benchmarks/reference`. Both do the same work in the same process, in turns, on one
thread; compared are medians of the process's CPU time, and what comes out of both is compared before. Exit status 1
when something differs or a promise is broken.
"""

import json
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.reference.feeder import Feeder
from benchmarks.reference.sequences import NUM_NTU60, pack, padded, sequences
from benchmarks.reference.text import read_line_by_line
from benchmarks.reference.timing import compare
from stars.data.batches import Clips, View, draw, views
from stars.data.packed import Packed
from stars.data.skeleton import parse
from stars.data.source import EMBEDDED

_BATCH, _FRAMES, _ROTATION = 128, 120, 0.3
_TOLERANCE = 2.4e-7  # metres: four last places of a coordinate between 0.5 and 1
_WIDTH = 130
"""Of what is written to a file."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is measured: recordings of text, sequences in memory, batches and reads a turn, and turns.

    The recordings are few enough for the processor's cache, where a text is that has just been read from a file.
    """

    recordings: int = 8
    sequences: int = 2000
    batches: int = 2
    reads: int = 2000
    turns: int = 11


_QUICK = Size(recordings=3, sequences=150, batches=1, reads=150, turns=1)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One promise and what was measured.

    Attributes:
        name: what is compared.
        promised: the bound.
        measured: the value it bounds.
        at_least: whether it is a lower bound.
        unit: of both.
        is_equal: whether both ways give the same.
        details: what else was measured, by name and unit.
    """

    name: str
    promised: float
    measured: float
    at_least: bool = True
    unit: str = "times"
    is_equal: bool = True
    details: dict[str, float] = field(default_factory=dict)

    def is_kept(self) -> bool:
        """Whether the bound holds."""
        return self.measured >= self.promised if self.at_least else self.measured <= self.promised


def reading_text(size: Size) -> Figure:
    """`.skeleton` text of the synthetic source into bodies, line by line and by the parser."""
    names = list(EMBEDDED.names())
    chosen = [names[place * len(names) // size.recordings] for place in range(size.recordings)]
    texts = [EMBEDDED.text(name) for name in chosen]
    contents = [text.encode() for text in texts]
    is_equal = True
    for text, content in zip(texts, contents, strict=True):
        expected, found = read_line_by_line(text), parse(content, "x").bodies
        is_equal &= list(expected) == [body.id for body in found] and all(
            np.array_equal(body.joints, np.stack(other.joints)) and body.interval.tolist() == other.interval
            for body, other in zip(found, expected.values(), strict=True)
        )
    slow, fast = compare(
        lambda: [None for text in texts if not read_line_by_line(text)],
        lambda: [None for content in contents if not parse(content, "x")],
        size.turns,
    )
    megabytes, num_lines = sum(map(len, contents)) / 1e6, sum(content.count(b"\n") for content in contents)
    return Figure(
        name="text, a core",
        promised=15,
        measured=slow / fast,
        is_equal=is_equal,
        details={
            "line by line, MB/s": megabytes / slow,
            "ours, MB/s": megabytes / fast,
            "bytes a line": megabytes * 1e6 / num_lines,
        },
    )


def cutting_batches(packed: Packed, feeder: Feeder, size: Size) -> Figure:
    """Batches of 128 at 120 frames, cropped at random and rotated, with the same draws."""
    clips, generator = Clips(packed), torch.Generator().manual_seed(0)
    view = View(frames=_FRAMES, crop=(0.5, 1.0), rotation=_ROTATION)
    drawn = []
    for _ in range(size.batches):
        rows = torch.randint(packed.manifest.num_samples, (_BATCH,), generator=generator)
        drawn.append((rows, draw(view, clips.valid[rows], generator)))
    largest = max(
        float((feeder.batch(rows.tolist(), _FRAMES, cut) - views(clips, rows, view, cut)).abs().max())
        for rows, cut in drawn
    )
    slow, fast = compare(
        lambda: [feeder.batch(rows.tolist(), _FRAMES, cut).shape for rows, cut in drawn],
        lambda: [views(clips, rows, view, cut).shape for rows, cut in drawn],
        size.turns,
    )
    num_samples = size.batches * _BATCH
    return Figure(
        name="batches, a core",
        promised=20,
        measured=slow / fast,
        is_equal=largest <= _TOLERANCE,
        details={
            "one by one, samples/s": num_samples / slow,
            "ours, samples/s": num_samples / fast,
            "largest difference, m": largest,
        },
    )


def storing(packed: Packed, array: np.ndarray, folder: Path) -> Figure:
    """Bytes of the packed store and of the padded npz with its one-hot labels."""
    num_samples = len(array)
    np.savez(folder / "padded.npz", x_train=array, y_train=np.eye(60)[np.arange(num_samples) % 60])
    large = (folder / "padded.npz").stat().st_size
    (folder / "padded.npz").unlink()
    small = sum(path.stat().st_size for path in packed.path.rglob("*") if path.is_file())
    return Figure(
        name="size on disk, npz / packed",
        promised=5,
        measured=large / small,
        details={
            "npz, KB a sequence": large / num_samples / 1e3,
            "packed, KB a sequence": small / num_samples / 1e3,
            "frames of bodies a sequence": packed.manifest.num_rows / num_samples,
        },
    )


def finding(packed: Packed, array: np.ndarray, size: Size) -> Figure:
    """The frames of sequences in random order, copied out of the mapped store and out of the padded array in memory."""
    order = np.random.default_rng(0).integers(0, len(array), size.reads).tolist()
    joints, spans = np.asarray(packed.mapped()), packed.spans
    # Both bodies of a sequence follow each other.
    places = [slice(first, first + num) for first, num in zip(spans[:, 0, 2], spans[:, :, 1].sum(axis=1), strict=True)]
    is_equal = True
    for row in order:
        bodies = array[row].reshape(len(array[row]), *packed.sample(row).shape[1:]).swapaxes(0, 1)
        is_there = (bodies != 0).any(axis=(2, 3))
        is_equal &= np.array_equal(bodies[is_there], joints[places[row]])
    slow, fast = compare(
        lambda: [None for row in order if np.array(array[row]).size == 0],
        lambda: [None for row in order if np.array(joints[places[row]]).size == 0],
        size.turns,
    )
    return Figure(
        name="random reads",
        promised=3,
        measured=slow / fast,
        is_equal=is_equal,
        details={"padded, reads/s": size.reads / slow, "packed, reads/s": size.reads / fast},
    )


def walking(num_sequences: int, folder: Path) -> Figure:
    """A store of so many sequences is opened, verified and cut into batches once, in a process of its own."""
    packed = pack(sequences(num_sequences, seed=1), folder / "large")
    size = sum(path.stat().st_size for path in packed.path.rglob("*") if path.is_file())
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        num_seen, peak = pool.submit(walk, packed.path).result()
    return Figure(
        name="memory of a walk through NTU-60's size",
        promised=4.0,
        measured=peak / 2**30,
        at_least=False,
        unit="GiB",
        is_equal=num_seen == num_sequences,
        details={"sequences": num_seen, "store, GB": size / 1e9},
    )


def walk(store: Path) -> tuple[int, int]:
    """Verify a store and look at all of it in batches. Returns sequences seen, and the peak of memory in bytes.

    Raises:
        Damaged: what is there is not what was written.
    """
    torch.set_num_threads(1)
    Packed.open(store).verify()
    packed = Packed.open(store)
    clips, view, num_seen = Clips(packed), View(frames=_FRAMES, crop=(1.0,)), 0
    for first in range(0, packed.manifest.num_samples, _BATCH):
        rows = torch.arange(first, min(first + _BATCH, packed.manifest.num_samples))
        num_seen += int(
            views(clips, rows, view, draw(view, clips.valid[rows], None)).isfinite().all((1, 2, 3, 4)).sum()
        )
    # Of this program alone: what getrusage gives includes the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return num_seen, peak * 1024


def show(figures: list[Figure], console: Console, *, judged: bool) -> None:
    """Print the table."""
    table = Table(title="data")
    for column in ("measured", "value", "promised", "equal", "verdict", "details"):
        table.add_column(column, justify="right" if column in {"value", "promised"} else "left")
    for figure in figures:
        verdict = ("kept" if figure.is_kept() else "[red]broken[/red]") if judged else "not judged"
        table.add_row(
            figure.name,
            f"{figure.measured:.1f} {figure.unit}",
            f"{'≥' if figure.at_least else '≤'} {figure.promised:g}",
            "yes" if figure.is_equal else "[red]no[/red]",
            verdict,
            "\n".join(f"{name}: {value:,.4g}" for name, value in figure.details.items()),
        )
    console.print(table)


def measure(size: Size, num_sequences: int) -> list[Figure]:
    """All figures, one after the other; temporary files are gone at the end."""
    torch.set_num_threads(1)
    figures = [reading_text(size)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        given = list(sequences(size.sequences, seed=0))
        packed, array = pack(given, folder / "store"), padded(given)
        figures += [cutting_batches(packed, Feeder(array), size), storing(packed, array, folder)]
        figures += [finding(packed, array, size), walking(num_sequences, folder)]
    return figures


def main(quick: bool = False, sequences: int | None = None, json_file: Path | None = None) -> None:
    """Measure, print, and exit with 1 when something differs or, unless quick, a promise is broken.

    Args:
        quick: little of everything.
        sequences: of the store that is walked through. Default: those of NTU RGB+D 60; 300 if quick.
        json_file: file for the figures.
    """
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    num_sequences = sequences or (300 if quick else NUM_NTU60)
    figures = measure(_QUICK if quick else Size(), num_sequences)
    show(figures, console, judged=not quick)
    if json_file:
        json_file.write_text(json.dumps([asdict(figure) for figure in figures], indent=2) + "\n", encoding="utf-8")
    sys.exit(int(not all(figure.is_equal and (quick or figure.is_kept()) for figure in figures)))


if __name__ == "__main__":
    tyro.cli(main)
