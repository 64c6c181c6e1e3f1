"""A tracker that cannot harm a sweep: it is called from a thread of its own, and switched off when it fails."""

import logging
import queue
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from stars.stage import Stage

if TYPE_CHECKING:
    from cluster.tracking.tracker import Tracker

_LOG = logging.getLogger("stars")
_NUM_WAITING = 10_000
_PATIENCE_SECONDS = 10.0


class Guarded:
    """Passes calls on to a tracker, in order, without ever waiting for it.

    A server that does not answer would hold the driver for minutes, and its workers with it. So calls wait in a queue;
    a tracker that raises, or falls behind by `num_waiting` calls, is switched off. Why is in the log, once, with the
    traceback, and in `problem`, for the terminal.
    """

    def __init__(
        self, tracker: "Tracker", name: str, *, num_waiting: int = _NUM_WAITING, patience: float = _PATIENCE_SECONDS
    ) -> None:
        """Start the thread.

        Args:
            tracker: who is told, in the thread.
            name: for the log and the terminal.
            num_waiting: calls that may wait.
            patience: seconds that `close` waits for the last calls.
        """
        self.name = name
        self.problem = ""
        """One line for the terminal when the tracker was switched off, else empty."""
        self._tracker, self._patience = tracker, patience
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(num_waiting)
        # A daemon, so that a server that never answers cannot keep the driver from ending.
        self._thread = threading.Thread(target=self._work, name=f"tracking-{name}", daemon=True)
        self._thread.start()

    def started(self, unit: Stage) -> None:
        """Pass on."""
        self._put(lambda: self._tracker.started(unit))

    def progress(self, stage_kind: str, stage_fingerprint: str, metrics: Mapping[str, float], step: int) -> None:
        """Pass on."""
        kept = dict(metrics)
        self._put(lambda: self._tracker.progress(stage_kind, stage_fingerprint, kept, step))

    def ended(self, stage: Stage, status: str, numbers: Mapping[str, float]) -> None:
        """Pass on."""
        kept = dict(numbers)
        self._put(lambda: self._tracker.ended(stage, status, kept))

    def close(self) -> None:
        """Wait for what was passed on, for `patience` seconds at most; `problem` is settled then."""
        self._put(self._tracker.close)
        self._put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            self._switch_off(f"did not answer within {self._patience:.0f} s of the end")

    def _put(self, call: Callable[[], None] | None) -> None:
        if self.problem:
            return
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._switch_off(f"fell behind by {self._calls.maxsize} messages")

    def _work(self) -> None:
        while not self.problem and (call := self._calls.get()) is not None:
            try:
                call()
            except Exception as problem:
                # Whatever a tracker's library raises: the sweep must go on without it.
                first = str(problem).partition("\n")[0]
                self._switch_off(f"{type(problem).__name__}: {first}", traceback.format_exc())

    def _switch_off(self, reason: str, trace: str = "") -> None:
        if self.problem:
            # One that hung may still raise, when nobody listens any more.
            return
        self.problem = f"{self.name} was switched off, and misses what came after: {reason}"
        _LOG.error("%s\n%s", self.problem, trace)
