"""SIGKILL of `python -m stars prepare` and `import` at random moments: what it costs, and that it changes nothing.

    python -m benchmarks.faults.prepare_kills --kills 20 --seed 0          about five minutes on two processors

Synthetic recordings as `.skeleton` text, in a zip archive and in a folder, are prepared undisturbed, and then again by
a command that is killed at random moments and typed again each time. The same with imports of an npz, a pickle and a
folder, which begin from the beginning. Promised, for every source: the store is the undisturbed one's, byte for byte;
nothing else is left beside it; no worker outlives its parent; and a part of the store that was safe at a kill is never
made again. Exit status 1 when one is broken.
"""

import hashlib
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import psutil
import tyro
from rich.console import Console
from rich.table import Table

from stars.data.exchange.annotations import export_pickle
from stars.data.exchange.npz import export_npz
from stars.data.packed import Packed

_GONE_SECONDS = 15.0
"""How long the workers of a killed preparation may take to leave."""
_WIDTH = 110
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is prepared, and by which command, without its `--out`."""

    name: str
    command: tuple[str, ...]


@dataclass(kw_only=True)
class Seen:
    """What was seen of one source.

    Attributes:
        source: its name.
        kills: how many were made.
        lives: how often the command was typed.
        stores: how often it came to its end; what comes after is a fresh one.
        calm_seconds: of the undisturbed run.
        seconds: of all lives.
        repeated: seconds of work that each kill made be done again: since the last part that was safe.
        broken: promises that were.
    """

    source: str
    kills: int = 0
    lives: int = 0
    stores: int = 0
    calm_seconds: float = 0.0
    seconds: float = 0.0
    repeated: list[float] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def main(*, kills: int = 20, seed: int = 0, recordings: int = 1500, out: Path | None = None) -> None:
    """Run, print a table, and exit with 1 when a promise is broken.

    Args:
        kills: of each source.
        seed: of the moments.
        recordings: how many are prepared.
        out: folder for everything. Default: a temporary one.
    """
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False)

    with tempfile.TemporaryDirectory() as temporary:
        folder = out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        seen = [
            measure(source, folder / source.name, kills, Random(f"{seed}/{source.name}"), say)
            for source in sources(folder / "raw", recordings)
        ]
    show(seen, console)
    sys.exit(int(any(one.broken for one in seen)))


def sources(folder: Path, num_recordings: int) -> list[Source]:
    """Write the recordings in all ways."""
    texts = folder / "texts"
    write_texts(texts, num_recordings)
    write_archive(texts, folder / "texts.zip")
    stars = (sys.executable, "-m", "stars")
    subprocess.run([*stars, "prepare", "ntu-folder", "--raw", str(texts), "--out", str(folder / "store")], check=True)
    packed = Packed.open(folder / "store")
    export_npz(packed, folder / "own_XSub.npz", protocol="XSub")
    export_pickle(packed, folder / "own.pkl")
    arrays = folder / "arrays"
    arrays.mkdir()
    for row, name in enumerate(packed.names):
        np.save(arrays / f"{name}.npy", packed.sample(row))
    lines = [f"{name}.npy,{action}" for name, action in zip(packed.names, packed.column("action"), strict=True)]
    (arrays / "labels.csv").write_text("\n".join(["file,label", *lines]))
    prepare, imports = (*stars, "prepare", "ntu-folder", "--raw"), (*stars, "import")
    return [
        Source(name="folder", command=(*prepare, str(texts), "--processes", "2")),
        Source(name="zip", command=(*prepare, str(folder / "texts.zip"), "--name", "texts", "--processes", "2")),
        Source(name="npz", command=(*imports, "npz", str(folder / "own_XSub.npz"))),
        Source(name="pickle", command=(*imports, "pickle", str(folder / "own.pkl"))),
        Source(name="arrays", command=(*imports, "folder", str(arrays))),
    ]


def write_texts(folder: Path, num_recordings: int) -> None:
    """Recordings of 60 frames and two bodies; every fiftieth cannot be used."""
    folder.mkdir(parents=True)
    rest = " 0 0 0 0 0 0 0 0 2"
    for number in range(num_recordings):
        draws = np.random.default_rng(number)
        joints = draws.uniform(-0.3, 0.3, (1, 2, 25, 3)) * [0.5, 2, 0.3] + draws.normal(0, 0.01, (60, 2, 25, 3))
        lines = ["60"]
        for frame in joints.tolist():
            lines.append("2")
            for body, points in enumerate(frame):
                lines += [
                    f"7205759403793{body}{rest}",
                    "25",
                    *(f"{x:.6f} {y:.6f} {z:.6f}{rest}" for x, y, z in points),
                ]
        name = f"S001C{1 + number // 9 % 3:03d}P{1 + number % 9:03d}R001A{1 + number // 27:03d}"
        text = "\n".join(lines if number % 50 else lines[:-1])
        (folder / f"{name}.skeleton").write_text(text + "\n")


def write_archive(texts: Path, path: Path) -> None:
    """The same recordings in a zip archive."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for text in sorted(texts.iterdir()):
            archive.write(text, f"skeletons/{text.name}")


