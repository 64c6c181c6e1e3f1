"""Features against the slow way, and how they are read."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stars.data.batches import Clips, View
from stars.data.dataset import describe, split
from stars.data.packed import Packed
from stars.encoders import load_encoder, save_tensors
from stars.execute import realise
from stars.model.encoder import Encoder
from stars.outcome import StoreError
from stars.probes import features
from stars.probes.features import FEATURES_FILE, Features, encoded, read_both, read_features
from tests.examples import DATA
from tests.probes.cases import leave, of, pack
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
    assert {bool(packed.sample(int(row))[:, 1].any()) for row in rows} == {True, False}, (
        "with and without a second body"
    )
    shape = stage.encoder.encoder_shape()
    encoder = load_encoder(workplace.store.output(stage.encoder), shape, torch.device("cpu"), torch.float32)
    with torch.no_grad():
        slow = [slow_feature(encoder, packed.sample(int(row)), int(packed.column("valid")[row]), 0.9) for row in rows]
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
        replace(of(DATA), crop=crop)


def test_a_copied_second_body_is_not_encoded_again(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published NTU-120 has a copy in place of a missing second body: a feature is as of both encoded apart."""
    stage = Features(encoder=tiny.recipe.untrained(seed=0), data=replace(tiny.data, second_body="copy"), crop=0.9)
    workplace = tiny.workplace(tmp_path)
    realise(stage.encoder, workplace)
    shape = stage.encoder.encoder_shape()
    encoder = load_encoder(workplace.store.output(stage.encoder), shape, torch.device("cpu"), torch.float32)
    packed = Packed.open(tiny.packed)
    rows = torch.from_numpy(split(stage.data, packed).train)
    num_encoded = []
    embed = encoder.embed

    def counted(bodies: Tensor) -> Tensor:
        num_encoded.append(len(bodies))
        return embed(bodies)

    monkeypatch.setattr(encoder, "embed", counted)
    found = encoded(encoder, Clips(packed, **stage.data.filling()), rows, View(frames=shape.frames, crop=(0.9,)))
    monkeypatch.undo()
    num_bodies = packed.column("num_bodies")[rows.numpy()]
    assert sum(num_encoded) == num_bodies.sum() + len(num_encoded), "each body once, and a row of zeros a batch"
    assert set(num_bodies.tolist()) == {1, 2}
    with torch.no_grad():
        for row, feature in zip(rows.tolist(), found, strict=True):
            sequence = packed.sample(row)
            if packed.column("num_bodies")[row] == 1:
                sequence[:, 1] = sequence[:, 0]
            slow = slow_feature(encoder, sequence, int(packed.column("valid")[row]), 0.9)
            torch.testing.assert_close(feature, slow, rtol=0, atol=2e-6)


def test_features_are_read_with_the_samples_that_are_asked_for(tmp_path: Path) -> None:
    packed = pack(tmp_path / "packed", [(1, 1), (1, 2), (3, 1), (3, 2)])
    parts = split(describe(packed), packed)
    values = torch.arange(8.0).view(4, 2)
    train, test = read_both(leave(tmp_path / "a", {"train": (values[:2], [1, 0]), "test": (values[2:], [2, 3])}), parts)
    assert (train.rows.tolist(), test.rows.tolist()) == ([1, 0], [2, 3])
    assert torch.equal(train.features, values[:2])
    train, test = read_both(leave(tmp_path / "b", {"all": (values, [3, 2, 1, 0])}, "any"), parts)
    assert (train.rows.tolist(), test.rows.tolist()) == ([0, 1], [2, 3])
    assert torch.equal(train.features, values[[3, 2]])
    assert torch.equal(test.features, values[[1, 0]])


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        ([0], [2, 3], r"has the features of 1 train samples, which are not the 2 of case under XSub"),
        ([0, 2], [2, 3], r"has the features of 2 train samples, which are not the 2"),
        ([0, 1], [3], r"has the features of 1 test samples"),
        ([0, 1], [2, 3, 3], r"has the features of 3 test samples"),
    ],
)
def test_features_of_other_samples_are_refused(tmp_path: Path, train: list[int], test: list[int], words: str) -> None:
    packed = pack(tmp_path / "packed", [(1, 1), (1, 2), (3, 1), (3, 2)])
    parts = split(describe(packed), packed)
    held = {"train": (torch.ones(len(train), 2), train), "test": (torch.ones(len(test), 2), test)}
    with pytest.raises(ValueError, match=words):
        read_both(leave(tmp_path / "features", held), parts)


def test_features_of_some_samples_are_refused_by_name(tmp_path: Path) -> None:
    packed = pack(tmp_path / "packed", [(1, 1), (1, 2), (3, 1), (3, 2)])
    folder = leave(tmp_path / "features", {"all": (torch.ones(3, 2), [0, 1, 2])})
    with pytest.raises(ValueError, match=r"no features of 1 samples of case, the first 003; allowed: .* of all 2"):
        read_both(folder, split(describe(packed), packed))


def test_files_that_are_no_features_are_refused(tmp_path: Path) -> None:
    folder = leave(tmp_path / "a", {"train": (torch.ones(1, 2), [0])})
    with pytest.raises(StoreError, match="holds train; test is needed"):
        read_features(folder, "test")
    save_tensors(folder / FEATURES_FILE, {"train/a": torch.ones(1, 2), "train/b": torch.ones(1, 2)})
    with pytest.raises(StoreError, match=r"holds \['train/a', 'train/b'\]; allowed: rows and one feature a part"):
        read_features(folder, "train")
