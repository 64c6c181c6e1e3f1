"""`python -m stars import | export | show | describe`: data sets in other formats, and pictures of what is there."""

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.progress import Progress
from tyro.extras import SubcommandApp

from stars.data.exchange.annotations import export_pickle, import_pickle
from stars.data.exchange.bodies import Arrangement
from stars.data.exchange.folder import import_folder
from stars.data.exchange.npz import Split, export_npz, import_npz
from stars.data.layouts import layout as named_layout
from stars.data.packed import JOINT_LAYOUT, Manifest, Packed, SecondBody
from stars.data.summary import summarize
from stars.terminal import console

_CONSOLE = console()
_IN_PICTURES = ("coco-17", "openpose-18", "openpose-25")


def add_to(top: SubcommandApp) -> None:
    """Hang these commands into the tree of all."""
    imports, exports = SubcommandApp(), SubcommandApp()
    imports.command(name="npz")(import_from_npz)
    imports.command(name="pickle")(import_from_pickle)
    imports.command(name="folder")(import_from_folder)
    exports.command(name="npz")(export_to_npz)
    exports.command(name="pickle")(export_to_pickle)
    top.command(imports, name="import", help="Pack data in other formats into one memory-mapped store.")
    top.command(exports, name="export", help="Write a packed store in other formats.")
    top.command(show)
    top.command(describe)


def import_from_npz(
    path: Path,
    /,
    *,
    out: Path,
    name: str | None = None,
    protocol: Split | None = None,
    second_body: SecondBody | None = None,
) -> None:
    """Pack an npz of the published layout, such as NTU60_XSub.npz, with its own split as the store's protocol.

    Args:
        path: the file.
        out: the store to write; must not exist.
        name: what the data set is called in results. Default: the name of the file.
        protocol: of the split in the file. Default: that in its name, otherwise a list of the store's own.
        second_body: what stands for a missing second body. Default: a copy in NTU120_… files, otherwise zeros.
    """
    with _telling("samples") as progress:
        manifest = import_npz(path, out, name=name, protocol=protocol, second_body=second_body, progress=progress)
    _said(manifest, out)


def import_from_pickle(
    path: Path,
    /,
    *,
    out: Path,
    name: str | None = None,
    layout: str = JOINT_LAYOUT,
    own_joints: bool = False,
    center: bool = False,
    second_body: SecondBody | None = None,
) -> None:
    """Pack an annotation pickle of pyskl or MMAction2; nothing in it is executed.

    Args:
        path: the file.
        out: the store to write; must not exist.
        name: what the data set is called in results. Default: the name of the file.
        layout: which joint is which: kinect-v2-25, kinect-v1-20, coco-17, openpose-18, openpose-25, mediapipe-33,
            h36m-17 or smpl-24.
        own_joints: keep the joints of that layout instead of the 25 of NTU RGB+D, which are filled from them.
        center: move the origin to the middle of the first body's spine, as the published preprocessing does.
        second_body: what stands for a missing second body in the published npz of these data. Default: a copy in
            ntu120_… files, otherwise zeros.
    """
    arrangement = Arrangement(layout=named_layout(layout), own_joints=own_joints, center=center)
    with _telling("samples") as progress:
        manifest = import_pickle(
            path, out, name=name, arrangement=arrangement, second_body=second_body, progress=progress
        )
    _said(manifest, out)


def import_from_folder(
    path: Path,
    /,
    *,
    out: Path,
    labels: Path | None = None,
    name: str | None = None,
    layout: str = JOINT_LAYOUT,
    own_joints: bool = False,
    center: bool = False,
    dimensions: Literal[2, 3] | None = None,
) -> None:
    """Pack a folder of .npy or .csv recordings with a table of labels.

    The table has the columns file and label, and optionally subject, camera, setup and replication. An array is
    (frames, joints, coordinates) or (frames, bodies, joints, coordinates); a confidence may follow the coordinates.

    Args:
        path: the folder.
        out: the store to write; must not exist.
        labels: the table. Default: labels.csv in the folder.
        name: what the data set is called in results. Default: the name of the folder.
        layout: which joint is which: kinect-v2-25, kinect-v1-20, coco-17, openpose-18, openpose-25, mediapipe-33,
            h36m-17 or smpl-24.
        own_joints: keep the joints of that layout instead of the 25 of NTU RGB+D, which are filled from them.
        center: move the origin to the middle of the first body's spine, as the published preprocessing does.
        dimensions: coordinates of a joint; a further number is its confidence. Default: 3; layouts of key points in
            pictures (coco-17, openpose-18, openpose-25) have to say it.
    """
    arrangement = Arrangement(layout=named_layout(layout), own_joints=own_joints, center=center)
    with _telling("recordings") as progress:
        manifest = import_folder(
            path,
            out,
            arrangement=arrangement,
            labels=labels,
            num_dimensions=_dimensions(dimensions, layout),
            name=name,
            progress=progress,
        )
    _said(manifest, out)


