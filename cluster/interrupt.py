"""Ctrl-C and SIGTERM: units save and leave, the driver says how to go on, and all of it is over within ten seconds."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_PATIENCE_SECONDS = 5.0
_LAST_SECONDS = 3.5


class Overdue(BaseException):
    """Units have not left in time, or the user has asked twice; whatever still runs is killed, and nothing is lost."""


class Interruption:
    """Whether, and by which signal, this process has been asked to end."""

    def __init__(self, tell: Callable[[], None]) -> None:
        """`tell` is called once, at the first signal: it lets the units know."""
        self._tell = tell
        self.by: signal.Signals | None = None
        self.overdue = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Within, SIGINT and SIGTERM ask for an end. Raises Overdue five seconds after the first, or at a second.

        Ray may turn that into an exception of its own, since it is raised inside its compiled code: `overdue` tells.
        A cluster that does not even end then (a signal to the whole process group kills it first) is left to die by
        itself: this process ends in any case, 3.5 seconds later.
        """
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
        self.listen()
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen(self) -> None:
        """Take the signals; once more after Ray has started, which takes them for itself."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._asked)
        signal.signal(signal.SIGALRM, self._late)

    def status(self) -> int:
        """The exit status that names the signal: 128 and its number."""
        return 128 + int(self.by or 0)

    def _asked(self, number: int, _: FrameType | None) -> None:
        if self.by is not None:
            self._give_up()
        self.by = signal.Signals(number)
        signal.setitimer(signal.ITIMER_REAL, _PATIENCE_SECONDS)
        self._tell()

    def _late(self, *_: object) -> None:
        self._give_up()

    def _give_up(self) -> None:
        if self.overdue:
            os._exit(self.status())
        self.overdue = True
        signal.setitimer(signal.ITIMER_REAL, _LAST_SECONDS)
        raise Overdue
