"""The encoder against slow, obvious transcriptions; its start; absent bodies."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stars.model.encoder import Attention, Block, Encoder, EncoderShape, initialise, linear, resize_times
from stars.model.masking import patchify

SHAPE = EncoderShape(frames=8, joints=3, patch=2, width=8, depth=3, heads=2)


def encoder(shape: EncoderShape = SHAPE, seed: int = 0) -> Encoder:
    module = Encoder(shape)
    initialise(module, torch.Generator().manual_seed(seed))
    return module.double()


def batch(num_samples: int = 5, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_samples, 2, SHAPE.frames, SHAPE.joints, 3, generator=generator, dtype=torch.float64)


def pooled_slowly(module: Encoder, x: Tensor) -> Tensor:
    """Every body through the encoder, the absent ones too."""
    bodies = [[module.encode(module.embed(body[None]))[0] for body in sample] for sample in x]
    return torch.stack([torch.stack(tokens).mean(dim=(0, 1)) for tokens in bodies])


@pytest.mark.parametrize(
    "absent", [[], [(0, 1)], [(1, 0), (2, 1), (3, 0), (3, 1)], [(n, m) for n in range(5) for m in (0, 1)]]
)
def test_absent_bodies_are_shared_exactly(absent: list[tuple[int, int]]) -> None:
    x = batch()
    for sample, body in absent:
        x[sample, body] = 0
    x[4, 0, 2:5] = 0 * x[4, 0, 2:5]  # still frames inside a body do not make it absent
    fast, slow = encoder(), encoder()
    weights = torch.randn(len(x), SHAPE.width, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ours, expected = fast.pooled(x), pooled_slowly(slow, x)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-13)
    torch.autograd.backward([(ours * weights).sum(), (expected * weights).sum()])
    for (name, parameter), reference in zip(fast.named_parameters(), slow.parameters(), strict=True):
        assert reference.grad is not None
        assert len(absent) == 10 or reference.grad.abs().max() > 0, name
        torch.testing.assert_close(parameter.grad, reference.grad, rtol=1e-10, atol=1e-12, msg=name)


def test_absent_bodies_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = batch()
    x[1:, 1] = 0
    module = encoder()
    seen: list[int] = []
    encode = module.encode

    def counted(tokens: Tensor) -> Tensor:
        seen.append(len(tokens))
        return encode(tokens)

    monkeypatch.setattr(module, "encode", counted)
    module.pooled(x)
    assert seen == [5 + 1 + 1]


def test_a_body_of_nan_is_present() -> None:
    x = batch()
    x[2, 1] = float("nan")
    assert encoder().pooled(x).isnan().any(dim=1).tolist() == [False, False, True, False, False]


def test_embedding_is_the_published_convolution_plus_positions() -> None:
    module, rows = encoder(), batch().flatten(0, 1)
    proj = module.joints_embed.proj
    tokens = nn.functional.conv2d(rows.permute(0, 3, 1, 2), proj.weight, proj.bias, stride=(SHAPE.patch, 1))
    expected = tokens.permute(0, 2, 3, 1) + module.pos_embed + module.temp_embed
    torch.testing.assert_close(module.embed(rows), expected.flatten(1, 2), rtol=1e-12, atol=1e-13)


def test_attention_is_softmax_of_scaled_products() -> None:
    attention = Attention(8, 2)
    for part in (attention.qkv, attention.proj):
        nn.init.normal_(part.weight, generator=torch.Generator().manual_seed(0))
        nn.init.normal_(part.bias, generator=torch.Generator().manual_seed(1))
    attention.double()
    tokens = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    heads = []
    for head in range(2):
        rows = [torch.arange(which * 8 + head * 4, which * 8 + head * 4 + 4) for which in range(3)]
        query, key, value = (tokens @ weight[r].T + bias[r] for r in rows)
        heads.append(torch.softmax(query @ key.transpose(1, 2) / math.sqrt(4), dim=2) @ value)
    expected = torch.cat(heads, dim=2) @ attention.proj.weight.T + attention.proj.bias
    torch.testing.assert_close(attention(tokens), expected, rtol=1e-10, atol=1e-12)


def test_block_is_pre_norm_with_exact_gelu() -> None:
    block = Block(8, 2, 2.0)
    initialise(block, torch.Generator().manual_seed(0))
    block.double()
    tokens = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def normed(z: Tensor) -> Tensor:
        centred = z - z.mean(dim=2, keepdim=True)
        return centred / (centred.square().mean(dim=2, keepdim=True) + 1e-5).sqrt()

    middle = tokens + block.attn(normed(tokens))
    hidden = normed(middle) @ block.mlp.fc1.weight.T + block.mlp.fc1.bias
    gelu = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    expected = middle + gelu @ block.mlp.fc2.weight.T + block.mlp.fc2.bias
    assert hidden.shape[2] == 16
    torch.testing.assert_close(block(tokens), expected, rtol=1e-10, atol=1e-12)


def test_nothing_is_drawn_from_the_global_generator() -> None:
    before = torch.get_rng_state()
    module = Encoder(SHAPE)
    assert all(p.isnan().all() for n, p in module.named_parameters() if ".norm" not in n and not n.startswith("norm"))
    initialise(module, torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.isfinite().all() for p in module.parameters())


def test_start_depends_on_the_seed_alone() -> None:
    first, again, other = (encoder(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[n], other[n]) for n in ("pos_embed", "blocks.0.mlp.fc1.weight"))


def test_start_is_the_published_one() -> None:
    shape = EncoderShape(frames=64, joints=25, patch=4, width=128, depth=1, heads=4)
    module = encoder(shape)
    for table in (module.temp_embed, module.pos_embed):
        assert table.std().item() == pytest.approx(0.02, rel=0.1)
    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            bound = math.sqrt(6 / sum(part.weight.shape))
            assert 0.99 * bound < part.weight.abs().max() <= bound, name
            assert part.bias.abs().max() == 0
        if isinstance(part, nn.LayerNorm):
            assert (part.weight == 1).all()
            assert (part.bias == 0).all()
    proj = module.joints_embed.proj
    bound = 1 / math.sqrt(3 * shape.patch)
    assert 0.95 * bound < proj.weight.abs().max() <= bound
    assert proj.bias is not None
    assert 0.9 * bound < proj.bias.abs().max() <= bound


def test_unknown_parts_have_no_start() -> None:
    with pytest.raises(TypeError, match="BatchNorm1d"):
        initialise(nn.Sequential(linear(2, 2), nn.BatchNorm1d(2)), torch.Generator())


@pytest.mark.parametrize(
    ("sizes", "field"),
    [
        ({"frames": 10, "patch": 4}, "frames"),
        ({"frames": 4, "patch": 4}, "frames"),
        ({"width": 10, "heads": 4}, "width"),
        ({"depth": 0}, "depth"),
        ({"joints": 0}, "joints"),
        ({"mlp_ratio": 0.0}, "mlp_ratio"),
    ],
)
def test_impossible_sizes_are_refused(sizes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=rf"EncoderShape\.{field} is .*; allowed: "):
        EncoderShape(**sizes)


def test_rows_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="8 frames of 4 joints; allowed: a multiple of 2 frames of 3 joints"):
        encoder().pooled(torch.ones(1, 2, 8, 4, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="7 frames of 3 joints; allowed: a multiple of 2 frames of 3 joints"):
        encoder().pooled(torch.ones(1, 2, 7, 3, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="6 frames of 3 joints; allowed: 8 frames of 3 joints"):
        encoder().patches(torch.ones(1, 6, 3, 3, dtype=torch.float64))


@pytest.mark.parametrize("frames", [4, 6, 8, 12])
def test_a_row_of_another_length_gets_the_times_resized(frames: int) -> None:
    module = encoder()
    rows = torch.randn(2, frames, 3, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    content = module.joints_embed(patchify(rows, 2))
    times = resize_times(module.temp_embed, frames // 2)
    assert times.shape == (1, frames // 2, 1, SHAPE.width)
    assert torch.equal(times, module.temp_embed) == (frames == SHAPE.frames)
    expected = (content + times + module.pos_embed).flatten(1, 2)
    torch.testing.assert_close(module.embed(rows), expected, rtol=1e-12, atol=1e-13)


def test_a_constant_stays_constant_whatever_its_length() -> None:
    table = torch.full((1, 5, 1, 2), 3.0, dtype=torch.float64)
    torch.testing.assert_close(resize_times(table, 8), torch.full((1, 8, 1, 2), 3.0, dtype=torch.float64))
