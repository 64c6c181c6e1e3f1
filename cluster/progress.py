"""Live progress: a bar on a terminal, plain lines elsewhere, everything in the log."""

import contextlib
import logging
import time
from collections.abc import Iterator
from datetime import timedelta

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_LINE_SECONDS = 15.0


class Display:
    """What the driver shows while units run."""

    def __init__(self, console: Console, log: logging.Logger) -> None:
        """Begin with nothing to run."""
        self._console, self._log = console, log
        self._total, self._done, self._failed = 0, 0, 0
        self._started = self._spoken = time.monotonic()
        self._details: dict[str, str] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[detail]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task("running", total=None, detail="starting Ray")

    @contextlib.contextmanager
    def live(self) -> Iterator[None]:
        """Draw the bar, on a terminal only."""
        if self._console.is_terminal:
            with self._bar:
                yield
        else:
            yield

    def say(self, line: str) -> None:
        """One line for people and for the log."""
        self._log.info(line)
        elapsed = timedelta(seconds=round(time.monotonic() - self._started))
        self._console.print(f"[dim]{elapsed}[/dim] {line}", highlight=False)
        self._spoken = time.monotonic()

    def resize(self, total: int) -> None:
        """So many units are to run in all."""
        self._total = total
        self._bar.update(self._task, total=total)

    def detail(self, name: str) -> str:
        """Where a unit is, as it last said."""
        return self._details.get(name, "")

    def forget(self, name: str) -> None:
        """A unit does not run any more, and has not ended either."""
        self._details.pop(name, None)
        self._bar.update(self._task, detail="  ".join(self._details.values()))

    def running(self, name: str, detail: str) -> None:
        """A unit reports where it is."""
        self._details[name] = detail
        self._log.debug("%s %s", name[:12], detail)
        self._bar.update(self._task, detail="  ".join(self._details.values()))
        if not self._console.is_terminal and time.monotonic() - self._spoken >= _LINE_SECONDS:
            self.say(f"{self._done} of {self._total} done; running: {', '.join(self._details.values())}")

    def ended(self, name: str, what: str, status: str, seconds: float, reason: str = "") -> None:
        """A unit has ended; `reason` says why not well."""
        self._details.pop(name, None)
        self._done += 1
        self._failed += status != "finished"
        self._log.info("%s %s %s after %.1f s", what, name[:12], status, seconds)
        self._bar.update(self._task, completed=self._done, detail="  ".join(self._details.values()))
        if status != "finished":
            self.say(f"[red]{what} {name[:12]}: {status}{escape(f' ({reason})' if reason else '')}[/red]")
        elif not self._console.is_terminal and time.monotonic() - self._spoken >= _LINE_SECONDS:
            self.say(f"{self._done} of {self._total} done")
