"""Preparing a data set: raw text in, a packed store out.

The result does not depend on how many processes share the work: recordings are cut into chunks in the order of their
names and their results are written in that order. What cannot be used is recorded with file, line and reason.
"""

import itertools
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stars.data.ntu import NtuName, parse_name, process
from stars.data.packed import Manifest
from stars.data.packing import Packer, count_valid
from stars.data.skeleton import Unreadable, parse

SUFFIX = ".skeleton"
_CHUNK = 32  # recordings: a second of work, so that handing them out costs nothing

Text = Callable[[str], str | bytes]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Ready:
    """A recording as it goes into the store."""

    name: str
    labels: NtuName
    sequence: Float32[np.ndarray, "frame body joint 3"]


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Some recordings, and the function that gives their text."""

    names: tuple[str, ...]
    text: Text

    def run(self) -> list[_Ready | Unreadable]:
        """Read and preprocess; what cannot be used is returned as the exception that says why."""
        return [self._one(name) for name in self.names]

    def _one(self, name: str) -> _Ready | Unreadable:
        try:
            labels = parse_name(name)
            sequence = process(parse(self.text(name), name))
            if count_valid(sequence) == 0:
                raise Unreadable(name, "every frame sums to 0; at least one must not")
        except Unreadable as problem:
            return problem
        return _Ready(name, labels, sequence)


@dataclass(frozen=True, eq=False)
class _Files:
    """The text of recordings that are files."""

    paths: dict[str, Path]

    def __call__(self, name: str) -> bytes:
        try:
            return self.paths[name].read_bytes()
        except OSError as problem:
            raise Unreadable(name, f"cannot be opened ({problem.strerror})") from problem


def prepare_folder(
    raw: Path,
    out: Path,
    *,
    name: str | None = None,
    strict: bool = False,
    num_processes: int = 1,
    progress: Progress | None = None,
) -> Manifest:
    """Pack all `.skeleton` files below a folder.

    Args:
        raw: searched in all its subfolders.
        out: the packed store; must not exist, or hold the same content already.
        name: of the data set; by default the name of the raw folder.
        strict: raise at the first recording that cannot be used, instead of recording it.
        num_processes: how many work at once; 1 works in this process.
        progress: told how many recordings are done, of how many.

    Raises:
        ValueError: no such folder, no file in it, two files of one name, or not one usable recording.
        Unreadable: with `strict`, the first recording in the order of names that cannot be used.
        FileExistsError: `out` holds something else.
    """
    if not raw.is_dir():
        raise ValueError(f"{raw} is no folder; allowed: one with {SUFFIX} files")
    paths: dict[str, Path] = {}
    for path in sorted(raw.rglob(f"*{SUFFIX}")):
        if path.stem in paths:
            raise ValueError(f"{paths[path.stem]} and {path} have the same name; allowed: one file of a name")
        paths[path.stem] = path
    if not paths:
        raise ValueError(f"{raw} holds no {SUFFIX} file; allowed: one or more, in subfolders too")
    # A worker is sent the paths of its chunk only.
    chunks = [_Chunk(names, _Files({name: paths[name] for name in names})) for names in _cut(sorted(paths))]
    source = f"{len(paths)} files of NTU {SUFFIX} text"
    packer = Packer(out, name=raw.resolve().name if name is None else name, source=source)
    return _pack(chunks, packer, strict=strict, num_processes=num_processes, progress=progress)


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
    chunks = [_Chunk(some, text) for some in _cut(ordered)]
    packer = Packer(out, name=name, source=source)
    return _pack(chunks, packer, strict=strict, num_processes=num_processes, progress=progress)


def _pack(
    chunks: Sequence[_Chunk], packer: Packer, *, strict: bool, num_processes: int, progress: Progress | None
) -> Manifest:
    if num_processes < 1:
        raise ValueError(f"num_processes is {num_processes}; allowed: 1 or more")
    total = sum(len(chunk.names) for chunk in chunks)
    done = 0
    with packer:
        for results in _in_order(chunks, num_processes):
            for result in results:
                if isinstance(result, Unreadable):
                    if strict:
                        raise result
                    packer.reject(f"{result.name}{SUFFIX}", result.line, result.reason)
                else:
                    packer.append(result.name, result.labels, result.sequence)
                done += 1
            if progress:
                progress(done, total)
        if not packer.rows:
            first = packer.rejected[0] if packer.rejected else {"file": "no recording at all", "reason": "none given"}
            raise ValueError(f"none of {total} recordings is usable; the first, {first['file']}: {first['reason']}")
        return packer.finish()


def _cut(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return (tuple(names[start : start + _CHUNK]) for start in range(0, len(names), _CHUNK))


def _in_order(chunks: Sequence[_Chunk], num_processes: int) -> Iterator[list[_Ready | Unreadable]]:
    """The results of the chunks, first to last, whichever is ready first."""
    if num_processes == 1 or len(chunks) == 1:
        yield from (chunk.run() for chunk in chunks)
        return
    # Fork copies the locks of threads that are running; spawn starts clean everywhere.
    context = multiprocessing.get_context("spawn")
    workers = min(num_processes, len(chunks))
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting: deque[Future[list[_Ready | Unreadable]]] = deque()
        try:
            for chunk in chunks:
                waiting.append(pool.submit(chunk.run))
                # No more than two chunks a worker are in memory at a time.
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
