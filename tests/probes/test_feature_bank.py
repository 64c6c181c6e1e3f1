"""The bank of features: crop by crop that of the slow way, drawn by its seed, read by the probes of features."""

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from stars import draws
from stars.data.batches import Clips, View, draw, views
from stars.data.dataset import split
from stars.data.packed import Packed
from stars.encoders import load_encoder
from stars.execute import realise
from stars.probes import features
from stars.probes.feature_bank import FeatureBank
from stars.probes.features import Features, read_features
from stars.probes.knn import KNN
from stars.probes.linear import LinearOnFeatures
from stars.results import read
from tests.training import Tiny

VIEW = View(frames=16, crop=(0.5, 1.0), rotation=0.3)


def a_bank(tiny: Tiny, **fields: Any) -> FeatureBank:
    base: dict[str, Any] = {"encoder": tiny.recipe.untrained(seed=0), "data": tiny.data, "crop": 0.9, "view": VIEW}
    return FeatureBank(**{**base, "num_crops": 3, "seed": 0, **fields})


def test_every_crop_is_encoded_as_drawn(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 24 samples: whole groups and an incomplete one.
    monkeypatch.setattr(features, "_BATCH", 10)
    bank, workplace = a_bank(tiny), tiny.workplace(tmp_path)
    realise(bank, workplace)
    found = read_features(workplace.store.output(bank), "train")
    packed = Packed.open(tiny.packed)
    rows = torch.from_numpy(split(tiny.data, packed).train)
    assert torch.equal(found.rows, torch.cat((rows, rows, rows)))
    folder, shape = workplace.store.output(bank.encoder), bank.encoder.encoder_shape()
    encoder = load_encoder(folder, shape, torch.device("cpu"), torch.float32).eval()
    clips, slow = Clips(packed), []
    with torch.no_grad():
        for crop in range(3):
            for group, some in enumerate(torch.split(rows, 10)):
                cut = draw(VIEW, clips.valid[some], draws.generator(0, group, f"crop {crop}"))
                for number, row in enumerate(some):
                    slow += encoder(views(clips, row[None], VIEW, cut.part(number, len(some))))
    torch.testing.assert_close(found.features, torch.stack(slow), rtol=0, atol=2e-6)
    crops = found.features.view(3, 24, -1)
    assert min(float((crops[a] - crops[b]).abs().max()) for a, b in ((0, 1), (0, 2), (1, 2))) > 1e-3


def test_what_is_measured_on_is_seen_as_by_features(tiny: Tiny, tmp_path: Path) -> None:
    bank, workplace = a_bank(tiny), tiny.workplace(tmp_path)
    centre = Features(encoder=bank.encoder, data=tiny.data, crop=0.9)
    for stage in (bank, centre):
        realise(stage, workplace)
    ours, theirs = (read_features(workplace.store.output(stage), "test") for stage in (bank, centre))
    assert torch.equal(ours.features, theirs.features)
    assert torch.equal(ours.rows, theirs.rows)


def test_probes_read_it_and_their_rows_say_so(tiny: Tiny, tmp_path: Path) -> None:
    bank, workplace = a_bank(tiny), tiny.workplace(tmp_path)
    linear = LinearOnFeatures(features=bank, data=tiny.data, epochs=2, batch_size=8, learning_rates=(0.1,))
    for probe in (KNN(features=bank, data=tiny.data, k=(1, 30)), linear):
        assert realise(probe, workplace).status == "finished"
    rows = read(workplace.store).to_pylist()
    assert {(row["probe"], row["feature"]) for row in rows} == {
        ("knn", "pooled of 3 crops"),
        ("linear", "pooled of 3 crops"),
    }
    stored = replace(linear, features=Features(encoder=bank.encoder, data=tiny.data, crop=0.9))
    assert realise(stored, workplace).status == "finished"
    scores = [pq.read_table(workplace.store.output(p) / "predictions.parquet")["scores"] for p in (linear, stored)]
    assert not scores[0].equals(scores[1])


def test_every_field_has_an_effect(tiny: Tiny, tmp_path: Path) -> None:
    bank, workplace = a_bank(tiny), tiny.workplace(tmp_path)
    changes: dict[str, Any] = {
        "encoder": tiny.recipe.untrained(seed=1),
        "data": replace(tiny.data, validation_subjects=(2,)),
        "crop": 0.5,
        "precision": "float64",
        "view": replace(VIEW, rotation=0.1),
        "num_crops": 2,
        "seed": 1,
    }
    assert changes.keys() == {item.name for item in dataclasses.fields(FeatureBank)}
    found: list[bytes] = []
    for stage in (bank, *(replace(bank, **{name: content}) for name, content in changes.items())):
        assert realise(stage, workplace).status == "finished"
        content = (workplace.store.output(stage) / "features.safetensors").read_bytes()
        assert content not in found
        found.append(content)


@pytest.mark.parametrize(
    ("field", "content", "allowed"),
    [
        ("crop", 0.0, r"in \(0, 1\]"),
        ("num_crops", 0, "1 or more"),
        ("seed", -1, "0 or more"),
        ("view", View(frames=16, crop=(0.9,)), "a random one"),
    ],
)
def test_impossible_fields_are_refused(tiny: Tiny, field: str, content: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"\.{field} is .*; allowed: {allowed}"):
        a_bank(tiny, **{field: content})
    with pytest.raises(ValueError, match=r"FeatureBank\.view\.frames is 20; allowed: the encoder's 16"):
        a_bank(tiny, view=replace(VIEW, frames=20))
