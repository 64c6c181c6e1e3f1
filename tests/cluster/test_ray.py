"""A whole sweep on Ray: one `TorchTrainer`, trials in their own actors, the table; then nothing to redo."""

from pathlib import Path

import pytest

from analysis.load import load
from cluster.run import main
from stars.execute import Workplace, realise
from stars.results import read
from stars.stage import upstream
from stars.store import Store
from stars.sweep import points
from tests.cluster.tiny_sweep import SWEEP
from tests.training import Tiny, equal, output

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]


def sweep(tiny: Tiny, store: Path, *more: str) -> int:
    """Run the tiny sweep. Returns the exit status."""
    with pytest.raises(SystemExit) as ended:
        main(SWEEP, ["--data", str(tiny.packed), "--store", str(store), *more])
    return int(ended.value.code or 0)


@pytest.mark.usefixtures("ray_session")
def test_a_sweep_runs_once_and_equals_a_run_without_ray(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(tiny, tmp_path / "ray") == 0
    printed = capsys.readouterr().out
    for words in ("Figure 3(a)", "stage 1 only", "chance", "results", "figure", "log"):
        assert words in printed
    store = Store(tmp_path / "ray")
    planned = points(SWEEP, tiny.recipe)
    stages = upstream(*(point.stage for point in planned))
    assert all(store.finished(stage) for stage in stages)
    before = {path: path.stat().st_mtime_ns for path in store.location.rglob("outcome*.json")}
    assert len(before) == len(stages), "each distinct stage has one outcome"

    assert sweep(tiny, tmp_path / "ray") == 0
    assert "nothing to run" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in store.location.rglob("outcome*.json")} == before

    plain = Workplace(store=Store(tmp_path / "plain"), datasets={tiny.data.content: tiny.packed})
    for point in planned:
        realise(point.stage, plain)
    values = [{r["fingerprint"] + str(r["k"]): r["value"] for r in read(s).to_pylist()} for s in (store, plain.store)]
    assert values[0] == values[1]
    encoder = planned[0].stage.features.encoder  # type: ignore[attr-defined]
    assert equal(output(store, encoder), output(plain.store, encoder)), "bit for bit, whoever ran it"

    frame = load(store, "tiny")
    assert set(frame.state) == {"finished"}
    assert sorted(frame.layer_decay.dropna().unique()) == [0.2, 1.0]


@pytest.mark.usefixtures("ray_session")
def test_a_sweep_widened_by_one_decay_runs_only_the_new_points(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(tiny, tmp_path, "--trainer", "tune", "--set", "layer_decay=0.2") == 0
    store = Store(tmp_path)
    before = {path.parent.name for path in store.location.glob("*/*/outcome.json")}
    capsys.readouterr()
    assert sweep(tiny, tmp_path, "--trainer", "tune", "--set", "layer_decay=0.2,0.7") == 0
    assert "2 units to run" in capsys.readouterr().out
    found = store.location.glob("*/*/outcome.json")
    new = {path.parent.parent.name for path in found if path.parent.name not in before}
    assert new == {"tune", "features", "knn"}


@pytest.mark.usefixtures("ray_session")
def test_a_budget_that_is_used_up_starts_nothing_more_and_says_what_is_missing(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    little = ("--trainer", "tune", "--set", "layer_decay=0.2", "--seeds", "1", "--budget", "0.01s")
    assert sweep(tiny, tmp_path, *little) == 1
    first = capsys.readouterr().out
    assert "nothing more is started" in first
    assert "the budget of 0.01s is used up; a larger --budget goes on" in first
    assert "missing" in first
    assert sweep(tiny, tmp_path, *little) == 1
    second = capsys.readouterr().out
    assert "units to run" not in second, "what the first driver spent counts"
    assert "a larger --budget goes on" in second
    assert sweep(tiny, tmp_path, *little[:-1], "10m") == 0
