"""The work that all ways of preparing share: chunks of recordings, read in parallel, packed in their order.

The result does not depend on how many processes share the work, nor on how often it was killed and taken up again:
recordings are cut into chunks in the order of their names, their results are written in that order, and each chunk is
committed as one part.
"""

import hashlib
import json
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.process import parent_process
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from stars.data.ntu import NtuName
from stars.data.packed import Manifest
from stars.data.packing import Packer
from stars.data.skeleton import Unreadable

Progress = Callable[[int, int], None]

MOST_BYTES = 32 * 2**20
"""Of the files of a chunk, unless it is a single one: 32 recordings of NTU RGB+D have 14 MB as a rule."""
# What decides the samples and how they are written: parts that other code made are not gone on from.
_SOURCES = (
    "archives",
    "missing",
    "ntu",
    "packed",
    "packing",
    "pku",
    "prepare",
    "preparing",
    "skeleton",
    "skeleton_compiled",
    "zipped",
)


@dataclass(frozen=True, eq=False)
class Ready:
    """A sample as it goes into the store.

    Attributes:
        name: of the sample.
        labels: what it shows; 0 for what is not known.
        sequence: in metres, zero where a body is absent.
    """

    name: str
    labels: NtuName
    sequence: Float32[np.ndarray, "frame body joint 3"]


Results = list[Ready | Unreadable]
Reader = Callable[[str], Results]
"""Gives the samples of a recording, by its name; what cannot be used is returned as the exception that says why."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some recordings, and what reads them; both must survive pickling when there are several processes."""

    names: tuple[str, ...]
    read: Reader

    def run(self) -> Results:
        """All results, in the order of names."""
        return [result for name in self.names for result in self.read(name)]


def cut(names: Sequence[str], size: int, num_bytes: Mapping[str, int] | None = None) -> Iterator[tuple[str, ...]]:
    """Consecutive names, so many at a time; fewer where their files would have more than `MOST_BYTES` together.

    Args:
        names: of recordings.
        size: of a chunk, at most.
        num_bytes: of every name's file; None where that is not known.
    """
    chunk: list[str] = []
    total = 0
    for name in names:
        own = num_bytes[name] if num_bytes else 0
        if chunk and (len(chunk) == size or total + own > MOST_BYTES):
            yield tuple(chunk)
            chunk, total = [], 0
        chunk.append(name)
        total += own
    if chunk:
        yield tuple(chunk)


def work_of(*parts: object) -> str:
    """The hash of a work: of what is given and of the code that reads and packs."""
    sources = hashlib.sha256()
    for module in _SOURCES:
        sources.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    return hashlib.sha256(json.dumps([sources.hexdigest(), *parts]).encode()).hexdigest()


def pack(
    chunks: Sequence[Chunk],
    packer: Packer,
    *,
    refused: Sequence[Unreadable] = (),
    left_out: Sequence[Unreadable] = (),
    train: Callable[[Sequence[str]], Mapping[str, Sequence[str]]] | None = None,
    strict: bool = False,
    num_processes: int = 1,
    progress: Progress | None = None,
) -> Manifest:
    """Read all chunks and pack what they give.

    Args:
        chunks: in the order of names.
        packer: of the store; entered here.
        refused: what was rejected before anything was read.
        left_out: what is not meant to be used; recorded like what was rejected.
        train: from the names of all samples to the training samples of protocols that the data set lists itself.
        strict: raise at the first recording that cannot be used, instead of recording it.
        num_processes: how many work at once; 1 works in this process.
        progress: told how many recordings are done, of how many.

    Raises:
        ValueError: not one usable recording, or no process.
        Unreadable: with `strict`, the first recording that cannot be used.
        FileExistsError: the packer's place holds something else, or another process is at the same work.
    """
    if num_processes < 1:
        raise ValueError(f"num_processes is {num_processes}; allowed: 1 or more")
    if strict and refused:
        raise refused[0]
    total = sum(len(chunk.names) for chunk in chunks)
    with packer:
        remaining = chunks[packer.num_parts :]
        done = total - sum(len(chunk.names) for chunk in remaining)
        if packer.num_parts == 0:
            for problem in (*refused, *left_out):
                packer.reject(problem.file, problem.line, problem.reason)
        for chunk, results in zip(remaining, _in_order(remaining, num_processes), strict=True):
            for result in results:
                if isinstance(result, Ready):
                    packer.append(result.name, result.labels, result.sequence)
                elif strict:
                    raise result
                else:
                    packer.reject(result.file, result.line, result.reason)
            packer.commit()
            done += len(chunk.names)
            if progress:
                progress(done, total)
        if not packer.rows:
            first = packer.rejected[0] if packer.rejected else {"file": "no recording at all", "reason": "none given"}
            raise ValueError(f"none of {total} recordings is usable; the first, {first['file']}: {first['reason']}")
        return packer.finish(train([row["name"] for row in packer.rows]) if train else None)


def _in_order(chunks: Sequence[Chunk], num_processes: int) -> Iterator[Results]:
    """The results of the chunks, first to last, whichever is ready first."""
    if num_processes == 1 or len(chunks) <= 1:
        yield from (chunk.run() for chunk in chunks)
        return
    # Fork copies the locks of threads that are running; spawn starts clean everywhere.
    context = multiprocessing.get_context("spawn")
    workers = min(num_processes, len(chunks))
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_with_parent) as pool:
        waiting: deque[Future[Results]] = deque()
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


def _leave_with_parent() -> None:
    """End this worker when its parent is gone: after a SIGKILL nobody else would, and it waits for work for ever."""

    def watch() -> None:
        parent = parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
