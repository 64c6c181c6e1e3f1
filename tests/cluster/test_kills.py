"""Whatever is killed, the same command ends with the same numbers. `make test-cluster`.

The same with twenty kills of each kind is a benchmark: `benchmarks/faults/faults.py`.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from benchmarks.faults import kills
from benchmarks.faults.equality import differences
from stars.drivers import read_all
from stars.store import Store

pytestmark = [pytest.mark.cluster, pytest.mark.filterwarnings("default")]

GRID = Path(kills.__file__).parent / "grid.py"
OPTIONS: dict[kills.Victim, tuple[str, ...]] = {
    "driver": ("--trainer", "tune"),
    "actor": ("--trainer", "tune"),
    "worker": ("--workers", "2"),
}
LONGEST_PAUSE: dict[kills.Victim, float] = {"driver": 30.0, "actor": 8.0, "worker": 12.0}
LEAVING_SECONDS = 10.0
"""How long an interrupted command may take to leave."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all of this lies."""
    return tmp_path_factory.mktemp("kills")


def command(place: Path, *options: str) -> list[str]:
    """A grid of one point: a pretraining of ten seconds, and a tuning of five where that starts quickly."""
    data = place / "data"
    tuned = "0" if "--workers" in options else "100"
    size = ("--set", "epochs=100", "--set", f"tuned={tuned}", "--seeds", "1")
    return [sys.executable, str(GRID), "--data", str(data), *size, *options]


def calm(place: Path, *options: str) -> Path:
    """The store of an undisturbed run, which is made once."""
    store = place / f"calm{''.join(options)}"
    if not store.exists():
        kills.undisturbed([*command(place, *options), "--store", str(store)], store.with_suffix(".txt"))
    return store


@pytest.fixture(scope="module", autouse=True)
def recordings(place: Path) -> None:
    """The data set."""
    from benchmarks.faults.grid import make_data

    make_data(place / "data")


@pytest.mark.parametrize("victim", ["driver", "actor", "worker"])
def test_two_kills_change_nothing(place: Path, victim: kills.Victim) -> None:
    undisturbed = calm(place, *OPTIONS[victim])
    plan = kills.Plan(
        victim=victim, num_kills=2, random=Random(2), longest_pause=LONGEST_PAUSE[victim], say=lambda line: None
    )
    seen = kills.disturb(plan, command(place, *OPTIONS[victim]), place)
    assert len(seen.kills) == 2
    assert seen.lives == len(seen.stores) + 2 * (victim == "driver"), "only the driver's death ends the command"
    assert [difference for store in seen.stores for difference in differences(undisturbed, store)] == []
    assert seen.redone == [], "what is finished is not run again"
    assert seen.orphans == []
    # Trainings of ten seconds: no kill can cost more, whatever the checkpoints.
    assert max(seen.repeated, default=0.0) < 20


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_command_saves_leaves_and_goes_on(
    place: Path, number: signal.Signals, status: int, record_property: Callable[[str, object], None]
) -> None:
    undisturbed = calm(place, "--trainer", "tune")
    store = place / number.name
    output = store.with_suffix(".txt")
    typed = [*command(place, "--trainer", "tune"), "--store", str(store)]
    life = kills.Life(typed, output)
    try:
        while not [report for report in kills.reports(store) if report.step > 30]:
            assert not life.ended(), output.read_text()
            time.sleep(0.1)
        told = time.monotonic()
        if number is signal.SIGINT:
            # As a terminal does: to the whole foreground group, Ray's processes among it.
            os.killpg(life.driver.pid, number)
        else:
            life.driver.send_signal(number)
        life.driver.wait(timeout=60)
        seconds = time.monotonic() - told
    finally:
        life.driver.kill()
        left = life.wait_until_gone()
    record_property("seconds until it had left", round(seconds, 1))
    assert life.driver.returncode == status, output.read_text()
    assert seconds < LEAVING_SECONDS
    assert left == []
    assert "interrupted; go on with: python" in output.read_text()
    assert [driver.ended for driver in read_all(Store(store))] == ["interrupted"]
    assert not list((store / "leases").iterdir()), "what was held is given back"
    first = kills.reports(store)
    saved = max(int(path.name[:9]) for path in store.glob("pretrain/*/attempts/*/checkpoints/*.safetensors"))
    assert saved >= first[-1].step, "no step that was reported is lost"

    kills.undisturbed(typed, output)
    assert kills.reports(store)[len(first)].step == saved + 1, "it goes on from there"
    assert differences(undisturbed, store) == []
