"""From what the command line calls `--data` to a packed store on disk."""

from collections.abc import Callable
from pathlib import Path

from stars.data.packed import Packed
from stars.data.prepare import prepare
from stars.data.synthetic import GENERATOR_VERSION, Synthetic
from stars.stage import fingerprint
from stars.store import Store

SYNTHETIC = "synthetic"
# Many people rather than many performances: a test on few people says little about the next one.
EMBEDDED = Synthetic(num_subjects=20, num_replications=1)


def locate(
    data: str, store: Store, *, num_processes: int = 1, progress: Callable[[int, int], None] | None = None
) -> Path:
    """The packed store's folder; the embedded synthetic data are made on first use and kept in the store.

    Raises:
        ValueError: `data` is neither `synthetic` nor a prepared store.
    """
    if data == SYNTHETIC:
        return make_synthetic(EMBEDDED, store, num_processes=num_processes, progress=progress)
    folder = Path(data).expanduser().absolute()
    if not (folder / "manifest.json").is_file():
        raise ValueError(
            f"--data is {data}; allowed: {SYNTHETIC}, or a folder written by "
            "`python -m stars prepare ntu-folder --raw DIR --out STORE`"
        )
    return folder


def make_synthetic(
    source: Synthetic, store: Store, *, num_processes: int = 1, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write the source's recordings as text, prepare them like any others, and keep the result under its value."""
    folder = store.location / "data" / f"synthetic-v{GENERATOR_VERSION}-{fingerprint(source)[:16]}"
    if not (folder / "manifest.json").is_file():
        prepare(
            source.names(),
            source.text,
            folder,
            name=SYNTHETIC,
            source=f"synthetic, generator version {GENERATOR_VERSION}",
            num_processes=num_processes,
            progress=progress,
        )
    Packed.open(folder)
    return folder
