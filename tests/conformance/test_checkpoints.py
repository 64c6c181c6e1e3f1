"""Published files of weights: the tiny ones give the published features, every name of a full one has its place."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stars.checkpoints.layouts import read_weights
from stars.checkpoints.writing import read_output, write_mamp, write_stars
from stars.encoders import load_encoder, save_tensors
from stars.model.encoder import Encoder, EncoderShape
from stars.model.mamp import DecoderShape
from tests.conformance.translate import encoder_shape, our_batch
from tests.conformance.vectors import DIRECTORY, load

KEYS = json.loads((DIRECTORY / "a_checkpoint_keys.json").read_text())
FULL = EncoderShape(frames=120, joints=25, patch=4, width=256, depth=8, heads=8, mlp_ratio=4.0)
TINY = {"stage1": "ckpt_stage1_tiny.pth", "stage2": "ckpt_stage2_tiny.pt"}


@pytest.mark.parametrize("stage", TINY)
def test_the_tiny_files_give_the_published_features(stage: str, tmp_path: Path) -> None:
    arrays, meta = load("a_checkpoint_features")
    size = meta["hyperparameters"]
    weights = read_weights(DIRECTORY / TINY[stage], heads=size["heads"])
    assert weights.shape == encoder_shape(size)
    save_tensors(tmp_path / "encoder.safetensors", weights.encoder)
    encoder = load_encoder(tmp_path, weights.shape, torch.device("cpu"), torch.float32).eval()
    with torch.inference_mode():
        features = encoder(our_batch(arrays["x"]))
    np.testing.assert_allclose(features, arrays[f"{stage}_feature"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("stage", TINY)
def test_the_tiny_files_come_back_to_the_bit(stage: str, tmp_path: Path) -> None:
    heads = load("a_checkpoint_features")[1]["hyperparameters"]["heads"]
    weights = read_weights(DIRECTORY / TINY[stage], heads=heads)
    for part, tensors in weights.parts().items():
        save_tensors(tmp_path / f"{part}.safetensors", tensors)
    exported = read_output(tmp_path, weights.shape)
    (write_mamp if stage == "stage1" else write_stars)(exported, tmp_path / "again.pt")
    # The vectors' own file is trusted: this is how the published code reads it.
    before, after = (torch.load(p, weights_only=False) for p in (DIRECTORY / TINY[stage], tmp_path / "again.pt"))
    before, after = before.get("model", before), after.get("model", after)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype for name in before)


@pytest.mark.parametrize("kind", [kind for kind in KEYS if not kind.startswith("_")])
def test_every_name_of_a_full_file_has_its_place(kind: str, tmp_path: Path) -> None:
    """The published sizes, in the half precision that keeps the test small; what is left is what is no part of ours."""
    state = {
        name: torch.zeros(shape, dtype=torch.int64 if dtype == "int64" else torch.float16)
        for name, (shape, dtype) in KEYS[kind].items()
    }
    flat = any(name.startswith("encoder_student.") for name in state)
    torch.save(state if flat else {"model": state}, tmp_path / "full.pth")
    weights = read_weights(tmp_path / "full.pth")
    assert weights.shape == FULL
    assert weights.layout == ("stars" if flat else "mamp")
    depth = int(kind[-1]) if kind.startswith("stage1") else 0
    assert weights.decoder_shape == (DecoderShape(width=256, depth=depth) if depth else None)
    assert weights.encoder.keys() == Encoder(FULL).state_dict().keys()
    assert weights.left == tuple(f"model/{name}" for name in state if name.startswith("head."))
    assert sum(map(len, weights.parts().values())) + len(weights.left) == len(state)
    teacher = {name for name in state if name.startswith("encoder_teacher.") and ".head" not in name}
    assert len(weights.teacher) == len(teacher)
