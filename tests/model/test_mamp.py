"""Stage 1 against a slow transcription of the published loss."""

from typing import Any

import pytest
import torch
from torch import Tensor

from stars.model.encoder import Encoder, EncoderShape, initialise
from stars.model.mamp import DecoderShape, Mamp, Masking, Target, encoder_state

SHAPE = EncoderShape(frames=8, joints=5, patch=2, width=8, depth=2, heads=2, mlp_ratio=2.0)
DECODER = DecoderShape(width=6, depth=2)


def mamp(masking: Masking | None = None, target: Target | None = None) -> Mamp:
    module = Mamp(SHAPE, DECODER, masking or Masking(ratio=0.7), target or Target())
    initialise(module, torch.Generator().manual_seed(0))
    return module.double()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 2, SHAPE.frames, SHAPE.joints, 3, generator=generator, dtype=torch.float64).cumsum(dim=2)
    x[1, 1] = 0
    return x, torch.rand(6, SHAPE.tokens, generator=generator, dtype=torch.float64)


def loss_slowly(module: Mamp, x: Tensor, uniform: Tensor) -> Tensor:
    """Body by body and token by token: embed all, pick, encode, put mask tokens back, decode, compare."""
    errors: list[Tensor] = []
    positions = (module.decoder_pos_embed + module.decoder_temp_embed).flatten(1, 2)
    for row, body in enumerate(x.flatten(0, 1)):
        (ids_keep,), _, (mask,) = module.choose_tokens(body[None], uniform[row : row + 1])
        latent = module.decoder_embed(module.encode(module.embed(body[None])[:, ids_keep]))
        tokens = [module.mask_token[0, 0]] * SHAPE.tokens
        for place, token in enumerate(ids_keep.tolist()):
            tokens[token] = latent[0, place]
        decoded = torch.stack(tokens)[None] + positions
        for block in module.decoder_blocks:
            decoded = block(decoded)
        prediction = module.decoder_pred(module.decoder_norm(decoded))[0]
        hidden = [token for token in range(SHAPE.tokens) if mask[token] == 1]
        errors += [(prediction[t] - target_slowly(module.target, body, t)).square().mean() for t in hidden]
    return torch.stack(errors).mean()


def target_slowly(settings: Target, body: Tensor, token: int) -> Tensor:
    segment, joint = divmod(token, SHAPE.joints)
    values = []
    for t in range(segment * SHAPE.patch, (segment + 1) * SHAPE.patch):
        if settings.kind == "coordinates":
            values.append(body[t, joint])
        elif settings.difference == "backward":
            since = max(t, settings.stride)
            values.append(body[since, joint] - body[since - settings.stride, joint])
        elif t + settings.stride < SHAPE.frames:
            values.append(body[t + settings.stride, joint] - body[t, joint])
        else:
            values.append(torch.zeros(3, dtype=torch.float64))
    wanted = torch.cat(values)
    return (wanted - wanted.mean()) / (wanted.var() + 1e-6).sqrt() if settings.normalise else wanted


@pytest.mark.parametrize(
    ("masking", "target"),
    [
        ({}, {}),
        ({"temperature": 0.0}, {"kind": "coordinates"}),
        ({"ratio": 0.4}, {"stride": 3, "normalise": False}),
        ({"intensity": "absolute"}, {"stride": 2, "difference": "backward"}),
    ],
)
def test_loss_and_gradient_are_the_slow_ones(masking: dict[str, Any], target: dict[str, Any]) -> None:
    fast, slow = (mamp(Masking(**({"ratio": 0.7} | masking)), Target(**target)) for _ in range(2))
    x, uniform = batch()
    result, expected = fast(x, uniform), loss_slowly(slow, x, uniform)
    torch.testing.assert_close(result.loss, expected, rtol=1e-12, atol=0)
    assert result.num_masked == int(result.mask.sum())
    torch.autograd.backward([result.loss, expected])
    for (name, parameter), reference in zip(fast.named_parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, reference.grad, rtol=1e-9, atol=1e-12, msg=name)


def test_workers_can_add_numerators_and_denominators() -> None:
    module = mamp()
    x, uniform = batch()
    whole = module(x, uniform)
    parts = [module(x[i : i + 1], uniform[2 * i : 2 * i + 2]) for i in range(3)]
    torch.testing.assert_close(sum(part.loss_sum for part in parts), whole.loss_sum, rtol=1e-12, atol=0)
    assert sum(part.num_masked for part in parts) == whole.num_masked


def test_an_absent_body_has_target_zero() -> None:
    x, uniform = batch()
    assert (mamp()(x, uniform).target[3] == 0).all()


@pytest.mark.parametrize(
    "change",
    [
        {"masking": Masking(ratio=0.5)},
        {"masking": Masking(ratio=0.7, temperature=0.05)},
        {"masking": Masking(ratio=0.7, temperature=0.0)},
        {"target": Target(kind="coordinates")},
        {"masking": Masking(ratio=0.7, intensity="absolute")},
        {"target": Target(difference="backward")},
        {"target": Target(stride=2)},
        {"target": Target(normalise=False)},
    ],
)
def test_every_setting_has_an_effect(change: dict[str, Any]) -> None:
    x, uniform = batch()
    assert mamp(**change)(x, uniform).loss != mamp()(x, uniform).loss


def test_encoder_state_fits_the_encoder_and_gives_its_features() -> None:
    module, (x, _) = mamp(), batch()
    encoder = Encoder(SHAPE)
    encoder.load_state_dict(encoder_state(module.state_dict()))
    assert torch.equal(encoder.double().pooled(x), module.pooled(x))


def test_every_weight_is_started() -> None:
    assert all(parameter.isfinite().all() for parameter in mamp().parameters())
    assert mamp().mask_token.abs().max() > 0


@pytest.mark.parametrize(
    ("cls", "wrong", "field"),
    [
        (DecoderShape, {"depth": 0}, "depth"),
        (DecoderShape, {"width": 0}, "width"),
        (Masking, {"ratio": 1.0}, "ratio"),
        (Masking, {"ratio": 0.0}, "ratio"),
        (Masking, {"temperature": -0.1}, "temperature"),
        (Target, {"stride": 0}, "stride"),
    ],
)
def test_impossible_settings_are_refused(cls: type, wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=rf"{cls.__name__}\.{field} is .*; allowed: "):
        cls(**wrong)


@pytest.mark.parametrize(
    ("decoder", "masking", "target", "field"),
    [
        (DecoderShape(width=7), Masking(), Target(), "DecoderShape.width"),
        (DECODER, Masking(ratio=0.99), Target(), "Masking.ratio"),
        (DECODER, Masking(), Target(stride=8), "Target.stride"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(
    decoder: DecoderShape, masking: Masking, target: Target, field: str
) -> None:
    with pytest.raises(ValueError, match=rf"{field} is .*; allowed: "):
        Mamp(SHAPE, decoder, masking, target)
