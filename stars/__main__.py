"""The command line of the method: prepare recordings, make synthetic ones, look after the store.

    python -m stars prepare ntu60 --raw DIR|ZIP --out STORE                     also ntu120, ntu-folder
    python -m stars prepare pku1 --raw DIR --labels DIR --out STORE             also pku2
    python -m stars synthesize --out DIR
    python -m stars import npz|pickle|folder PATH --out STORE                   also export npz|pickle STORE --out FILE
    python -m stars show STORE SAMPLE --out FILE.png|.gif                       also describe STORE --figure FILE.png
    python -m stars import-checkpoint FILE                    weights of others, in the published layouts, as a start
    python -m stars export-checkpoint ENCODER --format stars --out FILE                     also mamp, safetensors
    python -m stars import-features FILE --data STORE         features of other systems, for KNN, linear and few-shot
    python -m stars recipes                                   where paper and published code differ, and why
    python -m stars store ls                                  how much of everything there is
    python -m stars store verify                              compares every file with its hash
    python -m stars store gc --unreferenced                   lists what can be removed; --delete removes it
    python -m stars store copy --to OTHER --sweep lr_decay    what a sweep needs, verified on the way

Sweeps have commands of their own: `python sweeps/lr_decay.py --help`.
"""

import sys
from pathlib import Path

import tyro
from tyro.extras import SubcommandApp

from stars.checkpoint_commands import add_to as add_checkpoint_commands
from stars.data.source import EMBEDDED
from stars.data.synthetic import Synthetic, write
from stars.data_commands import add_to as add_data_commands
from stars.differences import page
from stars.evaluate_command import add_to as add_evaluate_command
from stars.feature_commands import add_to as add_feature_commands
from stars.outcome import StoreError
from stars.prepare_commands import prepare_ntu60, prepare_ntu120, prepare_ntu_folder, prepare_pku1, prepare_pku2
from stars.store_commands import store_copy, store_gc, store_ls, store_verify
from stars.terminal import console

_CONSOLE = console()


def synthesize(out: Path, source: tyro.conf.OmitArgPrefixes[Synthetic] = EMBEDDED) -> None:
    """Write the embedded synthetic recordings as genuine NTU RGB+D `.skeleton` text.

    Args:
        out: folder for the files.
        source: how many, of what, and how hard.
    """
    out.mkdir(parents=True, exist_ok=True)
    count = write(source, out)
    _CONSOLE.print(f"{count} recordings in {out}", highlight=False)


def recipes() -> None:
    """Say where the recipes `paper` and `published` differ, and why, as Markdown (`docs/RECIPES.md`)."""
    print(page(), end="")  # noqa: T201 - a page for a file, not lines for a terminal


def application() -> SubcommandApp:
    """The commands as a tree."""
    top, prepare, store = SubcommandApp(), SubcommandApp(), SubcommandApp()
    prepare.command(name="ntu60")(prepare_ntu60)
    prepare.command(name="ntu120")(prepare_ntu120)
    prepare.command(name="pku1")(prepare_pku1)
    prepare.command(name="pku2")(prepare_pku2)
    prepare.command(name="ntu-folder")(prepare_ntu_folder)
    store.command(name="ls")(store_ls)
    store.command(name="verify")(store_verify)
    store.command(name="gc")(store_gc)
    store.command(name="copy")(store_copy)
    top.command(prepare, name="prepare", help="Pack recordings into one memory-mapped store.")
    top.command(synthesize)
    top.command(recipes)
    top.command(store, name="store", help="Look after what has been computed.")
    add_data_commands(top)
    add_checkpoint_commands(top)
    add_evaluate_command(top)
    add_feature_commands(top)
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
