"""`python -m stars import-features`: features of other systems, for every probe that reads features."""

from pathlib import Path

from tyro.extras import SubcommandApp

from stars.data.packed import Packed
from stars.data.protocols import Published
from stars.data.source import locate
from stars.probes.foreign import all_foreign, foreign, keep, read_foreign
from stars.stage import fingerprint
from stars.store import Store, default_location
from stars.terminal import console

_CONSOLE = console()


def add_to(top: SubcommandApp) -> None:
    """Hang this command into the tree of all."""
    top.command(name="import-features")(import_features)


def import_features(
    file: Path,
    /,
    *,
    data: str,
    store: Path | None = None,
    name: str | None = None,
    protocol: Published | None = None,
) -> None:
    """Put features that another system made of the same recordings into the store, as an npz file holds them.

    Either features (samples, width) with names (samples,), and labels if there are any; or train_features,
    train_labels, test_features and test_labels in the published order of --protocol. Nothing in the file is executed.
    Typed again, it changes nothing.

    Args:
        file: the npz file.
        data: synthetic, or a folder written by `python -m stars prepare`.
        store: the store. Default: $STARS_STORE, else ~/.stars/store.
        name: what the features are called. Default: the name of the file.
        protocol: whose published order the samples stand in. Default: they have names.
    """
    opened = Store(store or default_location())
    packed = Packed.open(locate(data, opened))
    found = read_foreign(file, packed, protocol)
    stage = foreign(name or file.stem, found, packed)
    taken = [other for other in all_foreign(opened) if other.name == stage.name and other != stage]
    if taken:
        raise ValueError(
            f"--name is {stage.name}, which is {fingerprint(taken[0])[:12]} in {opened.location}; allowed: another name"
        )
    written = keep(opened, stage, found, file)
    num_samples, width = found.part.features.shape
    left = f", {found.num_left} samples of the file are not among them" if found.num_left else ""
    _say(f"{num_samples} of the {len(packed.names)} samples of {packed.manifest.name}, {width} wide{left}")
    there = f"in {opened.location}" if written else f"was in {opened.location} already"
    _say(f"{stage.name}: fingerprint {fingerprint(stage)}, {there}")


def _say(line: str) -> None:
    """One line as it is: what stands in brackets in it is no markup."""
    _CONSOLE.print(line, highlight=False, markup=False)
