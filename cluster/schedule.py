"""A Tune searcher that suggests the units whose inputs exist, upstream first, and nothing else.

Room is counted here, because Tune cannot: it does not know what the workers of a launched `TorchTrainer` take. So
trainers come first, as soon as there is room for all workers of one, and other units run beside them in what is left.
(The process of a finished trial that Tune keeps for the next one, with its processor, is in nobody's way: Tune ends it
when a trainer is suggested.)
"""

import cluster.session  # noqa: F401 - first: it sets what Ray reads when it is imported  # isort: skip

import time
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from cluster.queue import Queue
from cluster.resources import Capacity, Needs
from stars.stage import canonical, fingerprint

_IDLE_SECONDS = 0.1


class Ready(Searcher):
    """Takes units from the queue as long as there is room for them and nothing forbids to start more."""

    def __init__(
        self,
        queue: Queue,
        *,
        needs: Needs,
        capacity: Callable[[], Capacity],
        may_start: Callable[[], bool],
        ended: Callable[[str, dict[str, Any]], None],
        look: Callable[[], None],
    ) -> None:
        """Serve a queue.

        Args:
            queue: what is to run.
            needs: what a unit of each lane takes.
            capacity: what the cluster has, or may grow to.
            may_start: False once nothing more may be started: interrupted, or the budget is used up.
            ended: called with a unit's name and its last report, empty when its process died.
            look: called while nothing runs, when Tune asks for a trial and does nothing else.
        """
        super().__init__()
        self._queue, self._needs, self._capacity = queue, needs, capacity
        self._may_start, self._ended, self._look = may_start, ended, look
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
            # All that is left is held by other drivers. Tune now asks for ten minutes and calls no callback meanwhile.
            self._look()
            time.sleep(_IDLE_SECONDS)
        return None

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Progress is shown elsewhere."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A unit's trial has ended, or its process has died, or it was ended before it had a place: without a word."""
        report = {} if error else {"status": "unplaced"} if result is None else result
        self._ended(self._trials.pop(trial_id), report)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: what is finished stands in the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore, for the same reason."""

    def __getstate__(self) -> dict[str, Any]:
        """Tune saves its searcher with the experiment, which nobody restores."""
        return {}

    def _has_room(self, lane: str) -> bool:
        """Whether one more unit of a lane finds its processors and GPUs free: those of nothing that runs.

        Counted in workers, of which a trainer has several and any other unit is one. A single trainer is always tried:
        should its nodes be gone for good, Ray Train gives up after a while, and that is reported.
        """
        queue, num_workers = self._queue, self._needs.num_workers
        room = max(self._capacity().holds(self._needs.worker), num_workers)
        room -= num_workers * queue.running_in("ray") + queue.running_in("tune")
        if lane == "ray":
            return room >= num_workers
        # A trainer that is ready has found too little room: what becomes free is kept until it is enough.
        return room >= 1 and not queue.ready("ray")
