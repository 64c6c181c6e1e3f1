"""Fine-tuning as semi-supervised, transferred and untrained; its fields, and what it refuses."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from stars.data.batches import View
from stars.data.dataset import describe, split
from stars.data.packed import Packed
from stars.data.prepare import prepare
from stars.data.subsets import balanced, shuffled
from stars.data.synthetic import Synthetic
from stars.encoders import ENCODER_FILE, load_encoder
from stars.execute import Workplace, realise
from stars.model.encoder import resize_times
from stars.probes.features import Features
from stars.probes.finetune import FineTune, load_classifier
from stars.results import read
from stars.runtime import PlainRuntime
from stars.stage import decode, encode, fingerprint
from tests.probes.finetuning import VIEW, finetune, predictions
from tests.training import Tiny, curve, tiny_recipe

CPU = torch.device("cpu")


@pytest.fixture(scope="module", name="other")
def other_data_set(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """Fewer classes than the tiny data set has, other people, several setups."""
    source = Synthetic(num_classes=2, num_subjects=6, num_cameras=1, num_setups=2, num_replications=2, seed=7)
    folder = tmp_path_factory.mktemp("other") / "packed"
    prepare(source.names(), source.text, folder, name="other", source=repr(source), num_processes=1)
    data = describe(Packed.open(folder))
    return Tiny(packed=folder, data=data, recipe=tiny_recipe(data))


def test_transfer_to_another_data_set(tiny: Tiny, other: Tiny, tmp_path: Path) -> None:
    """The classes are those of the data, not of the start's."""
    stage = finetune(tiny, start=tiny.recipe.stage1, data=other.data)
    store = tiny.workplace(tmp_path).store
    datasets = {one.data.content: one.packed for one in (tiny, other)}
    assert realise(stage, Workplace(store=store, datasets=datasets)).status == "finished"
    parts = split(other.data, Packed.open(other.packed))
    assert parts.num_classes == 2
    assert predictions(store, stage)["scores"].shape == (len(parts.measured), 2)
    assert load_classifier(store.output(stage), CPU, torch.float32).fc2.weight.shape == (2, 32)
    rows = read(store).to_pylist()
    assert {(row["dataset"], row["data_content"], row["count"]) for row in rows} == {
        ("other", other.data.content, len(parts.measured))
    }


def test_data_of_other_joints_than_the_starts_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"FineTune\.data has 17 joints; allowed: the start's 25"):
        finetune(tiny, data=replace(tiny.data, joints=17))


def test_what_it_leaves_is_an_encoder_to_go_on_with(tiny: Tiny, tmp_path: Path) -> None:
    first = finetune(tiny, epochs=1)
    stages = (finetune(tiny, start=first), Features(encoder=first, data=tiny.data, crop=0.9))
    for stage in stages:
        assert realise(stage, tiny.workplace(tmp_path)).status == "finished"


