"""Signals: the first asks, five seconds or a second one end it, and nothing keeps the process alive. No Ray."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from cluster import interrupt
from cluster.drive import _driven
from cluster.interrupt import Interruption, Overdue
from cluster.order import Ending


def signalled(number: int) -> None:
    """Send this process a signal, and go on with something long."""
    os.kill(os.getpid(), number)
    time.sleep(5)


def test_the_first_signal_asks_and_the_second_ends() -> None:
    told: list[None] = []
    interruption = Interruption(lambda: told.append(None))
    with interruption.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        assert (interruption.by, interruption.overdue, len(told)) == (signal.SIGTERM, False, 1)
        with pytest.raises(Overdue):
            signalled(signal.SIGINT)
    assert interruption.overdue
    assert interruption.status() == 143, "the first one counts"


def test_time_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupt, "_PATIENCE_SECONDS", 0.05)
    interruption = Interruption(lambda: None)
    with interruption.listening(), pytest.raises(Overdue):
        signalled(signal.SIGINT)
    assert interruption.status() == 130


STUBBORN = """
import os, signal, time
from cluster import interrupt
interrupt._PATIENCE_SECONDS = interrupt._LAST_SECONDS = 0.2
with interrupt.Interruption(lambda: None).listening():
    os.kill(os.getpid(), signal.SIGTERM)
    try:
        time.sleep(30)
    except BaseException:
        time.sleep(30)
"""


def test_who_does_not_let_go_is_ended_all_the_same() -> None:
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", STUBBORN], check=False, timeout=25)
    assert done.returncode == 143
    assert time.monotonic() - begun < 20


@pytest.mark.parametrize("overdue", [True, False])
def test_what_ray_makes_of_an_interruption_is_one(overdue: bool) -> None:
    """An exception that a signal raises inside Ray's compiled code comes out as another one."""
    closed: list[None] = []

    def first_targets() -> Any:
        interruption.by, interruption.overdue = signal.SIGTERM, overdue
        raise SystemError("returned a result with an exception set")

    interruption = Interruption(lambda: None)
    driving: Any = SimpleNamespace(
        interruption=interruption, describe=dict, first_targets=first_targets, close=lambda: closed.append(None)
    )
    pulse: Any = SimpleNamespace(beating=lambda _: interruption.listening())
    if overdue:
        assert _driven(driving, pulse) == Ending(how="interrupted", status=143)
    else:
        with pytest.raises(SystemError):
            _driven(driving, pulse)
    assert closed == [None]
