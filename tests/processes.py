"""Processes that tests start: ones that kill themselves, and gloo groups of several workers.

They are forked from a server that has imported torch and done nothing with it, so that each starts at once.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Container, Iterator
from datetime import timedelta
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, ParamSpec

import torch
import torch.distributed

P = ParamSpec("P")

_CONTEXT = multiprocessing.get_context("forkserver")
# The last two torch imports itself when the first model and the first optimiser are made.
_CONTEXT.set_forkserver_preload(["stars.execute", "stars.pretrain", "stars.tune", "torch._decomp", "torch._dynamo"])
_PATIENCE = 60  # seconds


def start(work: Callable[P, None], *given: P.args, **named: P.kwargs) -> ForkServerProcess:
    """Begin `work` in a process of its own, with one thread and warnings as errors."""
    process = _CONTEXT.Process(target=_strictly, args=(partial(work, *given, **named),), daemon=True)
    process.start()
    return process


def _strictly(work: Callable[[], None]) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    work()


def ended(process: ForkServerProcess) -> int:
    """The exit status, negative for a signal. Raises TimeoutError for a process that hangs, and kills it."""
    process.join(_PATIENCE)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"{process.name} has not ended within {_PATIENCE} s")
    return process.exitcode


def as_workers(world_size: int, meeting: Path, work: Callable[P, None], *given: P.args, **named: P.kwargs) -> None:
    """Run `work` in every worker of a gloo group.

    Args:
        world_size: how many workers.
        meeting: a file that does not exist, where they meet.
        work: the same for every worker.
        given: its arguments.
        named: its arguments by name.

    Raises:
        RuntimeError: a worker failed; its traceback is on the standard error.
    """
    workers = [
        start(_join, partial(work, *given, **named), rank=rank, world_size=world_size, meeting=meeting)
        for rank in range(world_size)
    ]
    statuses = [ended(worker) for worker in workers]
    if any(statuses):
        raise RuntimeError(f"the workers ended with {statuses}")


def _join(work: Callable[[], None], *, rank: int, world_size: int, meeting: Path) -> None:
    torch.distributed.init_process_group(
        "gloo",
        init_method=meeting.as_uri(),
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=_PATIENCE / 2),
    )
    try:
        work()
    finally:
        torch.distributed.destroy_process_group()


@contextlib.contextmanager
def dying_at_line(line: int, sources: Container[CodeType]) -> Iterator[None]:
    """Within, this process kills itself before the `line`-th line, from 1, that it runs of these functions' code."""
    seen = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        if frame.f_code not in sources:
            return None
        seen += event == "line"
        if seen == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)
