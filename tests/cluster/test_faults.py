"""What the benchmark of kills measures, it measures right."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from benchmarks.faults.equality import differences
from benchmarks.faults.kills import finished_stages, redone, repeated
from stars.execute import realise
from stars.stage import kind
from tests.training import Tiny


def log(store: Path, *lines: tuple[int, int], unit: str = "c1dba46d2abf tune") -> None:
    """Reports of a training: seconds after noon, and the step."""
    folder = store / "logs"
    folder.mkdir(exist_ok=True)
    text = [f"2026-11-23 12:00:{second:02},000 DEBUG {unit} step {step}, loss 1.0\n" for second, step in lines]
    (folder / f"sweep-{unit}-{lines[0][0]}.log").write_text("2026-11-23 12:00:00,000 INFO 3 units\n" + "".join(text))


def test_a_setback_is_the_time_since_the_step_it_goes_back_to(tmp_path: Path) -> None:
    log(tmp_path, (1, 1), (2, 11), (3, 21))
    # Back to 16 done, which was reached half a second before the last report; then to where that life began.
    log(tmp_path, (10, 17), (12, 37), (20, 17))
    assert repeated(tmp_path) == [0.5, 2.0]


def test_without_a_checkpoint_all_of_a_life_is_repeated(tmp_path: Path) -> None:
    log(tmp_path, (1, 1), (2, 11), (9, 1), (10, 12))
    assert repeated(tmp_path) == [1.0]


def test_going_on_is_no_setback_and_units_are_told_apart(tmp_path: Path) -> None:
    log(tmp_path, (1, 1), (2, 11), (9, 12), (10, 20))
    log(tmp_path, (1, 1), (3, 9), unit="f2cb6133b569 pretrain")
    assert repeated(tmp_path) == []


def run(tiny: Tiny, location: Path, seed: int = 0) -> Path:
    """A pretraining and its KNN, in this process."""
    stage = tiny.recipe.knn(replace(tiny.recipe.stage1, seed=seed))
    assert realise(stage, tiny.workplace(location)).status == "finished"
    assert kind(stage) == "knn"
    return location


def test_two_runs_of_the_same_are_equal_and_every_difference_is_found(tiny: Tiny, tmp_path: Path) -> None:
    one, other = run(tiny, tmp_path / "one"), run(tiny, tmp_path / "other")
    assert differences(one, other) == []
    (path,) = other.glob("pretrain/*/attempts/*/output/encoder.safetensors")
    tensors = load_file(path)
    name = min(tensors)
    tensors[name].view(-1)[0] = tensors[name].view(-1)[0].nextafter(tensors[name].new_tensor(9.0))
    save_file(tensors, path)
    assert [line.partition(": ")[2] for line in differences(one, other)] == [f"encoder.safetensors/{name} differs"]
    found = differences(one, run(tiny, tmp_path / "third", seed=1))
    assert any("finished in one store only" in line for line in found)
    assert any(line.startswith("row ") for line in found)


def test_a_store_without_results_equals_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert differences(tmp_path / "empty", tmp_path / "empty")


@pytest.mark.parametrize("how", ["begun again", "changed"])
def test_what_is_redone_is_found(tiny: Tiny, tmp_path: Path, how: str) -> None:
    store = run(tiny, tmp_path / "store")
    before = finished_stages(store)
    assert redone(before, store) == []
    (path,) = store.glob("pretrain/*/outcome.json")
    if how == "changed":
        path.write_bytes(path.read_bytes() + b" ")
    else:
        (path.parent / "attempts" / "another").mkdir()
    assert redone(before, store) == [path.relative_to(store).as_posix()]
