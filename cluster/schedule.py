"""A Tune searcher that suggests the units whose inputs exist, upstream first, and nothing else.

Room is counted here, because Tune cannot: it does not know what the workers of a launched `TorchTrainer` take, and it
keeps a trial's own process, with its processor, for the next trial. So trainers come first, as many as have room, and
other units run beside them only in what is left.
"""

import cluster.session  # noqa: F401 - first: it sets what Ray reads when it is imported  # isort: skip

import time
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from cluster.queue import Queue
from cluster.resources import Amount, Needs
from stars.stage import canonical, fingerprint

_IDLE_SECONDS = 0.1


class Ready(Searcher):
    """Takes units from the queue as long as there is room for them and nothing forbids to start more."""

    def __init__(
        self,
        queue: Queue,
        *,
        needs: Needs,
        capacity: Callable[[], Amount],
        may_start: Callable[[], bool],
        ended: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """Serve a queue.

        Args:
            queue: what is to run.
            needs: what a unit of each lane takes.
            capacity: what the cluster has, or may grow to.
            may_start: False once nothing more may be started: interrupted, or the budget is used up.
            ended: called with a unit's name and its last report, empty when its process died.
        """
        super().__init__()
        self._queue, self._needs, self._capacity = queue, needs, capacity
        self._may_start, self._ended = may_start, ended
        self._trials: dict[str, str] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next ready unit; None while all wait; FINISHED when none is left, or none may be started any more."""
        if not len(self._queue) or not self._may_start():
            return None if self._queue.running else str(Searcher.FINISHED)
        for lane in ("ray", "tune"):
            unit = self._queue.take(lane) if self._has_room(lane) else None
            if unit is not None:
                name = fingerprint(unit.stage)
                self._trials[trial_id] = name
                return {"name": name, "lane": lane, "stage": canonical(unit.stage)}
        if not self._queue.running:
            # All that is left is held by other drivers: Tune would ask again at once.
            time.sleep(_IDLE_SECONDS)
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Progress is shown elsewhere."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A unit's trial has ended, or its process has died."""
        self._ended(self._trials.pop(trial_id), {} if error or result is None else result)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: what is finished stands in the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore, for the same reason."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its searcher with the experiment, which nobody restores."""
        return {}

    def _has_room(self, lane: str) -> bool:
        queue, capacity = self._queue, self._capacity()
        room = max(1, capacity.holds(self._needs.trainer))
        if lane == "ray":
            return queue.running_in("ray") < room
        wanted = min(room, queue.running_in("ray") + queue.waiting("ray"))
        left = capacity.without(self._needs.trainer.times(wanted))
        return queue.running_in("tune") < left.holds(self._needs.worker)
