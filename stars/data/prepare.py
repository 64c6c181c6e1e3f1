"""Preparing NTU RGB+D: `.skeleton` text in, a packed store out.

What cannot be used is recorded with file, line and reason. A preparation that is killed goes on where it was when it is
started again, and ends with the same content.
"""

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stars.data.archives import Files, Found, find
from stars.data.missing import missing_skeletons
from stars.data.ntu import parse_name, process
from stars.data.packed import Manifest, SecondBody
from stars.data.packing import Packer, count_valid
from stars.data.preparing import Chunk, Progress, Ready, Results, cut, pack, work_of
from stars.data.skeleton import Unreadable, parse

SUFFIX = ".skeleton"
_CHUNK = 32  # recordings: a second of work, so that handing them out costs nothing
_LEFT_OUT = "listed among the recordings whose skeleton is missing or incomplete; left out as published"

Text = Callable[[str], str | bytes]
NtuDataSet = Literal["ntu60", "ntu120"]
LAST_SETUP: dict[NtuDataSet, int] = {"ntu60": 17, "ntu120": 32}
"""NTU-60 is the first 17 setups of NTU-120."""
_SECOND_BODY: dict[NtuDataSet, SecondBody] = {"ntu60": "zero", "ntu120": "copy"}


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What came of preparing a published data set.

    Attributes:
        manifest: of the store.
        left_out: recordings that were there and are left out as published, ascending.
        num_foreign: recordings that were there and belong to another data set.
    """

    manifest: Manifest
    left_out: tuple[str, ...] = ()
    num_foreign: int = 0


@dataclass(frozen=True, eq=False)
class _Reader:
    """From a recording's text to its sequence."""

    text: Text

    def __call__(self, name: str) -> Results:
        try:
            labels = parse_name(name)
            sequence = process(parse(self.text(name), name))
            if count_valid(sequence) == 0:
                raise Unreadable(name, "every frame sums to 0; at least one must not")
        except Unreadable as problem:
            # With its traceback it would keep the whole text alive until it is written down.
            problem.__cause__ = problem.__context__ = None
            return [problem.with_traceback(None)]
        return [Ready(name, labels, sequence)]


def prepare_folder(
    raw: Path,
    out: Path,
    *,
    name: str | None = None,
    strict: bool = False,
    num_processes: int = 1,
    progress: Progress | None = None,
) -> Manifest:
    """Pack all `.skeleton` files of a folder or archive.

    Args:
        raw: a folder, searched in all its subfolders and `.zip` archives; or one archive.
        out: the packed store; must not exist, or hold the same content already.
        name: of the data set; by default the name of the raw folder.
        strict: raise at the first recording that cannot be used, instead of recording it.
        num_processes: how many work at once; 1 works in this process.
        progress: told how many recordings are done, of how many.

    Raises:
        ValueError: no such folder, no file in it, two files of one name, or not one usable recording.
        Unreadable: with `strict`, the first recording in the order of names that cannot be used.
        FileExistsError: `out` holds something else, or another process is at the same work.
    """
    found = find([raw], SUFFIX)
    names = list(found.places)
    packer = Packer(
        out,
        name=raw.resolve().name if name is None else name,
        source=f"{len(names)} files of NTU {SUFFIX} text",
        work=work_of("folder", _CHUNK, strict, found.identity(frozenset(names))),
    )
    chunks = _chunks(names, found)
    return pack(chunks, packer, refused=found.refused, strict=strict, num_processes=num_processes, progress=progress)


def prepare_ntu(
    data_set: NtuDataSet,
    raw: Sequence[Path],
    out: Path,
    *,
    strict: bool = False,
    num_processes: int = 1,
    progress: Progress | None = None,
) -> Prepared:
    """Pack NTU RGB+D 60 or 120 without the recordings whose skeleton is missing, as published.

    The store of NTU-120 says that a missing second body is a copy of the first, which the published preprocessing does
    there and not for NTU-60; batches are cut accordingly.

    Args:
        data_set: which of the two; recordings of later setups are not NTU-60's and are passed over.
        raw: folders, searched in all their subfolders and `.zip` archives, or archives.
        out: the packed store; must not exist, or hold the same content already.
        strict: raise at the first recording that cannot be used, instead of recording it.
        num_processes: how many work at once; 1 works in this process.
        progress: told how many recordings are done, of how many.

    Raises:
        ValueError: a path that cannot be used, no file in it, two files of one name, or not one usable recording.
        Unreadable: with `strict`, the first recording in the order of names that cannot be used.
        FileExistsError: `out` holds something else, or another process is at the same work.
    """
    found = find(raw, SUFFIX)
    missing = missing_skeletons()
    own = [name for name in found.places if _belongs(name, LAST_SETUP[data_set])]
    names = [name for name in own if name not in missing]
    left_out = tuple(name for name in own if name in missing)
    if not own:
        raise ValueError(f"{' and '.join(map(str, raw))} holds no recording of {data_set}; allowed: one or more")
    packer = Packer(
        out,
        name=data_set,
        source=f"{len(names)} files of NTU {SUFFIX} text; {len(left_out)} without a skeleton left out as published",
        second_body=_SECOND_BODY[data_set],
        work=work_of(data_set, _CHUNK, strict, found.identity(frozenset(own))),
    )
    manifest = pack(
        _chunks(names, found),
        packer,
        refused=found.refused,
        left_out=[Unreadable(name, _LEFT_OUT) for name in left_out],
        strict=strict,
        num_processes=num_processes,
        progress=progress,
    )
    return Prepared(manifest=manifest, left_out=left_out, num_foreign=len(found.places) - len(own))


def prepare(
    names: Sequence[str],
    text: Text,
    out: Path,
    *,
    name: str,
    source: str,
    strict: bool = False,
    num_processes: int = 1,
    progress: Progress | None = None,
) -> Manifest:
    """Pack recordings from anywhere.

    Args:
        names: of the recordings, in any order.
        text: gives a recording's `.skeleton` text; must survive pickling when there are several processes.
        out: the packed store; must not exist, or hold the same content already.
        name: of the data set.
        source: where the recordings come from, in words.
        strict: raise at the first recording that cannot be used, instead of recording it.
        num_processes: how many work at once; 1 works in this process.
        progress: told how many recordings are done, of how many.

    Raises:
        ValueError: no name, a name that occurs twice, or not one usable recording.
        Unreadable: with `strict`, the first recording in the order of names that cannot be used.
        FileExistsError: `out` holds something else.
    """
    ordered = sorted(names)
    for one, other in itertools.pairwise(ordered):
        if one == other:
            raise ValueError(f"recording {one!r} occurs twice; allowed: once")
    chunks = [Chunk(some, _Reader(text)) for some in cut(ordered, _CHUNK)]
    packer = Packer(out, name=name, source=source)
    return pack(chunks, packer, strict=strict, num_processes=num_processes, progress=progress)


def _chunks(names: Sequence[str], found: Found) -> list[Chunk]:
    """A worker is sent the places of its chunk only."""
    return [Chunk(some, _Reader(_files(some, found))) for some in cut(names, _CHUNK, found.num_bytes())]


def _files(names: Collection[str], found: Found) -> Files:
    return Files({name: found.places[name] for name in names}, SUFFIX)


def _belongs(name: str, last_setup: int) -> bool:
    """Whether a recording is of a data set; what has no proper name is, and is rejected when it is read."""
    try:
        return parse_name(name).setup <= last_setup
    except Unreadable:
        return True
