"""What a run may cost, and what it has cost so far: time, GPU-hours, money.

Every trial counts from its start to its end, however it ended, and so does everything that earlier drivers spent on the
same run, since they left it in their records.
"""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cluster.resources import Amount
from stars.drivers import Driver

_FORMS = "2h, 90m, 20gpuh or 50usd"
_UNITS = {"s": ("seconds", 1.0), "m": ("seconds", 60.0), "h": ("seconds", 3600.0), "gpuh": ("gpu_seconds", 3600.0)}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """A limit on one of the accounts that a driver keeps.

    Attributes:
        account: `seconds` (drivers' lives), `gpu_seconds` or `usd`.
        limit: of it.
        words: as it was typed.
    """

    account: str
    limit: float
    words: str

    def reached(self, spent: dict[str, float]) -> bool:
        """Whether so much has been spent."""
        return spent[self.account] >= self.limit


def parse(text: str, price: float | None) -> Budget:
    """Read a budget. Raises ValueError for other forms, and for money without a price."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|gpuh|usd)", text)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"--budget is {text!r}; allowed: a number above 0 with its unit, like {_FORMS}")
    number, unit = float(match[1]), match[2]
    if unit == "usd":
        if price is None:
            raise ValueError(
                f"--budget is {text!r}; allowed with --price, or $STARS_USD_PER_GPU_HOUR (a cluster's own)"
            )
        return Budget(account="usd", limit=number, words=text)
    account, factor = _UNITS[unit]
    return Budget(account=account, limit=number * factor, words=text)


class Meter:
    """Counts what trials hold, from their start to their end."""

    def __init__(self, price: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at nothing; `price` is in US dollars per GPU-hour."""
        self._price, self._clock = price, clock
        self._begun = clock()
        self._open: dict[str, tuple[Amount, float]] = {}
        self._closed = {"cpu_seconds": 0.0, "gpu_seconds": 0.0}

    def started(self, trial: str, amount: Amount) -> None:
        """A trial holds so much from now on."""
        self._open.setdefault(trial, (amount, self._clock()))

    def ended(self, trial: str) -> None:
        """A trial has ended, however."""
        if trial in self._open:
            for account, seconds in self._held(trial).items():
                self._closed[account] += seconds
            del self._open[trial]

    def in_use(self) -> dict[str, float]:
        """Processors and GPUs that trials hold now."""
        amounts = [amount for amount, _ in self._open.values()]
        return {"cpus": sum(a.cpus for a in amounts), "gpus": sum(a.gpus for a in amounts)}

    def spent(self) -> dict[str, float]:
        """Seconds of the driver's life; processor and GPU seconds held; dollars, where there is a price."""
        total = dict(self._closed)
        for trial in list(self._open):
            for account, seconds in self._held(trial).items():
                total[account] += seconds
        money = {} if self._price is None else {"usd": total["gpu_seconds"] / 3600 * self._price}
        return {"seconds": self._clock() - self._begun, **total, **money}

    def _held(self, trial: str) -> dict[str, float]:
        amount, since = self._open[trial]
        seconds = self._clock() - since
        return {"cpu_seconds": amount.cpus * seconds, "gpu_seconds": amount.gpus * seconds}


def spent_before(drivers: Iterable[Driver], run: str, price: float | None) -> dict[str, float]:
    """What all earlier drivers of a run have spent; GPU time of theirs is charged at today's price."""
    total = {"seconds": 0.0, "cpu_seconds": 0.0, "gpu_seconds": 0.0}
    for driver in drivers:
        if driver.run == run:
            for account in total:
                total[account] += driver.spent.get(account, 0.0)
    return total if price is None else {**total, "usd": total["gpu_seconds"] / 3600 * price}


def added(one: dict[str, float], other: dict[str, float]) -> dict[str, float]:
    """Both accounts together."""
    return {account: one.get(account, 0.0) + other.get(account, 0.0) for account in {**one, **other}}
