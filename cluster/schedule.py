"""A Tune searcher that suggests the units whose inputs exist, upstream first, and nothing else."""

import cluster.session  # noqa: F401 - first: it sets what Ray reads when it is imported  # isort: skip

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ray.tune.search import Searcher

from stars.execute import Unit
from stars.stage import Stage, encode, fingerprint


class Ready(Searcher):
    """Suggests each unit once, when everything it waits for is finished.

    A unit that fails takes those that wait for it out of the queue; the others go on.

    Room is counted here, because Tune cannot: it does not know what the workers of a launched `TorchTrainer` take, and
    it keeps a trial's own process, with its processor, for the next trial. So trainers come first, as many as have
    room, and other units run beside them only in what is left.
    """

    def __init__(
        self, units: Sequence[Unit], base: dict[str, Any], trainer: dict[str, str], *, capacity: int, num_workers: int
    ) -> None:
        """Queue the units.

        Args:
            units: inputs before readers.
            base: what every trial's configuration holds.
            trainer: `ray` or `tune` for the fingerprint of every unit's stage.
            capacity: GPUs of the cluster, or processors where it has none.
            num_workers: what one `ray` unit takes of them.
        """
        super().__init__()
        self._waiting = {fingerprint(unit.stage): unit for unit in units}
        self._running: dict[str, str] = {}
        self._failed: set[str] = set()
        self._base, self._trainer = base, trainer
        self._capacity, self._num_workers = capacity, num_workers

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next ready unit; None while all wait for running ones; FINISHED when none is left."""
        for name, unit in self._waiting.items():
            if self._has_room(self._trainer[name]) and not any(self._pending(needed) for needed in unit.waits_for):
                del self._waiting[name]
                self._running[trial_id] = name
                return {**self._base, "stage": encode(unit.stage), "trainer": self._trainer[name], "name": name}
        return None if self._waiting else str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Progress is shown elsewhere."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Release, or drop, what waited for this unit."""
        name = self._running.pop(trial_id)
        if error or result is None or result.get("status") != "finished":
            self._drop(name)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to keep: what is finished stands in the store."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore, for the same reason."""

    def _has_room(self, trainer: str) -> bool:
        running = Counter(self._trainer[name] for name in self._running.values())
        waiting = Counter(self._trainer[name] for name in self._waiting)
        room = max(1, self._capacity // self._num_workers)
        if trainer == "ray":
            return running["ray"] < room
        wanted = min(room, running["ray"] + waiting["ray"])
        return wanted == 0 or running["tune"] < self._capacity - wanted * self._num_workers

    def _pending(self, stage: Stage) -> bool:
        name = fingerprint(stage)
        return name in self._waiting or name in self._running.values()

    def _drop(self, failed: str) -> None:
        self._failed.add(failed)
        for name, unit in list(self._waiting.items()):
            if any(fingerprint(needed) in self._failed for needed in unit.waits_for) and name in self._waiting:
                del self._waiting[name]
                self._drop(name)
