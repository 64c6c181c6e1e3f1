"""Groups, schedules, clipping and the optimiser."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from stars.model.encoder import Encoder, EncoderShape, initialise
from stars.model.heads import ContrastiveHead
from stars.model.mamp import DecoderShape, Mamp, Masking
from stars.optimise import (
    adamw,
    clip_each,
    decay_groups,
    set_learning_rate,
    tuning_groups,
    warmup_cosine,
)

SHAPE = EncoderShape(frames=4, joints=2, patch=2, width=4, depth=4, heads=1)


def names_of(module: nn.Module) -> dict[nn.Parameter, str]:
    return {parameter: name for name, parameter in module.named_parameters()}


def test_vectors_and_biases_are_exempt_from_decay() -> None:
    module = Mamp(SHAPE, DecoderShape(width=4, depth=1), Masking(ratio=0.5))
    names = names_of(module)
    decay = {names[p]: g["weight_decay"] for g in decay_groups(module, 0.05, exempt=True) for p in g["params"]}
    assert set(decay) == set(names.values())
    assert all(decay[name] == 0 for name in decay if name.endswith("bias") or "norm" in name)
    assert decay["mask_token"] == decay["pos_embed"] == decay["blocks.0.attn.qkv.weight"] == 0.05
    everything = decay_groups(module, 0.05, exempt=False)
    assert [group["weight_decay"] for group in everything] == [0.05]
    assert len(everything[0]["params"]) == len(names)


def test_frozen_parameters_are_not_grouped() -> None:
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    (group,) = decay_groups(module, 0.05, exempt=True)
    assert group["params"] == [module.weight]


@pytest.mark.parametrize("first", [0, 2, 4, None])
def test_tuning_freezes_what_is_not_tuned(first: int | None) -> None:
    encoder, head = Encoder(SHAPE), ContrastiveHead(4, 4)
    frozen = ("norm.bias", "head.projector.0.bias")
    groups = tuning_groups(
        encoder,
        head,
        learning_rate=0.1,
        layer_decay=0.5,
        first_tuned_block=first,
        weight_decay=0.01,
        frozen=frozen,
    )
    names = names_of(encoder) | {p: f"head.{name}" for p, name in names_of(head).items()}
    rates = {names[p]: group["lr"] for group in groups for p in group["params"]}
    expected = {f"head.{name}": 0.1 for name, _ in head.named_parameters()}
    if first is not None:
        expected |= {"norm.weight": 0.1}
        for name, _ in encoder.named_parameters():
            if name.startswith("blocks.") and int(name[7]) >= first:
                expected[name] = 0.1 * 0.5 ** (4 - int(name[7]))
    expected = {name: rate for name, rate in expected.items() if name not in frozen}
    assert rates == pytest.approx(expected)
    assert {names[p] for p in names if p.requires_grad} == set(expected)
    assert all(group["lr"] == pytest.approx(0.1 * group["scale"]) for group in groups)


def test_tuning_thaws_what_an_earlier_call_froze() -> None:
    encoder, head = Encoder(SHAPE), ContrastiveHead(4, 4)
    settings: dict[str, Any] = {"learning_rate": 0.1, "layer_decay": 0.5, "weight_decay": 0.01}
    tuning_groups(encoder, head, first_tuned_block=None, **settings)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    tuning_groups(encoder, head, first_tuned_block=0, **settings)
    assert all(parameter.requires_grad for parameter in encoder.blocks.parameters())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"frozen": ("norm.bais",)}, "frozen names 'norm.bais'; allowed"),
        ({"first_tuned_block": 5}, "first_tuned_block is 5; allowed: 0 to 4"),
        ({"first_tuned_block": -1}, "first_tuned_block is -1; allowed: 0 to 4"),
    ],
)
def test_tuning_refuses_what_does_not_exist(wrong: dict[str, Any], message: str) -> None:
    right = {"learning_rate": 0.1, "layer_decay": 0.5, "weight_decay": 0.01, "first_tuned_block": 2}
    settings: dict[str, Any] = right | wrong
    with pytest.raises(ValueError, match=message):
        tuning_groups(Encoder(SHAPE), ContrastiveHead(4, 4), **settings)


def test_warmup_then_cosine() -> None:
    rates = {"learning_rate": 1.0, "minimum": 0.2}
    schedule: dict[str, Any] = {"steps_per_epoch": 10, "epochs": 12, "warmup_epochs": 2} | rates
    assert warmup_cosine(0, **schedule) == 0
    assert warmup_cosine(10, **schedule) == pytest.approx(0.5)
    assert warmup_cosine(20, **schedule) == pytest.approx(1.0)
    assert warmup_cosine(70, **schedule) == pytest.approx(0.6)
    assert warmup_cosine(45, **schedule) == pytest.approx(0.2 + 0.4 * (1 + math.cos(math.pi * 2.5 / 10)))
    assert warmup_cosine(120, **schedule) == pytest.approx(0.2)
    assert warmup_cosine(0, **(schedule | {"warmup_epochs": 0})) == 1.0


def gradients(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    parameters = []
    for shape, scale in (((3, 4), 10.0), ((5,), 0.01), ((), 100.0), ((2, 2), 0.0)):
        parameter = nn.Parameter(torch.randn(shape, generator=generator))
        parameter.grad = scale * torch.randn(shape, generator=generator)
        parameters.append(parameter)
    return parameters


def test_each_gradient_is_clipped_by_its_own_norm() -> None:
    parameters, untouched = gradients(), gradients()
    without = nn.Parameter(torch.zeros(2))
    norms = clip_each([*parameters[:2], without, *parameters[2:]], 3.0)
    for parameter, before, norm in zip(parameters, untouched, norms, strict=True):
        assert before.grad is not None
        assert parameter.grad is not None
        assert float(norm) == pytest.approx(float(before.grad.norm()))
        factor = 3.0 / (float(before.grad.norm()) + 1e-6)
        if factor < 1:
            torch.testing.assert_close(parameter.grad, before.grad * factor)
        else:
            assert torch.equal(parameter.grad, before.grad)
    assert without.grad is None
    assert float(norms[0]) > 3 > float(norms[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fused_adamw_is_adamw(dtype: torch.dtype) -> None:
    x = torch.randn(5, 4, SHAPE.joints, 3, generator=torch.Generator().manual_seed(1), dtype=dtype)
    models = []
    for fused in (True, False):
        model = Encoder(SHAPE)
        initialise(model, torch.Generator().manual_seed(0))
        model.to(dtype)
        groups = decay_groups(model, 0.05, exempt=True)
        optimiser = adamw(groups, (0.9, 0.95))
        assert optimiser.defaults["fused"] is True
        if not fused:
            optimiser = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), foreach=False)
        for step in range(5):
            set_learning_rate(optimiser, 0.01 * (step + 1))
            optimiser.zero_grad()
            torch.autograd.backward((model.encode(model.embed(x)) ** 3).sum())
            optimiser.step()
        models.append(model)
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.05)
    rtol, atol = (1e-4, 2e-6) if dtype == torch.float32 else (1e-9, 1e-12)
    for (name, ours), expected in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        compared = torch.ones(len(ours), dtype=torch.bool)
        if name.endswith("qkv.bias"):
            # The key's bias has an exactly zero gradient: its steps are rounding noise in either form.
            compared[SHAPE.width : 2 * SHAPE.width] = False
        torch.testing.assert_close(ours[compared], expected[compared], rtol=rtol, atol=atol, msg=name)


def test_a_group_without_a_rate_stands_still() -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimiser = adamw([{"params": [parameter], "weight_decay": 0.5, "scale": 0.5}], (0.9, 0.95))
    parameter.grad = torch.ones(2)
    optimiser.step()
    assert torch.equal(parameter, torch.ones(2))
    set_learning_rate(optimiser, 0.2)
    optimiser.step()
    assert optimiser.param_groups[0]["lr"] == pytest.approx(0.1)
    assert (parameter < 1).all()
