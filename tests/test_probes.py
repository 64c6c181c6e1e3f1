"""The probes: features against the slow way, KNN and chance against cases counted by hand."""

import json
import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from stars.data.dataset import describe, split
from stars.data.ntu import NtuName
from stars.data.packed import Packed
from stars.data.packing import Packer
from stars.encoders import load_encoder
from stars.execute import Workplace, realise
from stars.model.encoder import Encoder
from stars.probes import features
from stars.probes.chance import Chance
from stars.probes.features import FEATURES_FILE, Features, read_features
from stars.probes.knn import KNN
from stars.results import read
from stars.runtime import PlainRuntime
from stars.store import Store
from tests.examples import DATA, a_point
from tests.training import Tiny


def slow_feature(encoder: Encoder, sequence: np.ndarray, valid: int, crop: float) -> Tensor:
    """One sample: cut the middle out, resample by torch, encode each of the two bodies alone, also one of zeros."""
    kept = valid - 2 * int((1 - crop) * valid / 2)
    first = (valid - kept) // 2
    curves = torch.from_numpy(sequence[first : first + kept]).flatten(1).T[None]
    frames = encoder.shape.frames
    resampled = functional.interpolate(curves, size=frames, mode="linear", align_corners=False)
    bodies = resampled[0].T.reshape(frames, 2, encoder.shape.joints, 3)
    outputs = [encoder.encode(encoder.embed(bodies[None, :, body])).mean(dim=(0, 1)) for body in range(2)]
    return torch.stack(outputs).mean(dim=0)


@pytest.mark.parametrize("part", ["train", "test"])
def test_features_are_those_of_every_sample_alone(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: Literal["train", "test"]
) -> None:
    # 24 and 8 samples: whole batches and an incomplete one.
    monkeypatch.setattr(features, "_BATCH", 5)
    stage = Features(encoder=tiny.recipe.untrained(seed=0), data=tiny.data, crop=0.9)
    workplace = tiny.workplace(tmp_path)
    realise(stage, workplace)
    found = read_features(workplace.store.output(stage), part)
    packed = Packed.open(tiny.packed)
    parts = split(tiny.data, packed)
    rows = parts.parts()[part]
    assert found.rows.tolist() == rows.tolist()
    assert {bool(packed.sample(row)[:, 1].any()) for row in rows} == {True, False}, "with and without a second body"
    shape = stage.encoder.encoder_shape()
    encoder = load_encoder(workplace.store.output(stage.encoder), shape, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        slow = [slow_feature(encoder, packed.sample(row), int(packed.column("valid")[row]), 0.9) for row in rows]
    torch.testing.assert_close(found.features, torch.stack(slow), rtol=0, atol=2e-6)
    assert float(found.features.std(dim=0).min()) > 1e-3, "samples differ by far more"


def test_features_of_another_crop_differ(tiny: Tiny, tmp_path: Path) -> None:
    stage = Features(encoder=tiny.recipe.untrained(seed=0), data=tiny.data, crop=0.9)
    workplace = tiny.workplace(tmp_path)
    pooled = []
    for one in (stage, replace(stage, crop=1.0), replace(stage, precision="float64")):
        realise(one, workplace)
        pooled.append(read_features(workplace.store.output(one), "test").features)
    assert float((pooled[0] - pooled[1]).abs().max()) > 1e-3
    assert pooled[2].dtype == torch.float64
    torch.testing.assert_close(pooled[0].double(), pooled[2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("crop", [0.0, 1.1, -0.5])
def test_impossible_crops_are_refused(crop: float) -> None:
    with pytest.raises(ValueError, match=r"Features\.crop is .*; allowed: in \(0, 1\]"):
        replace(a_point().features, crop=crop)


def pack(folder: Path, recordings: Iterable[tuple[int, int]]) -> Packed:
    """A store with one recording for each pair of subject and action."""
    with Packer(folder, name="case", source="made by hand", num_joints=2) as packer:
        for number, (subject, action) in enumerate(recordings):
            labels = NtuName(setup=1, camera=1, subject=subject, replication=1, action=action)
            packer.append(f"{number:03}", labels, np.ones((3, 1, 2, 3), np.float32))
        packer.finish()
    return Packed.open(folder)


def directions(*degrees: float) -> Tensor:
    """Vectors in these directions, of different lengths."""
    lengths = range(1, len(degrees) + 1)
    pairs = [
        (n * math.cos(math.radians(d)), n * math.sin(math.radians(d))) for n, d in zip(lengths, degrees, strict=True)
    ]
    return torch.tensor(pairs)


def run_knn(tmp_path: Path, k: tuple[int, ...]) -> tuple[list[dict[str, Any]], dict[str, list[int]]]:
    """Numbers and predictions of a case of five training and four test samples, labels 0 to 2.

    Labels belong to rows of the store, whatever the order in which the features stand.
    """
    train, test = [3, 2, 2, 1, 3], [3, 1, 1, 2]
    packed = pack(tmp_path / "packed", [*((1, action) for action in train), *((3, action) for action in test)])
    data = describe(packed)
    inputs = {"features": tmp_path / "features", "data": packed.path}
    inputs["features"].mkdir()
    state = {
        "train/pooled": directions(100, 90, 20, 10, 0),
        "train/rows": torch.tensor([4, 3, 2, 1, 0]),
        "test/pooled": directions(1, 94, 182, 61),
        "test/rows": torch.tensor([5, 6, 7, 8]),
    }
    save_file(state, inputs["features"] / FEATURES_FILE)
    out = tmp_path / "out"
    out.mkdir()
    KNN(features=replace(a_point().features, data=data), data=data, k=k).run(inputs, out, PlainRuntime())
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


@pytest.mark.parametrize(
    ("train", "test", "accuracy"),
    [
        ([1, 2, 2], [1, 2, 2, 2, 1], 3 / 5),
        ([1, 2, 2, 3, 3], [1, 2, 3, 3], 1 / 4),
        ([3, 3, 1, 2], [1, 2, 3, 3], 1 / 2),
    ],
)
def test_chance_is_the_accuracy_of_the_most_frequent_class(
    tmp_path: Path, train: list[int], test: list[int], accuracy: float
) -> None:
    # Subject 1 is trained on, subject 3 tested on; what is frequent in the test part does not count.
    packed = pack(tmp_path / "packed", [*((1, action) for action in train), *((3, action) for action in test)])
    data = describe(packed)
    workplace = Workplace(store=Store(tmp_path / "store"), datasets={data.content: packed.path})
    assert realise(Chance(data=data), workplace).status == "finished"
    (row,) = read(workplace.store).to_pylist()
    assert (row["probe"], row["value"], row["count"], row["k"]) == ("chance", accuracy, len(test), None)
