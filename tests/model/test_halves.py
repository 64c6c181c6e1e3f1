"""The encoder in two halves is the encoder; a teacher follows."""

import copy

import pytest
import torch
from torch import Tensor

from stars.model.encoder import Encoder, EncoderShape, initialise
from stars.model.halves import UpperHalf, follow, lower_half

SHAPE = EncoderShape(frames=8, joints=3, patch=2, width=8, depth=3, heads=2)


def encoder(seed: int = 0) -> Encoder:
    module = Encoder(SHAPE)
    initialise(module, torch.Generator().manual_seed(seed))
    return module.double()


def batch(frames: int = 8) -> Tensor:
    x = torch.randn(4, 2, frames, 3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[1:3, 1] = 0
    return x


@pytest.mark.parametrize("first_tuned", [0, 1, 3])
def test_two_halves_are_the_encoder(first_tuned: int) -> None:
    whole, halved = encoder(), encoder()
    upper = UpperHalf(halved, first_tuned)
    looks = batch(), batch(frames=6)
    expected = [whole.pooled(x) for x in looks]
    ours = upper(tuple(lower_half(halved, x, first_tuned) for x in looks))
    for one, other in zip(ours, expected, strict=True):
        assert torch.equal(one, other)
    torch.autograd.backward([(features**3).sum() for features in (*ours, *expected)])
    for (name, parameter), other in zip(halved.named_parameters(), whole.parameters(), strict=True):
        tuned = name.startswith("norm.") or (name.startswith("blocks.") and int(name.split(".")[1]) >= first_tuned)
        assert (parameter.grad is not None) == tuned
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, other.grad, rtol=1e-10, atol=1e-14, msg=name)


def test_the_lower_half_stores_nothing() -> None:
    module = encoder()
    stored: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        stored.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        halfway = lower_half(module, batch(), 2)
        assert stored == []
        UpperHalf(module, 2)((halfway,))
        assert stored


def test_the_upper_half_shares_what_it_is_made_of_and_keeps_its_names() -> None:
    module = encoder()
    upper = dict(UpperHalf(module, 2).named_parameters())
    assert upper.keys() == {name for name, _ in module.named_parameters() if name.startswith(("blocks.2.", "norm."))}
    assert all(parameter is module.get_parameter(name) for name, parameter in upper.items())


def test_a_teacher_follows_parameters_and_not_buffers() -> None:
    scale = torch.nn.Linear(2, 3)
    student = torch.nn.Sequential(scale, torch.nn.BatchNorm1d(3)).double()
    teacher = copy.deepcopy(student)
    with torch.no_grad():
        scale.weight += torch.arange(6.0, dtype=torch.float64).view(3, 2)
        student.get_buffer("1.running_mean").add_(1)
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    follow(teacher, student, 0.75)
    for name, tensor in teacher.state_dict().items():
        if name == "0.weight":
            torch.testing.assert_close(tensor, 0.75 * before[name] + 0.25 * scale.weight, rtol=1e-14, atol=0)
        else:
            assert torch.equal(tensor, before[name]), "what is equal stays so exactly"
    follow(teacher, student, 0.0)
    followed = teacher.get_parameter("0.weight")
    assert torch.equal(followed, scale.weight)
    assert followed.data_ptr() != scale.weight.data_ptr()
