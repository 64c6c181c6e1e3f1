"""The command line of the method: prepare recordings, make synthetic ones, look after the store.

    python -m stars prepare ntu-folder --raw DIR --out STORE
    python -m stars synthesize --out DIR
    python -m stars store ls                                  how much of everything there is
    python -m stars store verify                              compares every file with its hash
    python -m stars store gc --unreferenced                   lists what can be removed; --delete removes it
    python -m stars store copy --to OTHER --sweep lr_decay    what a sweep needs, verified on the way

Sweeps have commands of their own: `python sweeps/lr_decay.py --help`.
"""

import os
import sys
from pathlib import Path

import tyro
from rich.progress import Progress
from tyro.extras import SubcommandApp

from stars.data.prepare import prepare_folder
from stars.data.source import EMBEDDED
from stars.data.synthetic import Synthetic, write
from stars.outcome import StoreError
from stars.store_commands import store_copy, store_gc, store_ls, store_verify
from stars.terminal import console

_CONSOLE = console()


def prepare_ntu_folder(
    raw: Path, out: Path, name: str | None = None, strict: bool = False, processes: int | None = None
) -> None:
    """Pack a folder of NTU RGB+D `.skeleton` files into one memory-mapped store.

    Files that cannot be read are listed with line and reason in OUT/rejected.parquet, and the rest is prepared.

    Args:
        raw: folder with the files, searched in all its subfolders.
        out: the store to write; must not exist.
        name: what the data set is called in results. Default: the name of the raw folder.
        strict: stop at the first file that cannot be read.
        processes: how many read at once. Default: one a processor.
    """
    with Progress(console=_CONSOLE, disable=not _CONSOLE.is_terminal, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        manifest = prepare_folder(
            raw,
            out,
            name=name,
            strict=strict,
            num_processes=processes or os.cpu_count() or 1,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    rejected = manifest.num_rejected
    _CONSOLE.print(f"{manifest.num_samples} sequences in {out}, {rejected} rejected", highlight=False)
    if rejected:
        _CONSOLE.print(f"what was rejected, with line and reason: {out / 'rejected.parquet'}", highlight=False)


def synthesize(out: Path, source: tyro.conf.OmitArgPrefixes[Synthetic] = EMBEDDED) -> None:
    """Write the embedded synthetic recordings as genuine NTU RGB+D `.skeleton` text.

    Args:
        out: folder for the files.
        source: how many, of what, and how hard.
    """
    out.mkdir(parents=True, exist_ok=True)
    count = write(source, out)
    _CONSOLE.print(f"{count} recordings in {out}", highlight=False)


def application() -> SubcommandApp:
    """The commands as a tree."""
    top, prepare, store = SubcommandApp(), SubcommandApp(), SubcommandApp()
    prepare.command(name="ntu-folder")(prepare_ntu_folder)
    store.command(name="ls")(store_ls)
    store.command(name="verify")(store_verify)
    store.command(name="gc")(store_gc)
    store.command(name="copy")(store_copy)
    top.command(prepare, name="prepare", help="Pack recordings into one memory-mapped store.")
    top.command(synthesize)
    top.command(store, name="store", help="Look after what has been computed.")
    return top


def main() -> None:
    """Run one command; bad input ends with status 2 and one line."""
    try:
        application().cli(prog="python -m stars", description=__doc__, config=(tyro.conf.FlagCreatePairsOff,))
    except (ValueError, OSError, StoreError) as problem:
        print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - the edge
        sys.exit(2)


if __name__ == "__main__":
    main()
