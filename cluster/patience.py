"""How long a run waits for room on a cluster that others have filled, or whose nodes have gone."""

import os
import time
from collections.abc import Callable

_ROUNDS = 3


class Patience:
    """Measures how long nothing of a run has had a place; its end is `seconds` after the last sign of one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """As long as Ray Train waits three times for its workers, to see an autoscaler's nodes come."""
        self._clock = clock
        self._renewed = clock()
        self.seconds = _ROUNDS * float(os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"])

    def renew(self) -> None:
        """Something has its place, or there is nothing that could want one."""
        self._renewed = self._clock()

    def over(self) -> bool:
        """Whether it has lasted too long."""
        return self._clock() - self._renewed > self.seconds
