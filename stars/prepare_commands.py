"""`python -m stars prepare …`: pack recordings into one memory-mapped store.

For a published data set the numbers of every protocol stand beside the published ones at the end; where they differ, a
warning names what is absent.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import Progress
from rich.table import Table

from stars.data.packed import Manifest, Packed
from stars.data.pku import SPLITS, PkuDataSet, prepare_pku, read_split
from stars.data.prepare import NtuDataSet, prepare_folder, prepare_ntu
from stars.data.published import DataSet, Difference, counts, ntu_difference, pku_difference
from stars.terminal import console

_CONSOLE = console()
_LISTED = 20
_MOST_PROCESSES = 4  # unless asked for: all together stay below 2 GB


def prepare_ntu_folder(
    raw: Path, out: Path, name: str | None = None, strict: bool = False, processes: int | None = None
) -> None:
    """Pack a folder of NTU RGB+D `.skeleton` files into one memory-mapped store.

    Files that cannot be read are listed with line and reason in OUT/rejected.parquet, and the rest is prepared. Killed
    and started again, it goes on where it was.

    Args:
        raw: folder with the files, searched in all its subfolders and .zip archives; or one archive.
        out: the store to write; must not exist.
        name: what the data set is called in results. Default: the name of the raw folder.
        strict: stop at the first file that cannot be read.
        processes: how many read at once. Default: one a processor, four at most (2 GB).
    """
    with _progress() as told:
        manifest = prepare_folder(raw, out, name=name, strict=strict, num_processes=_number(processes), progress=told)
    _tell(manifest, out, manifest.num_rejected)


def prepare_ntu60(raw: tuple[Path, ...], out: Path, strict: bool = False, processes: int | None = None) -> None:
    """Pack NTU RGB+D 60 into one memory-mapped store, from .skeleton files or the .zip archive as downloaded.

    The 302 recordings without a skeleton are left out as published. Files that cannot be read are listed with line and
    reason in OUT/rejected.parquet, and the rest is prepared. Killed and started again, it goes on where it was.

    Args:
        raw: folders, searched in all their subfolders and .zip archives; or archives. Never unpacked.
        out: the store to write; must not exist.
        strict: stop at the first file that cannot be read.
        processes: how many read at once. Default: one a processor, four at most (2 GB).
    """
    _ntu("ntu60", raw, out, strict, processes)


def prepare_ntu120(raw: tuple[Path, ...], out: Path, strict: bool = False, processes: int | None = None) -> None:
    """Pack NTU RGB+D 120 into one memory-mapped store, from .skeleton files or the .zip archives as downloaded.

    The 535 recordings without a skeleton are left out as published. Files that cannot be read are listed with line and
    reason in OUT/rejected.parquet, and the rest is prepared. Killed and started again, it goes on where it was.

    Args:
        raw: folders, searched in all their subfolders and .zip archives; or archives. Never unpacked.
        out: the store to write; must not exist.
        strict: stop at the first file that cannot be read.
        processes: how many read at once. Default: one a processor, four at most (2 GB).
    """
    _ntu("ntu120", raw, out, strict, processes)


def prepare_pku1(
    *,
    raw: tuple[Path, ...],
    labels: tuple[Path, ...],
    out: Path,
    splits: Path | None = None,
    strict: bool = False,
    processes: int | None = None,
) -> None:
    """Pack PKU-MMD phase I into one memory-mapped store: every labelled action is a sample.

    Args:
        raw: folders with the videos' skeleton text, searched in all their subfolders and .zip archives; or archives.
        labels: the same with the label files.
        out: the store to write; must not exist.
        splits: folder with cross-subject.txt and cross-view.txt. Default: the folder that the labels are in.
        strict: stop at the first file or label that cannot be used.
        processes: how many read at once. Default: one a processor, four at most (2 GB).
    """
    _pku("pku1", raw=raw, labels=labels, out=out, splits=splits, strict=strict, processes=processes)


def prepare_pku2(
    *,
    raw: tuple[Path, ...],
    labels: tuple[Path, ...],
    out: Path,
    splits: Path | None = None,
    strict: bool = False,
    processes: int | None = None,
) -> None:
    """Pack PKU-MMD phase II into one memory-mapped store: every labelled action is a sample.

    Args:
        raw: folders with the videos' skeleton text, searched in all their subfolders and .zip archives; or archives.
        labels: the same with the label files.
        out: the store to write; must not exist.
        splits: folder with cross-subject_v2.txt and cross-view_v2.txt. Default: the folder that the labels are in.
        strict: stop at the first file or label that cannot be used.
        processes: how many read at once. Default: one a processor, four at most (2 GB).
    """
    _pku("pku2", raw=raw, labels=labels, out=out, splits=splits, strict=strict, processes=processes)


def _ntu(data_set: NtuDataSet, raw: tuple[Path, ...], out: Path, strict: bool, processes: int | None) -> None:
    with _progress() as told:
        prepared = prepare_ntu(data_set, raw, out, strict=strict, num_processes=_number(processes), progress=told)
    _tell(prepared.manifest, out, prepared.manifest.num_rejected - len(prepared.left_out))
    if prepared.left_out:
        _say(f"{len(prepared.left_out)} recordings without a skeleton left out as published")
    if prepared.num_foreign:
        _say(f"{prepared.num_foreign} recordings of later setups passed over: they are not of {data_set}")
    packed = Packed.open(out)
    _compare(data_set, packed, lambda: ntu_difference(data_set, packed))


def _pku(
    data_set: PkuDataSet,
    *,
    raw: tuple[Path, ...],
    labels: tuple[Path, ...],
    out: Path,
    splits: Path | None,
    strict: bool,
    processes: int | None,
) -> None:
    if not labels:
        raise ValueError("--labels names no path; allowed: one or more")
    place = splits or labels[0].absolute().parent
    with _progress() as told:
        manifest = prepare_pku(
            data_set, raw, labels, place, out, strict=strict, num_processes=_number(processes), progress=told
        )
    _tell(manifest, out, manifest.num_rejected)
    packed = Packed.open(out)
    videos = {video for name in SPLITS[data_set].values() for part in read_split(place / name) for video in part}
    _compare(data_set, packed, lambda: pku_difference(packed, videos))


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, and the function that moves it."""
    with Progress(console=_CONSOLE, disable=not _CONSOLE.is_terminal, transient=True) as bar:
        task = bar.add_task("reading", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _number(processes: int | None) -> int:
    return min(os.cpu_count() or 1, _MOST_PROCESSES) if processes is None else processes


def _tell(manifest: Manifest, out: Path, num_rejected: int) -> None:
    _say(f"{manifest.num_samples} sequences in {out}, {num_rejected} rejected")
    if manifest.num_rejected:
        _say(f"what was rejected or left out, with line and reason: {out / 'rejected.parquet'}")


def _compare(data_set: DataSet, packed: Packed, difference: Callable[[], Difference]) -> None:
    """The numbers beside the published ones, and a warning where they differ."""
    found = counts(data_set, packed)
    table = Table(title=f"{data_set}: sequences by protocol")
    for column in ("protocol", "part", "published", "here", ""):
        table.add_column(column, justify="right" if column in {"published", "here"} else "left")
    for count in found:
        published = " or ".join(f"{number:,}" for number in count.published) or "-"
        verdict = "" if count.agrees else "differs"
        table.add_row(count.protocol, count.part, published, f"{count.found:,}", verdict)
    _CONSOLE.print(table)
    if not all(count.agrees for count in found):
        differs = difference()
        _say("warning: the numbers differ from the published ones")
        _list("absent", differs.absent, packed.path)
        _list("not expected", differs.unexpected, packed.path)
        _say("what is absent with all that belongs to it cannot be named")


def _list(what: str, names: tuple[str, ...], folder: Path) -> None:
    """Some of the names; all of them in a file beside the store, where they are many."""
    more = ""
    if len(names) > _LISTED:
        file = folder.parent / f"{folder.name}.{what.replace(' ', '-')}.txt"
        file.write_text("".join(f"{name}\n" for name in names))
        more = f" and {len(names) - _LISTED} more, all in {file}"
    if names:
        _say(f"{len(names)} {what}: {' '.join(names[:_LISTED])}{more}")


def _say(text: str) -> None:
    _CONSOLE.print(text, highlight=False, markup=False)
