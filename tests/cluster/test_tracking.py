"""Tracking: which pages open when, what TensorBoard reads back, and that no tracker can harm a sweep."""

import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from cluster.tracking.guard import Guarded
from cluster.tracking.tensorboard import connect
from cluster.tracking.tracker import Runs, hyperparameters, label, open_trackers
from stars.probes.knn import KNN
from stars.stage import Stage, fingerprint, kind
from stars.store import Store
from tests.examples import a_point


@dataclass
class Page:
    """Writes down what it is told."""

    stage: Stage
    step: int
    lines: list[tuple[Mapping[str, float], int]] = field(default_factory=list)
    ends: list[tuple[str, Mapping[str, float], int]] = field(default_factory=list)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        self.lines.append((metrics, step))

    def end(self, status: str, numbers: Mapping[str, float], step: int) -> None:
        self.ends.append((status, numbers, step))


@dataclass
class Pages:
    """Opens pages and keeps them."""

    pages: list[Page] = field(default_factory=list)

    def __call__(self, stage: Stage, step: int) -> Page:
        self.pages.append(Page(stage, step))
        return self.pages[-1]


class Broken:
    """A tracker whose server is away."""

    def started(self, unit: Stage) -> None:
        raise ConnectionError("no server\nat all")

    def progress(self, stage_kind: str, stage_fingerprint: str, metrics: Mapping[str, float], step: int) -> None:
        raise AssertionError("told after it was switched off")

    def ended(self, stage: Stage, status: str, numbers: Mapping[str, float]) -> None:
        raise AssertionError("told after it was switched off")

    def close(self) -> None:
        raise AssertionError("told after it was switched off")


class Stuck(Broken):
    """A tracker whose server never answers."""

    def __init__(self) -> None:
        self.answer = threading.Event()

    def started(self, unit: Stage) -> None:
        self.answer.wait()


def encoder(point: KNN) -> Stage:
    """The tuning that a point reads."""
    return point.features.encoder


def report(runs: Runs | Guarded, stage: Stage, step: int, loss: float = 1.0) -> None:
    """A worker reports."""
    runs.progress(kind(stage), fingerprint(stage), {"loss": loss}, step)


def test_a_page_is_open_only_while_its_stage_runs() -> None:
    opened, point = Pages(), a_point()
    tuning = encoder(point)
    pretraining = tuning.start  # type: ignore[attr-defined]
    runs = Runs(opened)
    runs.started(point)
    assert not opened.pages, "nothing is opened for a unit that never reports"
    report(runs, pretraining, 1)
    report(runs, pretraining, 2)
    report(runs, tuning, 1)
    first, second = opened.pages
    assert (first.stage, second.stage) == (pretraining, tuning)
    assert [step for _, step in first.lines] == [1, 2]
    assert first.ends == [("finished", {}, 2)], "the next stage of the same unit closes the one before"
    runs.ended(point, "finished", {"top1": 0.5})
    assert second.ends == [("finished", {"knn/top1": 0.5}, 1)]
    runs.close()
    assert len(second.ends) == 1


def test_units_side_by_side_keep_their_own_pages() -> None:
    opened, one, two = Pages(), a_point(seed=0), a_point(seed=1)
    runs = Runs(opened)
    for point in (one, two):
        runs.started(point)
        report(runs, encoder(point), 1)
    report(runs, encoder(one), 2)
    assert [[step for _, step in page.lines] for page in opened.pages] == [[1, 2], [1]]
    runs.ended(one, "diverged", {})
    assert [page.ends for page in opened.pages] == [[("diverged", {}, 2)], []]
    runs.close()
    assert opened.pages[1].ends == [("interrupted", {}, 1)]


def test_progress_of_an_unknown_stage_is_a_mistake() -> None:
    with pytest.raises(LookupError, match="no running unit"):
        report(Runs(Pages()), encoder(a_point()), 1)


def test_many_units_that_never_report_leave_nothing() -> None:
    opened = Pages()
    runs = Runs(opened)
    for seed in range(200):
        runs.started(a_point(seed=seed))
        runs.ended(a_point(seed=seed), "finished", {"top1": 1.0})
    assert not opened.pages
    assert not runs._units, "what has ended is forgotten"


def events(folder: Path) -> Iterator[Event]:
    """What a folder's event files hold, record by record, with their check sums."""
    for path in sorted(folder.glob("events.*")):
        data, position = path.read_bytes(), 0
        while position < len(data):
            length = int.from_bytes(data[position : position + 8], "little")
            body = data[position + 12 : position + 12 + length]
            assert int.from_bytes(data[position + 12 + length :][:4], "little") == masked_crc32c(body)
            event = Event()
            event.ParseFromString(body)
            yield event
            position += length + 16


