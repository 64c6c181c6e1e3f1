"""The search: from horizon to horizon, over failures and kills, to a winner and a view."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.search import Search
from cluster.study import Study
from stars.horizon import shortened
from stars.space import Real, Space
from stars.stage import fingerprint
from stars.store import Store
from stars.trials import read_importances, read_trials, studies
from tests.cluster.fake_search import drive, history, number, opened, point, settings, tuning


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """Thirteen suggestions, of which the sampler learns from ten, one at a time, undisturbed."""
    return drive(tmp_path_factory.mktemp("calm"), num_suggestions=13)


def test_a_search_ends_with_as_many_suggestions_as_asked_for(calm: Search) -> None:
    found = calm.study.suggestions()
    assert len(found) == 13
    assert {s.state for s in found} == {"finished", "stopped", "failed"}
    assert {s.reason for s in found} == {"", "seed 1: diverged"}
    assert len({json.dumps(dict(s.axes)) for s in found}) == 13
    assert {len(s.rungs) for s in found if s.state == "finished"} == {3}


def test_the_winner_is_the_best_that_was_trained_in_full(calm: Search) -> None:
    whole = [s for s in calm.study.suggestions() if s.state == "finished"]
    assert calm.winner() == max(whole, key=lambda s: s.rungs[-1].value).axes


def test_every_value_is_that_of_its_own_target(calm: Search) -> None:
    for suggestion in calm.study.suggestions():
        for rung in suggestion.rungs:
            for seed in (0, 1):
                target = shortened(point(suggestion.axes, seed), rung.horizon)
                assert rung.probes[seed] == fingerprint(target)
                assert rung.values[seed] == number(target)
            assert rung.value == math.fsum(rung.values.values()) / 2


def test_a_shorter_search_is_the_beginning_of_a_longer_one(calm: Search, tmp_path: Path) -> None:
    drive(tmp_path, num_suggestions=4)
    assert history(drive(tmp_path, num_suggestions=13)) == history(calm)


@pytest.mark.parametrize(("num_suggestions", "in_flight"), [(13, 1), (8, 3)])
def test_killed_anywhere_it_goes_on(calm: Search, tmp_path: Path, num_suggestions: int, in_flight: int) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.cluster.search_killed",
        str(tmp_path),
        str(num_suggestions),
        str(in_flight),
        "7",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["kills"] >= 5
    assert result["finished"]
    found = [json.loads(line) for line in result["history"]]
    assert len(found) == len({json.dumps(axes) for axes, *_ in found}) == num_suggestions
    assert "running" not in {state for _, state, *_ in found}
    for axes, _, _, rungs in found:
        for horizon, value, values, _ in rungs:
            expected = [number(shortened(point(axes, seed), horizon)) for seed in (0, 1)]
            assert list(values.values()) == expected
            assert value == math.fsum(expected) / 2
    if in_flight == 1:
        assert result["history"] == history(calm), "as if it had never been killed"


def test_all_seeds_are_waited_for_and_one_failure_fails_the_suggestion(tmp_path: Path) -> None:
    search = opened(tmp_path, num_suggestions=2)
    one, other = search.start()
    assert search.ended(one, "oom") == []
    more = search.ended(other, "finished")
    first = search.study.suggestions()[0]
    assert (first.state, first.reason) == ("failed", "seed 0: oom")
    assert len(more) == 2, "the next suggestion"
    assert not search.finished


@pytest.mark.parametrize(("value", "reason"), [(math.nan, "seed 0: nan"), (None, "seed 0: no number")])
def test_a_missing_number_fails(value: float | None, reason: str, tmp_path: Path) -> None:
    study = Study(Store(tmp_path), settings())
    search = Search(study, point=point, measure=lambda _: value, num_suggestions=1, in_flight=lambda: 1)
    one, other = search.start()
    search.ended(one, "finished")
    search.ended(other, "diverged")
    assert search.finished
    assert search.winner() is None
    assert study.suggestions()[0].reason == f"{reason}; seed 1: diverged"


def test_a_point_that_cannot_be_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    def impossible(axes: object, seed: int) -> None:
        raise ValueError("Tune.clip is 0; allowed: more than 0")

    study = Study(Store(tmp_path), settings())
    search = Search(study, point=impossible, measure=number, num_suggestions=3, in_flight=lambda: 1)  # type: ignore[arg-type]
    assert search.start() == []
    assert search.finished
    assert {s.reason for s in study.suggestions()} == {"refused: Tune.clip is 0; allowed: more than 0"}


def test_an_axis_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    study = Study(Store(tmp_path), settings(space=Space(ranges={"idle": Real(low=0, high=1)})))
    same = tuning(point(opened(tmp_path, num_suggestions=1).study._first[0], 0))
    search = Search(study, point=lambda *_: same, measure=number, num_suggestions=2, in_flight=lambda: 2)
    assert search.start() == []
    assert search.finished, "and the study is not stuck"
    assert all("is the same experiment as trial" in found.reason for found in study.suggestions())


def test_there_are_as_many_under_way_as_there_is_room_for(tmp_path: Path) -> None:
    room = [2]
    study = Study(Store(tmp_path), settings())
    search = Search(study, point=point, measure=number, num_suggestions=5, in_flight=lambda: room[0])
    assert len(search.start()) == 4
    assert search.more() == []
    room[0] = 4
    assert len(search.more()) == 4
    room[0] = 0
    assert search.more() == []


@pytest.mark.parametrize("status", ["interrupted", "stopped"])
def test_what_is_no_ending_is_refused(status: str, tmp_path: Path) -> None:
    search = opened(tmp_path, num_suggestions=1)
    target = search.start()[0]
    with pytest.raises(ValueError, match=f"status is '{status}'; allowed: finished, diverged"):
        search.ended(target, status)  # type: ignore[arg-type]
    search.ended(target, "finished")
    with pytest.raises(ValueError, match="has not been asked for"):
        search.ended(target, "finished")


def test_the_view_shows_every_suggestion_at_every_horizon(calm: Search, tmp_path: Path) -> None:
    store = Store(tmp_path)
    calm.export(store)
    calm.export(store)
    assert studies(store, "search") == [calm.study.name]
    rows = read_trials(store, "search", calm.study.name).to_pylist()
    found = calm.study.suggestions()
    assert [(r["trial"], r["horizon"], r["value"]) for r in rows] == [
        row
        for s in found
        for row in [
            *((s.number, r.horizon, r.value) for r in s.rungs),
            *([(s.number, settings().horizons[len(s.rungs)], None)] if s.state == "failed" else []),
        ]
    ]
    assert all(row["started"] <= row["ended"] for row in rows)
    assert json.loads(rows[0]["axes"]) == found[0].axes
    lines = read_importances(store, "search", calm.study.name).to_pylist()
    assert [line["axis"] for line in lines] == list(settings().space.ranges)
    assert {line["importance"] for line in lines} == {None}
    assert all("8 are needed" in line["reason"] for line in lines)


def test_the_view_shows_what_runs_and_what_failed(tmp_path: Path) -> None:
    search = opened(tmp_path, num_suggestions=2)
    for target in search.start():
        search.ended(target, "lost")
    search.export(search_store := Store(tmp_path), importances=False)
    rows = read_trials(search_store, "search", search.study.name).to_pylist()
    assert [(r["state"], r["reason"], r["horizon"], r["value"]) for r in rows] == [
        ("failed", "seed 0: lost; seed 1: lost", 1, None),
        ("running", "", 1, None),
    ]
