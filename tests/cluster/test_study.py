"""The study: what is suggested, what is stopped, and what a journal is worth after a kill."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from cluster.importance import importances
from cluster.study import Study
from cluster.suggestion import Settings, Suggestion, horizons
from stars.outcome import StoreError
from stars.space import Choice, Integer, Real, Space
from stars.store import Store
from tests.cluster.fake_search import settings

LINE = Space(ranges={"x": Real(low=0.0, high=1.0)})


def line(**changes: Any) -> Settings:
    """One axis, one seed, two horizons."""
    return settings(space=LINE, seeds=(0,), horizons=(2, 6), **changes)


def measured(study: Study, asked: Suggestion | None, *values: float) -> str:
    """How a suggestion stands after these values at its horizons."""
    assert asked is not None
    for horizon, value in zip(study.settings.horizons, values, strict=False):
        state = study.record(asked.number, horizon, dict.fromkeys(study.settings.seeds, value), {0: "a", 1: "b"})
        if state != "running":
            return state
    return "running"


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, (1,)), (2, (2,)), (3, (1, 3)), (6, (2, 6)), (10, (1, 3, 10)), (20, (2, 6, 20)), (100, (3, 11, 33, 100))],
)
def test_horizons(epochs: int, expected: tuple[int, ...]) -> None:
    assert horizons(epochs) == expected
    assert settings(horizons=expected).horizons == expected


def test_every_number_of_epochs_has_horizons_that_a_study_takes() -> None:
    for epochs in range(1, 1000):
        assert settings(horizons=horizons(epochs)).horizons[-1] == epochs
    with pytest.raises(ValueError, match="epochs is 0; allowed: 1 or more"):
        horizons(0)


@pytest.mark.parametrize("bad", [(), (0, 3), (3, 1), (1, 2), (1, 9), (2, 6, 54)])
def test_horizons_that_halving_cannot_use_are_refused(bad: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Settings\.horizons is"):
        settings(horizons=bad)


def test_two_settings_never_share_a_study() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"sweep": "other"},
        {"space": LINE},
        {"context": {"dataset": "other"}},
        {"seeds": (0,)},
        {"horizons": (3, 10)},
        {"metric": "loss"},
        {"k": 1},
        {"greater_is_better": False},
        {"seed": 1},
    ]
    assert len({settings(**change).name() for change in changes}) == len(changes)
    assert settings().name() == settings().name()


def test_another_direction_is_refused(tmp_path: Path) -> None:
    store, wanted = Store(tmp_path), line()
    folder = tmp_path / "searches" / wanted.sweep
    folder.mkdir(parents=True)
    storage = JournalStorage(JournalFileBackend(str(folder / f"{wanted.name()}.journal")))
    optuna.create_study(storage=storage, study_name=wanted.name(), direction="minimize")
    with pytest.raises(StoreError, match="looks for the other extreme; allowed: a study to maximize"):
        Study(store, wanted)


def test_first_points_come_first_and_once(tmp_path: Path) -> None:
    store, first = Store(tmp_path), [{"x": 0.25}, {"x": 1}]
    for _ in range(2):
        study = Study(store, line(), first=first)
        if study.num_suggestions == 0:
            for point in first:
                asked = study.ask()
                assert asked is not None
                assert asked.axes == point
    later = study.ask()
    assert later is not None
    assert later.axes not in first
    with pytest.raises(ValueError, match="x is 2; allowed: numbers from"):
        Study(store, line(), first=[{"x": 2}])


def test_halving_stops_what_is_not_among_the_best_third(tmp_path: Path) -> None:
    study = Study(Store(tmp_path), line())
    values = [0.5, 0.4, 0.6, 0.55, 0.7, 0.6]
    # A third of one to five is one, of six two; the first of all goes on because it is the best so far.
    expected = ["finished", "stopped", "finished", "stopped", "finished", "finished"]
    assert [measured(study, study.ask(), value, value + 0.1) for value in values] == expected
    assert [len(s.rungs) for s in study.suggestions()] == [2, 1, 2, 1, 2, 2]
    best = study.best()
    assert best is not None
    assert best.number == 4


def test_halving_of_what_should_be_small(tmp_path: Path) -> None:
    study = Study(Store(tmp_path), line(greater_is_better=False))
    assert [measured(study, study.ask(), value, value) for value in (0.5, 0.6, 0.4)] == [
        "finished",
        "stopped",
        "finished",
    ]
    best = study.best()
    assert best is not None
    assert best.number == 2


def test_a_stopped_suggestion_is_never_the_best(tmp_path: Path) -> None:
    study = Study(Store(tmp_path), line())
    measured(study, study.ask(), 0.9, 0.1)
    assert measured(study, study.ask(), 0.8) == "stopped"
    best = study.best()
    assert best is not None
    assert best.rungs[-1].value == 0.1


def test_a_finite_space_is_tried_once_and_then_exhausted(tmp_path: Path) -> None:
    space = Space(ranges={"a": Choice(values=("u", "v")), "b": Integer(low=0, high=1, when=(("a", ("v",)),))})
    study = Study(Store(tmp_path), replace(line(), space=space))
    found = []
    while (asked := study.ask()) is not None:
        found.append(json.dumps(dict(asked.axes)))
        measured(study, asked, 0.5, 0.5)
    assert len(found) == len(set(found)) == 3
    assert study.exhausted == "all 3 points of the space have been tried"


def test_repetitions_are_told_and_given_up(tmp_path: Path) -> None:
    store, wanted = Store(tmp_path), replace(line(), space=Space(ranges={"a": Integer(low=0, high=10**6)}))
    study = Study(store, wanted)
    asked = study.ask()
    assert asked is not None
    # As if every later suggestion had been tried.
    study._tell_repetition = lambda trial: study._tell_failure(trial, "duplicate_of", 0) is None  # type: ignore[method-assign]
    assert study.ask() is None
    assert study.exhausted == "the last 50 suggestions had all been tried before"
    again = Study(store, wanted)
    assert again.ask() is None, "what was given up stays given up"
    assert [s.number for s in again.suggestions()] == [0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_never_recorded(value: float, tmp_path: Path) -> None:
    study = Study(Store(tmp_path), line())
    asked = study.ask()
    with pytest.raises(ValueError, match="allowed: each seed, at horizon 2"):
        measured(study, asked, value)
    study.fail(0, "seed 0: nan")
    assert [(s.state, s.reason) for s in Study(Store(tmp_path), line()).suggestions()] == [("failed", "seed 0: nan")]


def test_a_torn_line_and_a_stale_lock_are_put_right(tmp_path: Path) -> None:
    store = Store(tmp_path)
    study = Study(store, line())
    measured(study, study.ask(), 0.5, 0.6)
    whole = study.path.read_bytes()
    study.path.write_bytes(whole + b'{"op_code":4,"wor')
    study.path.with_name(f"{study.path.name}.lock").symlink_to(study.path)
    again = Study(store, line())
    assert [s.state for s in again.suggestions()] == ["finished"]
    assert measured(again, again.ask(), 0.1) == "stopped"
    assert again.path.read_bytes().startswith(whole)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    study = Study(store, line())
    study.path.write_bytes(study.path.read_bytes() + b"nonsense\n{}\n")
    with pytest.raises(StoreError, match=r"journal: line 2 is damaged"):
        Study(store, line())


def test_the_dashboard_opens_the_journal(tmp_path: Path) -> None:
    app = pytest.importorskip("optuna_dashboard._app")
    study = Study(Store(tmp_path), line())
    measured(study, study.ask(), 0.5, 0.6)
    served = app.create_app(JournalStorage(JournalFileBackend(str(study.path))))
    said: list[str] = []
    request = {"PATH_INFO": "/api/studies", "REQUEST_METHOD": "GET", "SERVER_NAME": "x", "wsgi.errors": None}
    body = b"".join(served(request, lambda status, *_: said.append(status)))
    assert said == ["200 OK"]
    assert study.name in body.decode()


def test_importances_find_the_axis_that_matters() -> None:
    space = Space(
        ranges={
            "rate": Real(low=1e-4, high=1.0, log=True),
            "noise": Integer(low=1, high=100, log=True),
            "kind": Choice(values=("a", "b")),
            "part": Real(low=0, high=1, when=(("kind", ("b",)),)),
        }
    )
    points: list[dict[str, Any]] = [
        {"rate": 10 ** -(i % 5), "noise": 1 + i * 7 % 13, **({"kind": "b", "part": i / 40} if i % 2 else {"kind": "a"})}
        for i in range(40)
    ]
    rated = [(point, -abs(math.log10(point["rate"]) + 2)) for point in points]
    shares, why = importances(space, rated, 0)
    assert why == ""
    assert list(shares) == list(space.ranges)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["rate"] > 0.8
    assert importances(space, rated, 0) == (shares, "")
    conditional = [(p, p.get("part", 0.5)) for p in points]
    assert max(importances(space, conditional, 0)[0].items(), key=lambda item: item[1])[0] == "part"
    assert importances(space, rated[:7], 0) == ({}, "trained in full: 7; 8 are needed")
    flat = [(point, 0.5) for point in points]
    assert importances(space, flat, 0) == ({}, "all 40 trained in full have the same value")
