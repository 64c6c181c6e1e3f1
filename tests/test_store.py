"""The store: commit, verification, retries, and what a crash leaves behind."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from stars.outcome import Outcome, StoreError
from stars.probes.chance import Chance
from stars.runtime import PlainRuntime, latest_checkpoint, save_checkpoint
from stars.stage import decode, kind
from stars.store import Store, default_location
from tests.examples import DATA

STAGE = Chance(data=DATA)


def finish(store: Store, content: str = "content", *, status: str = "finished") -> Outcome:
    attempt = store.begin(STAGE)
    (attempt.output / "file.txt").write_text(content)
    return store.commit(attempt, status=status, reason="", inputs={}, measured={"seconds": 1.0})  # type: ignore[arg-type]


def test_what_is_committed_can_be_read_and_rebuilds_the_experiment(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.outcome(STAGE) is None
    outcome = finish(store)
    assert store.finished(STAGE)
    assert (store.output(STAGE) / "file.txt").read_text() == "content"
    assert decode(outcome.value) == STAGE
    assert store.outcome(STAGE) == outcome


def test_a_commit_killed_at_every_line_is_all_or_nothing() -> None:
    """Exhaustive over the lines of the store; the outcome appears at one line and never disappears."""
    program = Path(__file__).with_name("commit_killed.py")
    done = subprocess.run([sys.executable, "-m", f"tests.{program.stem}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    counted = json.loads(done.stdout)
    assert counted["killed"] > 60, "the commit has many lines, and each was tried"
    assert 2 <= counted["finished"] < counted["killed"], "some deaths came after the outcome, most before"


def test_of_many_attempts_at_once_one_counts(tmp_path: Path) -> None:
    def attempt(number: int) -> str:
        return finish(Store(tmp_path), f"content {number}").attempt

    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(attempt, range(16)))
    assert len(names) == 1, "every committer was told the same winner"
    assert Store(tmp_path).outcome(STAGE).attempt in names  # type: ignore[union-attr]


def test_a_finished_result_is_not_lost_to_a_failure_that_came_first(tmp_path: Path) -> None:
    one, other = Store(tmp_path), Store(tmp_path)
    failing, finishing = one.begin(STAGE), other.begin(STAGE)
    one.commit(failing, status="oom", inputs={}, measured={})
    outcome = other.commit(finishing, inputs={}, measured={})
    assert (outcome.status, outcome.attempt) == ("finished", finishing.name)
    assert one.finished(STAGE)
    late = one.commit(one.begin(STAGE), status="diverged", inputs={}, measured={})
    assert late == outcome, "nothing comes after a finished outcome"


def test_a_node_that_sees_another_place_is_told(tmp_path: Path) -> None:
    mark = Store(tmp_path / "shared").token()
    Store(tmp_path / "shared").recognise(mark)
    with pytest.raises(StoreError, match="sees another place"):
        Store(tmp_path / "private").recognise(mark)


def test_a_lost_answer_is_settled_by_reading_back(tmp_path: Path) -> None:
    store = Store(tmp_path)
    attempt = store.begin(STAGE)
    first = store.commit(attempt, inputs={}, measured={"seconds": 1.0})
    again = store.commit(attempt, inputs={}, measured={"seconds": 2.0})
    assert again == first


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_found_and_named(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    finish(store)
    path = next(tmp_path.glob("*/*/attempts/*/output/file.txt"))
    if damage == "flip":
        path.write_text("Content")
    elif damage == "truncate":
        path.write_text("cont")
    else:
        path.unlink()
    with pytest.raises(StoreError, match=r"file\.txt: .*(damaged|bytes|missing)"):
        Store(tmp_path).output(STAGE)


def test_an_unreadable_outcome_is_named_not_ignored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store)
    path = next(tmp_path.glob("*/*/outcome.json"))
    path.write_text("{")
    with pytest.raises(StoreError, match=r"outcome\.json: not an outcome"):
        store.outcome(STAGE)


def test_a_failure_is_kept_and_a_retry_adds_the_outcome_that_counts(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, status="diverged")
    assert not store.finished(STAGE)
    with pytest.raises(StoreError, match="is diverged"):
        store.output(STAGE)
    finish(store)
    assert store.finished(STAGE)
    assert sorted(path.name for path in tmp_path.glob(f"{kind(STAGE)}/*/*.json")) == ["outcome-1.json", "outcome.json"]


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.create("results/a.parquet", b"one")
    assert not store.create("results/a.parquet", b"two")
    assert store.read("results/a.parquet") == b"one"


def test_leftovers_of_a_killed_create_are_not_keys(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.create("results/a.parquet", b"one")
    (tmp_path / "results" / "b.parquet#1").write_bytes(b"half")
    assert list(store.keys("results", ".parquet")) == ["results/a.parquet"]


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        Store(file / "store")


@pytest.mark.parametrize("place", ["s3://bucket/store", Path("s3://bucket/store"), "gs:/bucket"])
def test_a_place_that_is_no_folder_is_refused_also_as_a_path(place: Path | str) -> None:
    with pytest.raises(StoreError, match="allowed is a folder"):
        Store(place)


def test_the_default_place_is_never_relative(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STARS_STORE", "here")
    assert default_location() == tmp_path / "here"
    monkeypatch.delenv("STARS_STORE")
    assert default_location() == Path.home() / ".stars" / "store"


def test_the_last_sound_checkpoint_of_any_attempt_is_resumed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    killed = store.begin(STAGE)
    runtime = PlainRuntime(store=store, attempt=killed)
    assert runtime.latest(99) is None
    for step in (5, 10, 15):
        runtime.save({"losses": torch.full((3,), float(step))}, step)
    assert len(list(killed.checkpoints.iterdir())) == 2, "the newest two are kept"
    damaged = max(killed.checkpoints.iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    (killed.checkpoints / "000000020-half.part").write_bytes(b"never renamed")
    resumed = PlainRuntime(store=store, attempt=store.begin(STAGE)).latest(99)
    assert resumed is not None
    state, step = resumed
    assert step == 10
    assert PlainRuntime(store=store, attempt=killed).latest(9) is None, "the one after 5 steps is pruned"
    assert PlainRuntime(store=store, attempt=killed).latest(10) is not None
    assert state["losses"].tolist() == [10.0, 10.0, 10.0]


def test_without_a_sound_checkpoint_a_run_starts_afresh(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, {"a": torch.zeros(1)}, 3)
    path.write_bytes(b"")
    assert latest_checkpoint([path], 99) is None
