"""The driver's pulse: a thread that rewrites the driver's record every few seconds, so that others see it live."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from stars.drivers import BEAT_SECONDS, Driver
from stars.outcome import StoreError
from stars.store import Store

_LOG = logging.getLogger("stars")


class Pulse:
    """Keeps one driver's record fresh."""

    def __init__(self, driver: Driver, store: Store) -> None:
        """Nothing beats yet."""
        self._driver, self._store = driver, store
        self._describe: Callable[[], Mapping[str, Any]] = dict
        self._stop = threading.Event()

    @contextlib.contextmanager
    def beating(self, describe: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
        """Within, the record is rewritten every `BEAT_SECONDS`.

        `describe` is called before every beat, in another thread: fields of the record as they are now.
        """
        self._describe = describe
        self._beat()
        thread = threading.Thread(target=self._run, name="pulse", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def end(self, how: str) -> None:
        """Write the record for the last time: how the driver ended."""
        self._driver = replace(self._driver, ended=how)
        self._beat()

    def _run(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            try:
                self._beat()
            except (OSError, StoreError):
                # A full or absent disk: the next beat may succeed, and silence is what the others should then see.
                _LOG.exception("the driver's record could not be written")

    def _beat(self) -> None:
        driver = replace(self._driver, beat=self._driver.beat + 1, **self._describe())
        driver.write(self._store)
        self._driver = driver
