"""KNN against cases counted by hand and against scikit-learn."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.neighbors import KNeighborsClassifier

from stars.data.dataset import describe, split
from stars.data.packed import Packed
from stars.execute import realise
from stars.probes.features import read_both
from stars.probes.knn import KNN
from stars.results import read
from stars.runtime import PlainRuntime
from stars.stage import encode
from tests.examples import DATA, a_point
from tests.probes.cases import directions, leave, of, pack
from tests.training import Tiny


def run_knn(tmp_path: Path, k: tuple[int, ...], **settings: Any) -> tuple[list[dict[str, Any]], dict[str, list[int]]]:
    """Numbers and predictions of a case of five training and four test samples, labels 0 to 2.

    Labels belong to rows of the store, whatever the order in which the features stand.
    """
    train, test = [3, 2, 2, 1, 3], [3, 1, 1, 2]
    packed = pack(tmp_path / "packed", [*((1, action) for action in train), *((3, action) for action in test)])
    data = describe(packed)
    held = {
        "train": (directions(100, 90, 20, 10, 0), [4, 3, 2, 1, 0]),
        "test": (directions(1, 94, 182, 61), [5, 6, 7, 8]),
    }
    inputs = {"features": leave(tmp_path / "features", held), "data": packed.path}
    out = tmp_path / "out"
    out.mkdir()
    probe = KNN(features=of(data), data=data, k=k, **settings)
    probe.run(inputs, out, PlainRuntime())
    return json.loads((out / "numbers.json").read_text()), pq.read_table(out / "predictions.parquet").to_pydict()


def test_knn_of_a_case_by_hand(tmp_path: Path) -> None:
    # The neighbours' labels, the nearest first: at 1 degree 2 1 1 0 2, at 94 0 2 1 1 2, at 182 2 0 1 1 2, at 61
    # 0 2 1 1 2. Among equals the smallest label wins.
    numbers, predictions = run_knn(tmp_path, (1, 2, 3, 4, 5))
    assert predictions == {
        "row": [5, 6, 7, 8],
        "label": [2, 0, 0, 1],
        "k1": [2, 0, 2, 0],
        "k2": [1, 0, 0, 0],
        "k3": [1, 0, 0, 0],
        "k4": [1, 1, 1, 1],
        "k5": [1, 1, 1, 1],
    }
    assert [number["k"] for number in numbers] == [1, 2, 3, 4, 5]
    assert [number["value"] for number in numbers] == [1 / 2, 1 / 2, 1 / 2, 1 / 4, 1 / 4]
    for number in numbers:
        described = [number[name] for name in ("split", "probe", "feature", "metric", "count", "selected_on", "epoch")]
        assert described == ["test", "knn", "pooled", "accuracy", 4, "none", None]


def test_more_neighbours_than_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"KNN\.k is \(1, 6\); allowed: at most 5, the training samples"):
        run_knn(tmp_path, (1, 6))


@pytest.mark.parametrize("k", [(), (0, 1), (1, 1)])
def test_impossible_numbers_of_neighbours_are_refused(k: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"KNN\.k is .*; allowed: one or more different numbers from 1"):
        replace(a_point(), k=k)


def test_labels_follow_another_rule_but_no_other_data() -> None:
    point = a_point()
    assert replace(point, data=replace(DATA, label_rule="action-setup")).features == point.features
    for other in ({"content": "1" * 64}, {"protocol": "XView"}, {"coordinates_missing": "zero"}):
        with pytest.raises(ValueError, match=r"KNN\.data is .*; allowed: that of the features"):
            replace(point, data=replace(DATA, **other))  # type: ignore[arg-type]


def test_knn_from_recordings_to_rows(tiny: Tiny, tmp_path: Path) -> None:
    probe = tiny.recipe.knn(tiny.recipe.tune(seed=4))
    workplace = replace(tiny.workplace(tmp_path), recipe="tiny")
    assert realise(probe, workplace).status == "finished"
    predicted = pq.read_table(workplace.store.output(probe) / "predictions.parquet").to_pydict()
    rows = read(workplace.store).to_pylist()
    assert [row["k"] for row in rows] == [1, 3]
    for row in rows:
        hits = np.equal(predicted[f"k{row['k']}"], predicted["label"])
        assert (row["value"], row["count"]) == (hits.mean(), 8)
        assert json.loads(row["seeds"]) == {"pretrain": 0, "tune": 4}
        assert (row["recipe"], row["dataset"], row["data_content"]) == ("tiny", "tiny", tiny.data.content)


def test_ties_to_the_nearest_by_hand(tmp_path: Path) -> None:
    # Neighbours as above: at 1 degree 2 1 1 0 2, at 94 0 2 1 1 2, at 182 2 0 1 1 2, at 61 0 2 1 1 2.
    numbers, predictions = run_knn(tmp_path, (1, 2, 3, 4, 5), vote="distance")
    assert predictions["k2"] == [2, 0, 2, 0]
    assert predictions["k3"] == [1, 0, 2, 0]
    assert predictions["k4"] == [1, 1, 1, 1]
    assert predictions["k5"] == [2, 2, 2, 2]
    assert {number["variant"] for number in numbers} == {"ties to the nearest"}


def test_weighted_votes_by_hand(tmp_path: Path) -> None:
    numbers, predictions = run_knn(tmp_path, (1, 5), vote="weighted", temperature=0.5)
    bank, labels = (100, 90, 20, 10, 0), (2, 0, 1, 1, 2)
    for query, predicted in zip((1, 94, 182, 61), predictions["k5"], strict=True):
        scores = [0.0, 0.0, 0.0]
        for angle, label in zip(bank, labels, strict=True):
            scores[label] += math.exp(math.cos(math.radians(query - angle)) / 0.5)
        assert predicted == scores.index(max(scores))
    assert predictions["k1"] == [2, 0, 2, 0]
    assert {number["variant"] for number in numbers} == {"weighted vote, temperature 0.5"}


@pytest.mark.parametrize(
    "settings",
    [
        {"vote": "weighted"},
        {"vote": "weighted", "temperature": 0.0},
        {"vote": "weighted", "temperature": -1.0},
        {"temperature": 0.1},
        {"temperature": 0.0},
        {"vote": "distance", "temperature": 0.1},
    ],
)
def test_a_temperature_belongs_to_the_weighted_vote(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"KNN\.temperature is .* with the vote .*; allowed: above 0"):
        replace(a_point(), **settings)


def test_the_papers_vote_keeps_its_fingerprint() -> None:
    document = encode(a_point())
    assert document.keys() == {"type", "version", "features", "data", "k"}
    assert (document["type"], document["version"]) == ("probes.knn.KNN", 1)
    features = encode(a_point().features)
    assert features.keys() == {"type", "version", "encoder", "data", "crop", "precision"}
    assert (features["type"], features["version"]) == ("probes.features.Features", 1)
    assert encode(replace(a_point(), vote="distance"))["vote"] == "distance"


def test_it_is_scikit_learns(tiny: Tiny, tmp_path: Path) -> None:
    probe = replace(tiny.recipe.knn(tiny.recipe.untrained(seed=0)), k=(1, 2, 5, 10))
    workplace = tiny.workplace(tmp_path)
    realise(probe, workplace)
    parts = split(tiny.data, Packed.open(tiny.packed))
    train, test = read_both(workplace.store.output(probe.features), parts)
    table = pq.read_table(workplace.store.output(probe) / "predictions.parquet")
    assert json.loads(table.schema.metadata[b"classes"]) == list(parts.class_names)
    for k in probe.k:
        oracle = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
        oracle.fit(train.features.numpy(), parts.labels[train.rows.numpy()])
        np.testing.assert_array_equal(table[f"k{k}"], oracle.predict(test.features.numpy()))
