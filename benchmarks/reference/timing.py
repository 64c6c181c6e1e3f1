"""Comparing two ways to do the same, on a machine that does other things beside."""

import math
import statistics
import time
from collections.abc import Callable

_SHORTEST = 0.1
"""Seconds of a turn, so that it is not spent on finding its data and its code in no cache after the other's turn."""


def compare(reference: Callable[[], object], ours: Callable[[], object], turns: int) -> tuple[float, float]:
    """Seconds of this process's CPU time that either takes: medians of turns, taken one after the other.

    A turn repeats what is too short, and counts one repetition. Both run twice beforehand: once unmeasured, once to
    find out how often a turn repeats it.
    """
    num_repetitions = []
    for run in (reference, ours):
        run()
        num_repetitions.append(math.ceil(_SHORTEST / max(_seconds(run, 1), 1e-6)))
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for run, times, seconds in zip((reference, ours), num_repetitions, taken, strict=True):
            seconds.append(_seconds(run, times) / times)
    return statistics.median(taken[0]), statistics.median(taken[1])


def _seconds(run: Callable[[], object], times: int) -> float:
    begun = time.process_time()
    for _ in range(times):
        run()
    return time.process_time() - begun
