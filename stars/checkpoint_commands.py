"""`python -m stars import-checkpoint | export-checkpoint`: weights from and for other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape
from rich.table import Table
from tyro.extras import SubcommandApp

from stars.checkpoints.card import card
from stars.checkpoints.layouts import Weights, read_weights
from stars.checkpoints.writing import Format, read_output, write_mamp, write_safetensors, write_stars
from stars.data.exchange.files import new_file
from stars.imported import Imported, all_imported, find, imported, keep
from stars.outcome import StoreError
from stars.stage import fingerprint
from stars.store import Store, default_location
from stars.terminal import console

_CONSOLE = console()
_LISTED = 4


def add_to(top: SubcommandApp) -> None:
    """Hang these commands into the tree of all."""
    top.command(name="import-checkpoint")(import_checkpoint)
    top.command(name="export-checkpoint")(export_checkpoint)


def import_checkpoint(
    file: Path, /, *, store: Path | None = None, name: str | None = None, heads: int | None = None
) -> None:
    """Put an encoder from a file of weights into the store; sweeps begin with it by --start NAME.

    Read are torch's zip archives (.pth, .pt) in the layouts of MAMP and STARS, and safetensors. Nothing in the file is
    executed. Typed again, it changes nothing.

    Args:
        file: the file.
        store: the store. Default: $STARS_STORE, else ~/.stars/store.
        name: what the encoder is called. Default: the name of the file.
        heads: attention heads of the encoder, which no tensor tells. Default: what the file says, else 8 for the
            published width of 256.
    """
    weights = read_weights(file, heads)
    stage = imported(name or file.stem, weights)
    opened = Store(store or default_location())
    _refuse_taken(opened, stage)
    written = keep(opened, stage, weights, file)
    _show(file, weights)
    there = f"in {opened.location}" if written else f"was in {opened.location} already"
    _say(f"{stage.name}: fingerprint {fingerprint(stage)}, {there}")


def export_checkpoint(
    encoder: str,
    /,
    *,
    out: Path,
    layout: Annotated[Format, tyro.conf.arg(name="format")] = "stars",
    store: Path | None = None,
) -> None:
    """Write an encoder of the store for other programs.

    safetensors come with a README.md beside them: the experiment, the code, the data and their terms.

    Args:
        encoder: the name of an imported encoder, or 8 or more digits of any encoder's fingerprint.
        out: the file to write; must not exist.
        layout: mamp (stage 1: encoder and decoder), stars (stage 2: encoder, head and queue) or safetensors.
        store: the store. Default: $STARS_STORE, else ~/.stars/store.
    """
    opened = Store(store or default_location(), read_only=True)
    stage = find(opened, encoder)
    outcome = opened.outcome(stage)
    if outcome is None:
        raise StoreError(f"{encoder} left no outcome")
    exported = read_output(opened.output(stage), stage.encoder_shape())
    readme = out.parent / "README.md"
    match layout:
        case "mamp":
            exported = exported.only("encoder", "decoder")
            write_mamp(exported, out)
        case "stars":
            exported = exported.only("encoder", "objective", "teacher")
            write_stars(exported, out)
        case "safetensors":
            if readme.exists():
                raise FileExistsError(f"{readme} exists; allowed: an --out in a folder without one")
            described = card(stage, outcome)
            write_safetensors(exported, out, described.document())
            with new_file(readme) as file:
                file.write(described.markdown(out.name).encode())
            _say(str(readme))
    written = ", ".join(f"{part} {len(tensors)} tensors" for part, tensors in exported.parts.items())
    _say(f"{out}, {out.stat().st_size} bytes: {written}")


def _refuse_taken(store: Store, stage: Imported) -> None:
    """Raises ValueError when another encoder of the store has the name."""
    taken = [other for other in all_imported(store) if other.name == stage.name and other != stage]
    if taken:
        raise ValueError(
            f"--name is {stage.name}, which is {fingerprint(taken[0])[:12]} in {store.location}; allowed: another name"
        )


def _show(file: Path, weights: Weights) -> None:
    """What was taken, what was left, and the encoder's sizes."""
    table = Table("part", title=escape(str(file)))
    for column in ("tensors", "numbers", "such as"):
        table.add_column(column, justify="left" if column == "such as" else "right")
    for part, tensors in weights.parts().items():
        count = sum(tensor.numel() for tensor in tensors.values())
        table.add_row(part, str(len(tensors)), f"{count:,}", _some(sorted(tensors)))
    table.add_row("left", str(len(weights.left)), "", _some(weights.left))
    _CONSOLE.print(table)
    shape = weights.shape
    _say(
        f"layout {weights.layout}; encoder: {shape.frames} frames of {shape.joints} joints, patch {shape.patch}, width "
        f"{shape.width}, {shape.depth} blocks of {shape.heads} heads ({weights.heads_from}), MLP ratio "
        f"{shape.mlp_ratio:g}"
    )
    if weights.decoder_shape is not None:
        _say(f"decoder: width {weights.decoder_shape.width}, {weights.decoder_shape.depth} blocks")


def _some(names: Sequence[str]) -> str:
    return escape(", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else ""))


def _say(line: str) -> None:
    """One line as it is: what stands in brackets in it is no markup."""
    _CONSOLE.print(line, highlight=False, markup=False)