@pytest.mark.parametrize("frames", [8, 24])
def test_another_number_of_frames_resizes_the_table_of_times(tiny: Tiny, tmp_path: Path, frames: int) -> None:
    stage = finetune(tiny, view=replace(VIEW, frames=frames))
    workplace = tiny.workplace(tmp_path)
    assert realise(stage, workplace).status == "finished"
    start = load_encoder(workplace.store.output(stage.start), stage.start.encoder_shape(), CPU, torch.float32)
    begun = stage.begin(workplace.store.output(stage.start), CPU)
    assert begun.shape == stage.encoder_shape() == replace(start.shape, frames=frames)
    assert torch.equal(begun.temp_embed, resize_times(start.temp_embed, frames // 4))
    kept = begun.state_dict()
    assert all(torch.equal(kept[name], t) for name, t in start.state_dict().items() if name != "temp_embed")
    trained = load_file(workplace.store.output(stage) / ENCODER_FILE)["temp_embed"]
    assert trained.shape == begun.temp_embed.shape
    assert not torch.equal(trained, begun.temp_embed)


@pytest.mark.parametrize("subset", ["published", "balanced"])
def test_a_part_of_the_labels(tiny: Tiny, tmp_path: Path, subset: Any) -> None:
    stage = finetune(tiny, label_fraction=0.5, subset=subset, subset_seed=3, batch_size=4)
    workplace = tiny.workplace(tmp_path)
    assert realise(stage, workplace).status == "finished"
    parts = split(tiny.data, Packed.open(tiny.packed))
    labels = parts.labels[parts.train]
    taken = balanced(labels, 0.5, 3) if subset == "balanced" else shuffled(24, 0.5, 3)
    assert stage.labelled(parts).tolist() == parts.train[taken].tolist()
    assert len(curve(workplace.store.output(stage))) == 3 * 12 // 4
    counts = np.bincount(parts.labels[stage.labelled(parts)], minlength=4).tolist()
    assert (counts == [3, 3, 3, 3]) == (subset == "balanced")


def test_all_labels_in_published_order(tiny: Tiny) -> None:
    parts = split(tiny.data, Packed.open(tiny.packed))
    assert finetune(tiny).labelled(parts).tolist() == parts.train.tolist()


def test_fewer_labels_than_a_batch_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size is 8; allowed: at most 2, the number of training samples"):
        realise(finetune(tiny, label_fraction=0.1), tiny.workplace(tmp_path))


def test_a_rate_that_blows_up_ends_as_diverged(tiny: Tiny, tmp_path: Path) -> None:
    stage = finetune(tiny, learning_rate=1e30)
    assert realise(stage, tiny.workplace(tmp_path)).status == "diverged"


@pytest.mark.parametrize(
    ("field", "content", "allowed"),
    [
        *((name, 0, "1 or more") for name in ("epochs", "hidden", "measure_every")),
        *((name, -1, "0 or more") for name in ("learning_rate", "minimum_learning_rate", "weight_decay")),
        *((name, -1, "0 or more") for name in ("seed", "subset_seed")),
        *((name, 1.0, r"in \[0, 1\)") for name in ("drop_path", "dropout", "label_smoothing")),
        *((name, 0.0, r"in \(0, 1\]") for name in ("crop", "layer_decay", "label_fraction")),
        ("warmup_epochs", 4, "0 to 3, the epochs"),
        ("batch_size", 1, r"2 or more \(BatchNorm\)"),
        ("subset", "balanced", "'published' with a label_fraction of 1"),
        ("subset_seed", 1, "0 with a label_fraction of 1"),
    ],
)
def test_impossible_fields_are_refused(tiny: Tiny, field: str, content: Any, allowed: str) -> None:
    with pytest.raises(ValueError, match=rf"FineTune\.{field} is .*; allowed: {allowed}"):
        finetune(tiny, **{field: content})


@pytest.mark.parametrize("frames", [4, 18])
def test_frames_that_make_no_patches_are_refused(tiny: Tiny, frames: int) -> None:
    with pytest.raises(ValueError, match=rf"FineTune\.view\.frames is {frames}; allowed: a multiple of .* 4, at least"):
        finetune(tiny, view=View(frames=frames))


CHANGES: Mapping[str, Any] = {
    "view": replace(VIEW, rotation=0.1),
    "crop": 0.5,
    "epochs": 2,
    "warmup_epochs": 0,
    "batch_size": 6,
    "learning_rate": 1e-3,
    "minimum_learning_rate": 1e-3,
    "layer_decay": 0.5,
    "weight_decay": 0.5,
    "drop_path": 0.5,
    "dropout": 0.1,
    "label_smoothing": 0.0,
    "hidden": 16,
    "seed": 1,
    "label_fraction": 0.8,
    "subset": "balanced",
    "subset_seed": 2,
    "precision": "float64",
}


def test_every_field_has_an_effect(tiny: Tiny, tmp_path: Path) -> None:
    plain = finetune(tiny, label_fraction=0.7, subset_seed=1)
    changes = {
        **CHANGES,
        "start": tiny.recipe.untrained(seed=1),
        "data": replace(tiny.data, validation_subjects=(2,)),
    }
    # What is left decides which epochs may be the best one (see test_finetune).
    assert changes.keys() | {"measure_every"} == {item.name for item in fields(FineTune)}
    workplace, found = tiny.workplace(tmp_path), dict[str, Tensor]()
    for name in ("", *changes):
        stage = replace(plain, **{name: changes[name]}) if name else plain
        assert decode(encode(stage)) == stage
        assert fingerprint(stage) not in found
        assert realise(stage, workplace).status == "finished"
        scores = predictions(workplace.store, stage)["scores"].double()
        assert all(scores.shape != other.shape or not torch.equal(scores, other) for other in found.values()), name
        found[fingerprint(stage)] = scores


def test_several_workers_may_share_it(tiny: Tiny, tmp_path: Path) -> None:
    stage = finetune(tiny, batch_size=9)
    assert stage.trains()
    workplace = tiny.workplace(tmp_path)
    realise(stage.start, workplace)
    inputs = {"start": workplace.store.output(stage.start), "data": tiny.packed}
    with pytest.raises(ValueError, match="batch_size is 9; allowed: a multiple of the number of workers, 2"):
        stage.run(inputs, tmp_path, TwoWorkers())


class TwoWorkers(PlainRuntime):
    """One worker that believes in another."""

    @property
    def world_size(self) -> int:
        return 2
