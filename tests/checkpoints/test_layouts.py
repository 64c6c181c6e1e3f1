"""What is taken from a file of weights, what is left, and the sizes that follow from it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stars.checkpoints.layouts import read_weights
from stars.checkpoints.reading import CheckpointError
from stars.model.encoder import Encoder, EncoderShape
from tests.checkpoints.files import DECODER, SHAPE, drawn, mamp_file, saved, stage1, stage2


def written(path: Path, value: object) -> Path:
    path.write_bytes(saved(value))
    return path


def test_stage_1_gives_encoder_and_decoder(tmp_path: Path) -> None:
    found = read_weights(mamp_file(tmp_path / "a.pth"))
    assert (found.layout, found.shape, found.decoder_shape) == ("mamp", SHAPE, DECODER)
    assert found.encoder.keys() == Encoder(SHAPE).state_dict().keys()
    assert {**found.encoder, **found.decoder}.keys() == stage1().keys()
    assert not found.objective
    assert found.left == ("epoch", "scaler", "args")
    assert found.heads_from == "the file"


def test_stage_2_gives_encoder_and_objective(tmp_path: Path) -> None:
    found = read_weights(written(tmp_path / "a.pt", {**stage2(), "extra": torch.ones(1)}), heads=2)
    assert (found.layout, found.shape, found.decoder_shape) == ("stars", SHAPE, None)
    assert found.left == ("extra",)
    names = {name.partition("encoder_student.")[2] or name for name in stage2()}
    assert found.encoder.keys() | found.objective.keys() == names
    assert {"head.projector.0.running_mean", "queue", "queue_ptr", "queue_id"} <= found.objective.keys()
    assert torch.equal(found.objective["queue"], stage2()["queue"])


def test_a_teacher_is_kept_apart(tmp_path: Path) -> None:
    student = stage2()
    teacher = {k.replace("_student", "_teacher"): v + 1 for k, v in student.items() if k.startswith("encoder_")}
    found = read_weights(written(tmp_path / "a.pt", {**student, **teacher}), heads=2)
    assert found.teacher.keys() == found.encoder.keys()
    assert torch.equal(found.teacher["norm.weight"], found.encoder["norm.weight"] + 1)
    assert {"teacher_head.predictor.0.weight", "head.predictor.0.weight"} <= found.objective.keys()
    del teacher["encoder_teacher.blocks.1.norm1.bias"]
    with pytest.raises(CheckpointError, match=r"blocks\.1\.norm1\.bias is missing"):
        read_weights(written(tmp_path / "b.pt", {**student, **teacher}), heads=2)


def test_a_classifier_s_head_is_left(tmp_path: Path) -> None:
    tensors = {**drawn(Encoder(SHAPE)), "head.fc.1.weight": torch.ones(60, 16)}
    found = read_weights(mamp_file(tmp_path / "a.pth", tensors=tensors))
    assert found.left[-1] == "model/head.fc.1.weight"
    assert list(found.parts()) == ["encoder"]


@pytest.mark.parametrize("tensors", [stage1(), stage2()], ids=["stage 1", "stage 2"])
def test_the_prefix_of_a_wrapper_changes_nothing(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    plain = read_weights(written(tmp_path / "a.pt", tensors), heads=2)
    wrapped = read_weights(written(tmp_path / "b.pt", {f"module.{k}": v for k, v in tensors.items()}), heads=2)
    assert plain.content() == wrapped.content()


def test_the_content_is_that_of_the_tensors(tmp_path: Path) -> None:
    tensors = stage1()
    content = read_weights(written(tmp_path / "a.pt", tensors), heads=2).content()
    for name, change, same in (
        ("order", dict(reversed(tensors.items())), True),
        ("a value", {**tensors, "norm.bias": tensors["norm.bias"] + 1e-6}, False),
        ("a type", {**tensors, "norm.bias": tensors["norm.bias"].double()}, False),
    ):
        found = read_weights(written(tmp_path / "b.pt", change), heads=2).content()
        assert (found == content) == same, name


def test_heads_come_from_the_option_the_file_or_the_published_width(tmp_path: Path) -> None:
    assert read_weights(mamp_file(tmp_path / "a.pth", heads=4)).shape.heads == 4
    assert read_weights(mamp_file(tmp_path / "a.pth", heads=4), heads=8).shape.heads == 8
    with pytest.raises(CheckpointError, match="does not say how many heads its encoder of width 16 has; allowed: --h"):
        read_weights(mamp_file(tmp_path / "a.pth", heads=None))
    with pytest.raises(CheckpointError, match=r"EncoderShape\.width is 16; allowed: a multiple of heads"):
        read_weights(mamp_file(tmp_path / "a.pth"), heads=3)
    wide = replace(SHAPE, width=256, depth=1, heads=8)
    found = read_weights(written(tmp_path / "b.pt", drawn(Encoder(wide))))
    assert (found.shape, found.heads_from) == (wide, "the published width of 256")


@pytest.mark.parametrize(
    "shape",
    [
        EncoderShape(frames=12, joints=17, patch=6, width=24, depth=3, heads=3, mlp_ratio=2.0),
        EncoderShape(frames=8, joints=1, patch=1, width=12, depth=1, heads=4, mlp_ratio=0.7),
        EncoderShape(frames=8, joints=5, patch=2, width=49, depth=11, heads=7, mlp_ratio=1.1),
    ],
)
def test_sizes_follow_from_the_tensors(tmp_path: Path, shape: EncoderShape) -> None:
    found = read_weights(written(tmp_path / "a.pt", drawn(Encoder(shape))), heads=shape.heads)
    assert replace(found.shape, mlp_ratio=shape.mlp_ratio) == shape
    assert int(found.shape.width * found.shape.mlp_ratio) == int(shape.width * shape.mlp_ratio)


def without(name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in stage1().items() if key != name}


BROKEN: dict[str, tuple[dict[str, Tensor], str]] = {
    "no positions": (without("pos_embed"), "pos_embed is missing"),
    "a block less": (
        {k: v for k, v in stage1().items() if not k.startswith("blocks.0.")},
        "blocks.0.attn.qkv.weight is missing",
    ),
    "half a decoder": (without("decoder_norm.weight"), "decoder_norm.weight is missing"),
    "a foreign tensor": ({**stage1(), "blocks.0.extra": torch.ones(1)}, "blocks.0.extra belongs to no encoder"),
    "another shape": (
        {**stage1(), "norm.bias": torch.ones(17)},
        r"norm.bias has the shape \(17,\); allowed: \(16\)",
    ),
    "flat positions": ({**stage1(), "temp_embed": torch.ones(4, 16)}, r"temp_embed has the shape \(4, 16\)"),
    "nothing in it": ({**stage1(), "temp_embed": torch.ones(1, 0, 1, 16)}, "allowed: .1, any, 1, any."),
    "a NaN": ({**stage1(), "norm.bias": torch.full((16,), torch.nan)}, "norm.bias holds numbers that are not finite"),
    "infinity": ({**stage1(), "mask_token": torch.full((1, 1, 8), torch.inf)}, "mask_token holds numbers that are not"),
    "truth values": ({**stage1(), "norm.bias": torch.ones(16, dtype=torch.bool)}, "norm.bias holds torch.bool numbers"),
}


@pytest.mark.parametrize(("tensors", "words"), BROKEN.values(), ids=BROKEN)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, tensors: dict[str, Tensor], words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        read_weights(written(tmp_path / "a.pt", tensors), heads=2)


def test_safetensors_of_any_layout_are_read(tmp_path: Path) -> None:
    for tensors in (stage1(), stage2()):
        save_file(tensors, tmp_path / "a.safetensors")
        expected = read_weights(written(tmp_path / "a.pt", tensors), heads=2)
        assert read_weights(tmp_path / "a.safetensors", heads=2).content() == expected.content()


def test_a_model_card_that_is_none_is_refused(tmp_path: Path) -> None:
    for text, words in (("{", "is no JSON"), ("[1]", "is a list"), ('{"content": "0"}', "is damaged")):
        save_file(stage1(), tmp_path / "a.safetensors", metadata={"stars": text})
        with pytest.raises(CheckpointError, match=words):
            read_weights(tmp_path / "a.safetensors", heads=2)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"queue": torch.zeros(3, 6)}, r"queue is \(3, 6\); allowed: 16, the encoder's width, as number 1"),
        ({"queue_ptr": torch.zeros(2, dtype=torch.int64)}, r"queue_ptr is \(2,\); allowed: \(1,\)"),
        ({"queue_id": torch.zeros(7, dtype=torch.int64)}, r"queue_id is \(7,\); allowed: \(6,\)"),
        ({"encoder_student.head.predictor.0.weight": torch.zeros(2, 2)}, "head.predictor.0.weight is"),
        ({"encoder_student.temp_embed": torch.zeros(1, 4, 1, 16, dtype=torch.int64)}, "temp_embed holds torch.int64"),
    ],
)
def test_heads_and_queues_fit_the_encoder(tmp_path: Path, changed: dict[str, Tensor], words: str) -> None:
    path = written(tmp_path / "a.pt", {**stage2(), **changed})
    with pytest.raises(CheckpointError, match=words):
        read_weights(path, heads=2)


def test_names_that_only_begin_like_a_queue_are_left(tmp_path: Path) -> None:
    weights = read_weights(written(tmp_path / "a.pt", {**stage2(), "queue_bomb": torch.zeros(3)}), heads=2)
    assert "queue_bomb" in weights.left
    assert "queue_bomb" not in weights.objective


def test_names_that_are_numbers_are_names(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no encoder: 1 tensors, such as .*5"):
        read_weights(written(tmp_path / "a.pt", {"model": {5: torch.zeros(2)}}), heads=2)