def values(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Scalars by tag: step and value."""
    found: dict[str, list[tuple[int, float]]] = {}
    for event in events(folder):
        for value in event.summary.value:
            if not value.metadata.plugin_data.plugin_name:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_files_hold_the_scalars_and_the_value(tmp_path: Path) -> None:
    store, point = Store(tmp_path), a_point()
    (tracker,) = open_trackers((), store, "lr_decay", {"recipe": "small"})
    tracker.started(point)
    for step in (1, 5, 9):
        report(tracker, encoder(point), step, loss=1.0 / step)
    tracker.ended(point, "finished", {"top1": 0.25})
    tracker.close()
    assert not tracker.problem
    folder = tmp_path / "tensorboard" / "lr_decay" / label(encoder(point))
    assert [path.name for path in folder.parent.iterdir()] == [f"tune-{fingerprint(encoder(point))[:12]}"]
    assert len(list(folder.iterdir())) == 1, "one file a page"
    found = values(folder)
    assert [step for step, _ in found["loss"]] == [1, 5, 9]
    assert [value for _, value in found["loss"]] == pytest.approx([1, 1 / 5, 1 / 9])
    assert found["knn/top1"] == [(9, 0.25)]
    texts = {
        v.tag: v.tensor.string_val[0].decode() for e in events(folder) for v in e.summary.value if v.HasField("tensor")
    }
    text = next(text for tag, text in texts.items() if tag.startswith("hyperparameters"))
    assert '"layer_decay": 0.2' in text
    assert '"start.epochs"' in text
    assert any("small" in text for tag, text in texts.items() if tag.startswith("context"))


def test_tensorboard_has_a_bound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = Store(tmp_path)
    with caplog.at_level(logging.WARNING, "stars"):
        for _ in range(2):  # a second driver continues the first one's pages
            runs = Runs(connect(store, "lr_decay", {}, num_pages=3))
            for seed in range(6):
                point = a_point(seed=seed)
                runs.started(point)
                report(runs, encoder(point), 1)
                runs.ended(point, "finished", {})
    assert len(list((tmp_path / "tensorboard" / "lr_decay").iterdir())) == 3
    assert sum("there will be no more" in record.message for record in caplog.records) == 2, "once a driver"


def test_a_failing_tracker_is_switched_off_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    tracker, point = Guarded(Broken(), "wandb"), a_point()
    with caplog.at_level(logging.ERROR, "stars"):
        tracker.started(point)
        for step in range(5):
            report(tracker, encoder(point), step)
        tracker.ended(point, "finished", {})
        tracker.close()
    assert tracker.problem == "wandb was switched off, and misses what came after: ConnectionError: no server"
    (record,) = caplog.records
    assert "Traceback" in record.message
    assert "at all" in record.message


def test_a_tracker_that_hangs_holds_nobody() -> None:
    stuck = Stuck()
    tracker = Guarded(stuck, "mlflow", patience=0.05)
    tracker.started(a_point())
    tracker.close()
    assert "did not answer within" in tracker.problem
    full = Guarded(stuck, "mlflow", num_waiting=2)
    for step in range(10):
        full.started(a_point(seed=step))
    assert "fell behind by 2 messages" in full.problem
    stuck.answer.set()


def test_only_the_first_problem_is_told(caplog: pytest.LogCaptureFixture) -> None:
    class Late(Stuck):
        """Fails long after it was given up."""

        def started(self, unit: Stage) -> None:
            super().started(unit)
            raise ConnectionError("too late")

    late = Late()
    tracker = Guarded(late, "mlflow", patience=0.05)
    with caplog.at_level(logging.ERROR, "stars"):
        tracker.started(a_point())
        tracker.close()
        late.answer.set()
        tracker._thread.join()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "too late" not in tracker.problem


def test_metrics_are_passed_on_as_they_were() -> None:
    opened, point = Pages(), a_point()
    tracker = Guarded(Runs(opened), "pages")
    tracker.started(point)
    metrics = {"loss": 1.0}
    for step in range(50):
        metrics["loss"] = float(step)
        tracker.progress("tune", fingerprint(encoder(point)), metrics, step)
    tracker.close()
    assert opened.pages[0].lines == [({"loss": float(step)}, step) for step in range(50)]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_missing_library_is_named_with_its_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Absent:
        """Finds that the library is not there."""

        def find_spec(self, wanted: str, *rest: object) -> None:
            if wanted == name:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for module in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(sys.modules, f"cluster.tracking.{name}", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(ValueError, match=rf"--track is {name}; allowed: .*stars-skeleton\[{name}\]"):
        open_trackers([name], Store(tmp_path), "lr_decay", {})


def test_an_unknown_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--track is comet; allowed: tensorboard, wandb, mlflow"):
        open_trackers(["comet"], Store(tmp_path), "lr_decay", {})


def test_hyperparameters_tell_values_apart() -> None:
    one, two = hyperparameters(a_point(layer_decay=0.2)), hyperparameters(a_point(layer_decay=0.3))
    assert {name for name in one if one[name] != two[name]} == {"features.encoder.layer_decay"}
    assert one["k.1"] == 10


def tracked(name: str, store: Store, point: KNN, steps: tuple[int, ...]) -> None:
    """One unit, told to TensorBoard and to a tracker."""
    trackers = open_trackers([name], store, "lr_decay", {"recipe": "small"})
    for tracker in trackers:
        tracker.started(point)
        for step in steps:
            report(tracker, encoder(point), step, loss=1.0 / step)
        tracker.ended(point, "finished", {"top1": 0.25})
    for tracker in trackers:
        tracker.close()
        assert not tracker.problem


@pytest.mark.filterwarnings("default")
def test_mlflow_keeps_a_run_and_continues_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store, point = Store(tmp_path), a_point()
    tracked("mlflow", store, point, (1, 2))
    tracked("mlflow", store, point, (3,))
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{tmp_path}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("lr_decay")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.info.run_name == label(encoder(point))
    assert run.data.params["layer_decay"] == "0.2"
    assert run.data.tags["stars.recipe"] == "small"
    assert run.data.metrics["knn/top1"] == 0.25
    assert [m.step for m in client.get_metric_history(run.info.run_id, "loss")] == [1, 2, 3]


@pytest.mark.filterwarnings("default")
def test_wandb_keeps_runs_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    point = a_point()
    tracked("wandb", Store(tmp_path), point, (1, 2))
    (file,) = (tmp_path / "wandb").rglob("*.wandb")
    assert fingerprint(encoder(point))[:24] in file.name
    content = file.read_bytes()
    for words in (b"layer_decay", b"optimiser_step", b"knn/top1"):
        assert words in content
