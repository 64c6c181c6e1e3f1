"""Every field of the training stages, and of what they are made of, changes what is trained."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stars.augmentations.reverse import TimeReversal
from stars.data.batches import View
from stars.execute import realise
from stars.joint import Joint, with_contrast
from stars.model.encoder import EncoderShape
from stars.model.mamp import DecoderShape, Masking, Target
from stars.pretrain import Pretrain
from stars.stage import Value
from stars.strategies.moco import MoCo
from stars.strategies.nnclr import NNCLR
from stars.tune import Tune
from tests.training import Tiny, output

VIEW = View(frames=16, crop=(0.5, 1.0), rotation=0.3)
OTHERWISE: dict[str, dict[str, Any]] = {
    "Pretrain": {
        "encoder": EncoderShape(frames=16, joints=25, patch=4, width=16, depth=1, heads=2),
        "decoder": DecoderShape(width=16, depth=2),
        "masking": Masking(ratio=0.8, temperature=0.8),
        "target": Target(kind="coordinates"),
        "view": replace(VIEW, rotation=0.0),
        "epochs": 2,
        "warmup_epochs": 0,
        "batch_size": 12,
        "learning_rate": 2e-3,
        "minimum_learning_rate": 1e-4,
        "weight_decay": 0.5,
        "decay_all": True,
        "seed": 1,
        "precision": "float64",
        "horizon": 1,
    },
    "Joint": {"strategy": NNCLR(queue_size=20, temperature=0.5, hidden=32), "contrast_weight": 0.1},
    "Tune": {
        "strategy": MoCo(queue_size=20, hidden=32),
        "view": replace(VIEW, crop=(1.0,), rotation=0.0),
        "tuned_blocks": 0,
        "layer_decay": 0.9,
        "epochs": 2,
        "batch_size": 12,
        "learning_rate": 2e-3,
        "weight_decay": 0.5,
        "clip": 0.01,
        "freeze_shifts": False,
        "seed": 1,
        "precision": "float64",
        "horizon": 1,
    },
    "View": {
        "crop": (0.6, 0.7),
        "rotation": 0.1,
        "augmentations": (TimeReversal(),),
        "stream": "bone",
        "least_frames": 1,
    },
    "EncoderShape": {"patch": 8, "width": 32, "depth": 1, "heads": 4, "mlp_ratio": 2.0},
    "DecoderShape": {"width": 32, "depth": 2},
}
"""By class: another value of every field but those that name data or another stage, or that others follow from."""
ELSEWHERE = {
    "Pretrain": {"data"},
    # The start and its queue: tests/test_tune.py; the frozen half changes where it is computed, tests/test_frozen.py.
    "Tune": {"start", "data", "continue_objective", "share_frozen_half"},
    "View": {"frames"},
    "EncoderShape": {"frames", "joints"},
}
CASES = [(name, field) for name, others in OTHERWISE.items() for field in others]


def stage_of(tiny: Tiny, name: str, changed: dict[str, Any]) -> Pretrain | Tune:
    """A stage in which a field of the class is another one."""
    stage1, stage2 = tiny.recipe.stage1, tiny.recipe.stage2
    match name:
        case "Pretrain":
            return replace(stage1, **changed)
        case "Joint":
            return replace(with_contrast(stage1, NNCLR(queue_size=20, hidden=32)), **changed)
        case "Tune":
            return replace(stage2, start=replace(stage1, epochs=0), **changed)
        case "View":
            return replace(stage1, view=replace(VIEW, **changed))
        case "EncoderShape":
            return replace(stage1, encoder=replace(stage1.encoder, **changed))
    return replace(stage1, decoder=replace(stage1.decoder, **changed))


def trained(tiny: Tiny, stage: Pretrain | Tune, folder: Path) -> dict[str, Tensor]:
    workplace = tiny.workplace(folder)
    assert realise(stage, workplace).status == "finished"
    return output(workplace.store, stage)


@pytest.mark.parametrize(("name", "field"), CASES, ids=[f"{name}.{field}" for name, field in CASES])
def test_a_field_changes_what_is_trained(tiny: Tiny, tmp_path: Path, name: str, field: str) -> None:
    usual = trained(tiny, stage_of(tiny, name, {}), tmp_path / "usual")
    other = trained(tiny, stage_of(tiny, name, {field: OTHERWISE[name][field]}), tmp_path / "other")
    same_shapes = {key: t.shape for key, t in usual.items()} == {key: t.shape for key, t in other.items()}
    assert not same_shapes or any(not torch.equal(usual[key].double(), other[key].double()) for key in usual)


def test_no_field_is_left_out() -> None:
    classes: list[type[Value]] = [Pretrain, Joint, Tune, View, EncoderShape, DecoderShape]
    for cls in classes:
        inherited = {item.name for item in fields(Pretrain)} if cls is Joint else set()
        named = {item.name for item in fields(cls)} - inherited
        assert named == OTHERWISE[cls.__name__].keys() | ELSEWHERE.get(cls.__name__, set()), cls.__name__