def export_to_npz(store: Path, /, *, out: Path, protocol: Split | None = None, classes: int | None = None) -> None:
    """Write a packed store as an npz of the published layout.

    Args:
        store: the packed store.
        out: the file to write; must not exist.
        protocol: what is training and what is test. Default: the only protocol that the store brings.
        classes: columns of the one-hot labels. Default: the highest action.
    """
    with _telling("samples") as progress:
        export_npz(Packed.open(store), out, protocol=protocol, num_classes=classes, progress=progress)
    _say(f"{out}, {out.stat().st_size} bytes")


def export_to_pickle(store: Path, /, *, out: Path) -> None:
    """Write a packed store as an annotation pickle of pyskl and MMAction2.

    Args:
        store: the packed store.
        out: the file to write; must not exist.
    """
    export_pickle(Packed.open(store), out)
    _say(f"{out}, {out.stat().st_size} bytes")


def _dimensions(given: Literal[2, 3] | None, layout: str) -> Literal[2, 3]:
    """The coordinates of a joint. Raises ValueError where x, y, confidence might pass for x, y, z."""
    if given is None and layout in _IN_PICTURES:
        raise ValueError(
            f"--dimensions is not given for {layout}, whose joints mostly lie in pictures; allowed: 2 or 3"
        )
    return 3 if given is None else given


def show(store: Path, sample: str, /, *, out: Path) -> None:
    """Draw a sample: a strip of stick figures as PNG, or an animation as GIF.

    Args:
        store: the packed store.
        sample: its name.
        out: the file to write, .png or .gif.
    """
    # Nobody else waits for matplotlib.
    from stars.data import draw

    packed = Packed.open(store)
    if out.exists():
        raise FileExistsError(f"{out} exists; allowed: a new file")
    match out.suffix.lower():
        case ".png":
            draw.draw_strip(draw.poses(packed, sample), out)
        case ".gif":
            draw.draw_animation(draw.poses(packed, sample, draw.animated(packed, sample)), out)
        case other:
            raise ValueError(f"--out ends in {other!r}; allowed: .png for a strip, .gif for an animation")
    _say(str(out))


def describe(store: Path, /, *, figure: Path | None = None) -> None:
    """Count what a packed store holds: by class, subject, camera, setup, length, bodies and NaN.

    Args:
        store: the packed store.
        figure: also draw it, as PNG.
    """
    summary = summarize(Packed.open(store))
    for line in summary.lines():
        _say(line)
    if figure is not None:
        from stars.data.draw import draw_summary

        draw_summary(summary, figure)
        _say(str(figure))


@contextmanager
def _telling(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal, and every warning as one line."""
    with (
        warnings.catch_warnings(record=True) as caught,
        Progress(console=_CONSOLE, disable=not _CONSOLE.is_terminal, transient=True) as bar,
    ):
        warnings.simplefilter("always")
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
    for warning in caught:
        print(f"warning: {warning.message}", file=sys.stderr)  # noqa: T201 - the edge


def _said(manifest: Manifest, out: Path) -> None:
    _say(f"{manifest.num_samples} sequences in {out}, {manifest.num_rejected} rejected")
    if manifest.num_rejected:
        _say(f"what was rejected, and why: {out / 'rejected.parquet'}")
    _say(manifest.source)


def _say(line: str) -> None:
    """One line as it is: what stands in brackets in it is no markup."""
    _CONSOLE.print(line, highlight=False, markup=False)
