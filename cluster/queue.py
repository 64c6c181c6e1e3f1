"""The units still to be run: each becomes ready when what it waits for is finished. Knows nothing of Ray.

A unit is *waiting* for others, *ready*, *running*, *held* (another driver is at one of its stages), or gone: finished
or not. One that fails takes along those that wait for it; the others go on. One whose process died is ready again, as
long as every life brings it forward.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from stars.execute import Unit
from stars.stage import fingerprint

_LIVES_WITHOUT_PROGRESS = 3


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A unit that is gone, and how; `because` names the unit that took it along."""

    unit: Unit
    status: str
    because: str = ""


@dataclass
class _Entry:
    """A unit that is not gone."""

    unit: Unit
    lane: str
    waits_for: set[str]
    progress: object = None
    fruitless: int = 0
    readers: list[str] = field(default_factory=list)


class Queue:
    """Units by fingerprint of their stage; `lane` is where a unit runs (`ray` or `tune`)."""

    def __init__(self, lane: Callable[[Unit], str], progress: Callable[[Unit], object]) -> None:
        """Start empty.

        Args:
            lane: where a unit runs.
            progress: anything that differs once a unit has come forward: what is finished and saved of it.
        """
        self._lane, self._progress = lane, progress
        self._entries: dict[str, _Entry] = {}
        self._ready: dict[str, deque[str]] = {"ray": deque(), "tune": deque()}
        self._failed: dict[str, str] = {}
        self.running: dict[str, Unit] = {}
        self.held: dict[str, str] = {}
        self.total = 0

    def __len__(self) -> int:
        """How many units are not gone."""
        return len(self._entries)

    def add(self, units: Iterable[Unit]) -> list[Ended]:
        """Queue units, inputs before readers; those that are queued already are not queued twice.

        Returns those that cannot run, because something they need has failed.
        """
        gone = []
        for unit in units:
            name = fingerprint(unit.stage)
            if name in self._entries:
                continue
            self.total += 1
            needed = {fingerprint(stage) for stage in unit.waits_for}
            if failed := sorted(needed & self._failed.keys()):
                self._failed[name] = self._failed[failed[0]]
                gone.append(Ended(unit=unit, status=self._failed[name], because=failed[0]))
                continue
            self._failed.pop(name, None)
            entry = _Entry(unit=unit, lane=self._lane(unit), waits_for=needed & self._entries.keys())
            for other in entry.waits_for:
                self._entries[other].readers.append(name)
            self._entries[name] = entry
            if not entry.waits_for:
                self._ready[entry.lane].append(name)
        return gone

    def ready(self, lane: str) -> int:
        """Units of a lane that could run now."""
        return len(self._ready[lane])

    def running_in(self, lane: str) -> int:
        """Units of a lane that run."""
        return sum(self._entries[name].lane == lane for name in self.running)

    def take(self, lane: str) -> Unit | None:
        """The next ready unit of a lane, which runs from now on; None when there is none."""
        if not self._ready[lane]:
            return None
        name = self._ready[lane].popleft()
        self.running[name] = self._entries[name].unit
        return self.running[name]

    def hold(self, name: str, work: str) -> None:
        """A running unit found `work` in another's hands."""
        del self.running[name]
        self.held[name] = work

    def free(self, name: str) -> None:
        """What a held unit waited for is free, or done."""
        del self.held[name]
        self._make_ready(name)

    def again(self, name: str) -> None:
        """A running unit could not begin: it is ready again, behind the others."""
        del self.running[name]
        self._make_ready(name)

    def lost(self, name: str) -> list[Ended]:
        """A running unit's process died: it is ready again, unless several lives brought nothing; then see `ended`."""
        entry = self._entries[name]
        progress = self._progress(entry.unit)
        entry.fruitless = 1 if progress != entry.progress else entry.fruitless + 1
        entry.progress = progress
        if entry.fruitless >= _LIVES_WITHOUT_PROGRESS:
            return self.ended(name, "lost")
        self.again(name)
        return []

    def ended(self, name: str, status: str) -> list[Ended]:
        """A running unit has ended for good. Returns it, and all that it takes along when it is not finished."""
        del self.running[name]
        return self._remove(name, status, "")

    def _make_ready(self, name: str) -> None:
        self._ready[self._entries[name].lane].append(name)

    def _remove(self, name: str, status: str, because: str) -> list[Ended]:
        entry = self._entries.pop(name)
        gone = [Ended(unit=entry.unit, status=status, because=because)]
        if status != "finished":
            self._failed[name] = status
        for reader in entry.readers:
            other = self._entries.get(reader)
            if other is None:
                continue
            other.waits_for.discard(name)
            if status != "finished":
                gone += self._remove(reader, status, because or name)
            elif not other.waits_for:
                self._ready[other.lane].append(reader)
        return gone
