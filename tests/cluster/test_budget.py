"""Budgets: what they are read from, what counts, and whose money it was."""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.budget import Meter, added, parse, spent_before
from cluster.resources import Amount
from stars.drivers import begin, read_all
from stars.store import Store


@pytest.mark.parametrize(
    ("text", "account", "limit"),
    [
        ("2h", "seconds", 7200),
        ("90m", "seconds", 5400),
        ("1.5s", "seconds", 1.5),
        ("20gpuh", "gpu_seconds", 72000),
        ("50usd", "usd", 50),
    ],
)
def test_budgets_are_read(text: str, account: str, limit: float) -> None:
    budget = parse(text, price=2.0)
    assert (budget.account, budget.limit) == (account, limit)
    assert budget.reached({account: limit})
    assert not budget.reached({account: limit - 0.1})


@pytest.mark.parametrize("text", ["", "2", "h", "-1h", "0h", "2 h", "2days", "1e3h", "2h30"])
def test_other_words_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="allowed: a number above 0 with its unit, like 2h, 90m, 20gpuh or 50usd"):
        parse(text, price=1.0)


def test_money_needs_a_price() -> None:
    with pytest.raises(ValueError, match="'50usd'; allowed with --price"):
        parse("50usd", price=None)


def test_every_trial_counts_from_its_start_to_its_end() -> None:
    now = [100.0]
    meter = Meter(price=3.6, clock=lambda: now[0])
    meter.started("a", Amount(cpus=1, gpus=0.5))
    now[0] += 10
    meter.started("b", Amount(cpus=4, gpus=2))
    meter.started("a", Amount(cpus=1, gpus=0.5))
    now[0] += 10
    meter.ended("a")
    meter.ended("a")
    assert meter.in_use() == {"cpus": 4, "gpus": 2}
    now[0] += 10
    spent = meter.spent()
    assert spent == {"seconds": 30, "cpu_seconds": 20 + 80, "gpu_seconds": 10 + 40, "usd": pytest.approx(0.05)}
    meter.ended("b")
    meter.started("a", Amount(cpus=1, gpus=0.5))
    now[0] += 10
    assert meter.spent()["gpu_seconds"] == 55, "a second life counts too"


def test_what_earlier_drivers_of_the_same_run_spent_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for run, spent in (("r", 10.0), ("r", 5.0), ("other", 100.0)):
        driver = replace(begin(command="", sweep="s", run=run), spent={"seconds": spent, "gpu_seconds": 2 * spent})
        driver.write(store)
    before = spent_before(read_all(store), "r", price=360.0)
    assert before == {"seconds": 15, "cpu_seconds": 0, "gpu_seconds": 30, "usd": pytest.approx(3.0)}
    assert added(before, {"seconds": 1, "gpu_seconds": 2})["gpu_seconds"] == 32