def measure(source: Source, folder: Path, num_kills: int, random: Random, say: Say) -> Seen:
    """One undisturbed run, then lives that are cut short until so many kills are made; the last one ends by itself.

    Raises:
        RuntimeError: the command failed.
    """
    seen = Seen(source=source.name)
    begun = time.monotonic()
    life = start(source, folder / "calm" / "store")
    if life.wait():
        raise RuntimeError(f"{source.name}: status {life.returncode}")
    seen.calm_seconds = time.monotonic() - begun
    expected = contents(folder / "calm" / "store")
    target = folder / "0" / "store"
    while seen.kills < num_kills:
        if (target / "manifest.json").exists():
            target = folder / str(seen.stores) / "store"
        live(source, target, seen, random.uniform(0.3, 1.1) * seen.calm_seconds)
        if (target / "manifest.json").exists():
            check(target, expected, seen)
    if not (target / "manifest.json").exists():
        live(source, target, seen, None)
        check(target, expected, seen)
    say(f"{source.name}: {seen.kills} kills, {seen.lives} lives, {seen.stores} stores, {seen.broken or 'all kept'}")
    return seen


def live(source: Source, target: Path, seen: Seen, seconds: float | None) -> None:
    """Type the command; kill it after so many seconds, unless it has ended or None are given.

    Raises:
        RuntimeError: it failed.
    """
    before, begun = safe_parts(target), time.time()
    process = start(source, target)
    seen.lives += 1
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        killed = time.time()
        process.wait()
        seen.kills += 1
        journal = unfinished(target) / "journal"
        safe = max(begun, journal.stat().st_mtime) if journal.exists() else begun
        seen.repeated.append(max(0.0, killed - safe))
        _, alive = psutil.wait_procs(workers, timeout=_GONE_SECONDS)
        seen.broken += [f"{source.name}: process {one.pid} is left" for one in alive]
        if not (target / "manifest.json").exists() and safe_parts(target) < before:
            seen.broken.append(f"{source.name}: {before} parts were safe, {safe_parts(target)} are")
    else:
        if process.returncode:
            # It would fail again, and no kill would ever be made.
            raise RuntimeError(f"{source.name}: status {process.returncode}")
    seen.seconds += time.time() - begun


def start(source: Source, target: Path) -> subprocess.Popen[bytes]:
    """The command, writing to `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command: Sequence[str] = [*source.command, "--out", str(target)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def check(target: Path, expected: dict[str, str], seen: Seen) -> None:
    """Compare a finished store, and look at what lies beside it."""
    seen.stores += 1
    if contents(target) != expected:
        seen.broken.append(f"{target} differs")
    if left := [path.name for path in target.parent.iterdir() if path != target]:
        seen.broken.append(f"beside {target} is left {left}")


def contents(store: Path) -> dict[str, str]:
    """The SHA-256 of every file, by its name."""
    Packed.open(store).verify()
    files = sorted(path for path in store.rglob("*") if path.is_file())
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def unfinished(target: Path) -> Path:
    """Where a preparation keeps what it has done."""
    return target.parent / f".{target.name}.unfinished"


def safe_parts(target: Path) -> int:
    """Lines of the journal that are whole, less the one that names the work."""
    journal = unfinished(target) / "journal"
    return max(0, journal.read_bytes().count(b"\n") - 1) if journal.exists() else 0


def show(seen: Sequence[Seen], console: Console) -> None:
    """Print the table."""
    table = Table(title="random SIGKILLs")
    columns = ("source", "kills", "lives", "stores", "undisturbed, s", "all lives, s")
    for column in (*columns, "repeated, s", "at most, s", "broken"):
        table.add_column(column, justify="left" if column == "source" else "right")
    for one in seen:
        numbers = (one.kills, one.lives, one.stores)
        mean = sum(one.repeated) / max(1, len(one.repeated))
        seconds = (one.calm_seconds, one.seconds, mean, max(one.repeated, default=0.0))
        table.add_row(one.source, *map(str, numbers), *(f"{each:.1f}" for each in seconds), str(len(one.broken)))
    console.print(table)
    for line in (line for one in seen for line in one.broken):
        console.print(line, highlight=False, markup=False)


if __name__ == "__main__":
    tyro.cli(main)
