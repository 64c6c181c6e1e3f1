"""What tuning leaves beyond encoder, head and queue: a teacher's upper blocks, its head and DINO's centre."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from stars.checkpoints.layouts import read_weights
from stars.checkpoints.writing import Exported, write_safetensors, write_stars
from stars.model.encoder import Encoder
from tests.checkpoints.files import SHAPE, drawn


@pytest.fixture(name="tuned")
def with_a_teacher() -> Exported:
    encoder = drawn(Encoder(SHAPE))
    upper = {name: tensor + 1 for name, tensor in encoder.items() if name.startswith(("blocks.1.", "norm."))}
    objective = {
        "head.weight": torch.ones(3, 16),
        "teacher_head.weight": torch.zeros(3, 16),
        "queue": torch.ones(16, 4),
        "centre": torch.ones(1, 3),
    }
    parts: dict[str, dict[str, Tensor]] = {"encoder": encoder, "objective": objective, "teacher": upper}
    return Exported(shape=SHAPE, decoder_shape=None, parts=parts)


def test_the_published_layout_has_the_whole_teacher_and_no_centre(tuned: Exported, tmp_path: Path) -> None:
    write_stars(tuned, tmp_path / "a.pt")
    names = torch.load(tmp_path / "a.pt", weights_only=True).keys()
    both = {f"encoder_{who}.{name}" for who in ("student", "teacher") for name in tuned.parts["encoder"]}
    assert names == both | {"encoder_student.head.weight", "encoder_teacher.head.weight", "queue"}
    found = read_weights(tmp_path / "a.pt", heads=2)
    assert found.objective.keys() == tuned.parts["objective"].keys() - {"centre"}
    for name, tensor in found.teacher.items():
        assert torch.equal(tensor, tuned.parts["teacher"].get(name, tuned.parts["encoder"][name])), name
    assert torch.equal(found.objective["teacher_head.weight"], torch.zeros(3, 16))


def test_safetensors_keep_all_of_it(tuned: Exported, tmp_path: Path) -> None:
    write_safetensors(tuned, tmp_path / "a.safetensors", {"title": "a"})
    found = read_weights(tmp_path / "a.safetensors")
    assert found.objective.keys() == tuned.parts["objective"].keys()
    assert found.teacher.keys() == found.encoder.keys()
    assert found.heads_from == "the file"


def test_a_teacher_that_never_moved_shares_its_storages(tuned: Exported, tmp_path: Path) -> None:
    """Such a file is half as large as its tensors, and is read."""
    encoder = tuned.parts["encoder"]
    write_stars(
        Exported(shape=SHAPE, decoder_shape=None, parts={"encoder": encoder, "teacher": encoder}), tmp_path / "a"
    )
    found = read_weights(tmp_path / "a", heads=2)
    assert all(torch.equal(found.teacher[name], found.encoder[name]) for name in encoder)
    num_bytes = 2 * sum(tensor.nbytes for tensor in encoder.values())
    assert (tmp_path / "a").stat().st_size < num_bytes
    assert found.teacher["norm.bias"].data_ptr() != found.encoder["norm.bias"].data_ptr()
