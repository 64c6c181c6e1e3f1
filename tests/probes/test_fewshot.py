"""Few-shot against cases counted by hand, scikit-learn and slow loops; what it draws; what it refuses."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from analysis.load import load
from stars.data.dataset import describe, split
from stars.data.packed import Packed
from stars.execute import realise
from stars.probes.feature_bank import FeatureBank
from stars.probes.features import Features, read_both
from stars.probes.fewshot import FewShot, NovelKNN, first_of_each, half_width
from stars.probes.knn import KNN
from stars.results import read
from stars.runtime import PlainRuntime
from stars.stage import decode, encode, fingerprint
from tests.examples import DATA, a_point
from tests.probes.cases import directions, leave, of, pack
from tests.training import Tiny


def a_probe(**changes: Any) -> FewShot:
    return FewShot(features=a_point().features, data=DATA, **changes)


def on_tiny(tiny: Tiny, **changes: Any) -> FewShot:
    features = tiny.recipe.knn(tiny.recipe.untrained(seed=0)).features
    return FewShot(features=features, data=tiny.data, **changes)


def run_first(tmp_path: Path, **settings: Any) -> tuple[list[dict[str, Any]], dict[str, list[int]]]:
    """Two classes of three training samples; the first two of each stand at 0 and 60, and at 10 and 90 degrees."""
    packed = pack(tmp_path / "packed", [(1, 1), (1, 2), (1, 2), (1, 1), (1, 1), (1, 2), (3, 1), (3, 2), (3, 1)])
    data = describe(packed)
    held = {
        "train": (directions(70, 60, 10, 90, 0, 68), [5, 3, 1, 2, 0, 4]),
        "test": (directions(69, 1, 6), [6, 7, 8]),
    }
    inputs = {"features": leave(tmp_path / "features", held), "data": packed.path}
    out = tmp_path / "out"
    out.mkdir()
    probe = FewShot(features=of(data), data=data, exemplars="first", draws=1, shots=(1, 2), **settings)
    probe.run(inputs, out, PlainRuntime())
    return json.loads((out / "numbers.json").read_text()), pq.read_table(out / "predictions.parquet").to_pydict()


def test_the_first_exemplars_by_hand(tmp_path: Path) -> None:
    # One shot: 0 or 10 degrees. Two shots: of 0, 60 | 10, 90 the nearest two; at 69 60 and 90, a tie; at 1 and 6, 0 and
    # 10, ties too. The samples at 70 and 68 are the third of their classes.
    numbers, predictions = run_first(tmp_path)
    assert predictions == {"row": [6, 7, 8], "label": [0, 1, 0], "shot1_draw0": [1, 0, 1], "shot2_draw0": [0, 0, 0]}
    shown = [(number["k"], number["metric"], number["value"], number["count"], number["probe"]) for number in numbers]
    assert shown == [(1, "accuracy", 0.0, 3, "fewshot_first"), (2, "accuracy", 2 / 3, 3, "fewshot_first")]


def test_ties_to_the_nearest_exemplar_by_hand(tmp_path: Path) -> None:
    numbers, predictions = run_first(tmp_path, vote="distance")
    assert predictions["shot2_draw0"] == [0, 0, 1]
    assert {number["variant"] for number in numbers} == {"ties to the nearest"}


def test_it_is_scikit_learns_on_the_exemplars_drawn(tiny: Tiny, tmp_path: Path) -> None:
    probe = on_tiny(tiny, shots=(1, 3), seed=5)
    workplace = tiny.workplace(tmp_path)
    assert realise(probe, workplace).status == "finished"
    parts = split(tiny.data, Packed.open(tiny.packed))
    train, test = read_both(workplace.store.output(probe.features), parts)
    assert train.rows.tolist() == parts.train.tolist()
    labels = torch.from_numpy(parts.labels[parts.train])
    table = pq.read_table(workplace.store.output(probe) / "predictions.parquet")
    assert json.loads(table.schema.metadata[b"classes"]) == list(parts.class_names)
    assert len(table.schema.names) == 2 + 2 * 10
    for draw in range(10):
        order = probe.order(draw, labels)
        for shot in (1, 3):
            chosen = first_of_each(order, labels, shot)
            assert Counter(labels[chosen].tolist()) == dict.fromkeys(range(4), shot)
            oracle = KNeighborsClassifier(shot, metric="cosine", algorithm="brute")
            oracle.fit(train.features[chosen].numpy(), labels[chosen].numpy())
            np.testing.assert_array_equal(table[f"shot{shot}_draw{draw}"], oracle.predict(test.features.numpy()))


def test_rows_hold_the_draws_their_mean_and_its_interval(tiny: Tiny, tmp_path: Path) -> None:
    probe = on_tiny(tiny, shots=(2,), draws=12)
    workplace = tiny.workplace(tmp_path)
    realise(probe, workplace)
    predicted = pq.read_table(workplace.store.output(probe) / "predictions.parquet").to_pydict()
    rows = read(workplace.store).to_pylist()
    draws = [row for row in rows if row["metric"] == "accuracy_of_draw"]
    assert [row["draw"] for row in draws] == list(range(12))
    for row in draws:
        assert row["value"] == np.equal(predicted[f"shot2_draw{row['draw']}"], predicted["label"]).mean()
    values = [row["value"] for row in draws]
    (mean,) = (row for row in rows if row["metric"] == "accuracy")
    (width,) = (row for row in rows if row["metric"] == "accuracy_half_width")
    assert (mean["value"], mean["draw"]) == (pytest.approx(np.mean(values)), None)
    low, high = stats.t.interval(0.95, 11, np.mean(values), stats.sem(values))
    assert mean["value"] - width["value"] == pytest.approx(low)
    assert mean["value"] + width["value"] == pytest.approx(high)
    assert {(row["probe"], row["k"], row["feature"], row["count"]) for row in rows} == {("fewshot", 2, "pooled", 8)}
    frame = load(workplace.store)
    assert frame.loc[frame["metric"] == "accuracy", "value"].tolist() == [mean["value"]]


def test_draws_are_nested_named_by_seed_and_even(tiny: Tiny) -> None:
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 0, 1])

    def drawn(number: int, shot: int, seed: int = 0) -> list[int]:
        probe = a_probe(seed=seed)
        chosen: Tensor = first_of_each(probe.order(number, labels), labels, shot)
        return chosen.tolist()

    for number in range(10):
        one, two = drawn(number, 1), drawn(number, 2)
        assert set(one) < set(two)
        assert two == sorted(two)
        assert labels[two].tolist().count(0) == 2
        assert drawn(number, 2) == two
    assert len({tuple(drawn(number, 2)) for number in range(10)}) > 5
    assert [drawn(number, 1) for number in range(10)] != [drawn(number, 1, seed=1) for number in range(10)]
    often = Counter(sample for number in range(240) for sample in drawn(number, 1))
    assert stats.chisquare([often[sample] for sample in range(8)]).pvalue > 1e-3


def test_half_width_is_students() -> None:
    values = [0.2, 0.5, 0.9]
    assert half_width(values) == pytest.approx(stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / 3**0.5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shots": ()}, r"FewShot\.shots is \(\); allowed: one or more different numbers from 1"),
        ({"shots": (0, 1)}, r"FewShot\.shots"),
        ({"shots": (2, 2)}, r"FewShot\.shots"),
        ({"draws": 9}, r"FewShot\.draws is 9; allowed: 10 or more, or 1 with the first exemplars"),
        ({"exemplars": "first"}, r"FewShot\.draws is 10"),
        ({"exemplars": "first", "draws": 1, "seed": 3}, r"FewShot\.seed is 3; allowed: .*0 with the first"),
        ({"seed": -1}, r"FewShot\.seed is -1"),
        ({"vote": "weighted"}, r"FewShot\.vote is 'weighted'; allowed: 'plain', 'distance'"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        a_probe(**changes)


def test_features_of_other_data_are_refused() -> None:
    assert replace(a_probe(), data=replace(DATA, label_rule="action-setup")).shots == (1, 2, 5)
    with pytest.raises(ValueError, match=r"FewShot\.data is .*; allowed: that of the features"):
        replace(a_probe(), data=replace(DATA, protocol="XView"))


def test_a_class_with_too_few_exemplars_is_refused(tmp_path: Path, tiny: Tiny) -> None:
    probe = on_tiny(tiny, shots=(1, 7))
    workplace = tiny.workplace(tmp_path)
    words = r"asks for 7 exemplars; allowed: at most 6, .*\. 4 of 4 classes have fewer: A001 \(6\), A002 \(6\)"
    with pytest.raises(ValueError, match=words):
        realise(probe, workplace)


def test_several_crops_of_an_exemplar_are_refused(tmp_path: Path, tiny: Tiny) -> None:
    view = tiny.recipe.stage1.view
    encoder = tiny.recipe.untrained(seed=0)
    bank = FeatureBank(encoder=encoder, data=tiny.data, crop=0.9, view=view, num_crops=2, seed=0)
    workplace = tiny.workplace(tmp_path)
    with pytest.raises(ValueError, match=r"FewShot\.features has 48 entries of 24 training samples; allowed: one each"):
        realise(FewShot(features=bank, data=tiny.data), workplace)


def test_every_field_reaches_the_fingerprint() -> None:
    probe = a_probe()
    assert decode(encode(probe)) == probe
    first = replace(probe, exemplars="first", draws=1)
    others = [
        first,
        *(replace(probe, **c) for c in ({"shots": (1,)}, {"draws": 11}, {"seed": 1}, {"vote": "distance"})),
    ]
    assert len({fingerprint(one) for one in (probe, *others)}) == 6


def novel(tiny: Tiny, seen: tuple[int, ...], **changes: Any) -> NovelKNN:
    """KNN on the actions 3 and 4 with an encoder that was trained on others."""
    stage1 = replace(tiny.recipe.stage1, data=replace(tiny.data, actions=seen), **changes)
    data = replace(tiny.data, actions=(3, 4))
    features = Features(encoder=stage1, data=data, crop=0.9)
    return NovelKNN(features=features, data=data, k=(1, 2))


def test_the_published_reading_is_knn_on_all_samples_of_classes_never_seen(tiny: Tiny, tmp_path: Path) -> None:
    workplace = tiny.workplace(tmp_path)
    probe = novel(tiny, (1, 2), batch_size=4, epochs=2)
    assert realise(probe, workplace).status == "finished"
    plain = KNN(features=probe.features, data=probe.data, k=probe.k)
    realise(plain, workplace)
    by_probe: dict[str, list[float]] = {}
    for row in read(workplace.store).to_pylist():
        by_probe.setdefault(row["probe"], []).append(row["value"])
    assert by_probe.keys() == {"knn", "knn_novel"}
    assert by_probe["knn"] == by_probe["knn_novel"]


def test_classes_that_were_trained_on_are_not_novel(tiny: Tiny) -> None:
    for seen in ((), (1, 2, 3)):
        with pytest.raises(ValueError, match=r"NovelKNN\.data\.actions names 3, which the encoder was trained on"):
            novel(tiny, seen)
    assert novel(tiny, (), epochs=0, warmup_epochs=0).k == (1, 2), "it was trained on nothing"
    with pytest.raises(ValueError, match=r"NovelKNN\.data\.actions is \(\); allowed: the novel actions"):
        NovelKNN(features=a_point().features, data=DATA, k=(1,))
    with pytest.raises(ValueError, match=r"NovelKNN\.k is \(0,\)"):
        replace(novel(tiny, (1, 2)), k=(0,))
