"""The contrastive head: its start, and one pass that stands for two."""

import pytest
import torch
from torch import Tensor, nn

from stars.model.encoder import linear
from stars.model.heads import ContrastiveHead, initialise_head


def head(updates_per_pass: int = 1) -> ContrastiveHead:
    module = ContrastiveHead(6, 12, updates_per_pass)
    initialise_head(module, torch.Generator().manual_seed(0))
    return module.double()


def features(seed: int = 1) -> Tensor:
    return torch.randn(9, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_head_is_the_published_chain() -> None:
    module, pooled = head(), features()

    weights = dict(module.named_parameters())

    def normed(z: Tensor, norm: str) -> Tensor:
        centred = z - z.mean(dim=0)
        scaled = centred / (centred.square().mean(dim=0) + 1e-5).sqrt()
        return scaled * weights[f"{norm}.weight"] + weights[f"{norm}.bias"]

    projected = normed(pooled, "projector.0")
    hidden = normed(projected @ weights["predictor.0.weight"].T, "predictor.1").clamp(min=0)
    predicted = hidden @ weights["predictor.3.weight"].T + weights["predictor.3.bias"]
    ours = module(pooled)
    torch.testing.assert_close(ours[0], projected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(ours[1], predicted, rtol=1e-10, atol=1e-12)


def test_one_pass_moves_the_running_statistics_like_two() -> None:
    once, twice = head(updates_per_pass=2), head()
    for step in range(3):
        once(features(step))
        twice(features(step))
        twice(features(step))
    for (name, ours), expected in zip(once.state_dict().items(), twice.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-13, atol=1e-14, msg=name)
    assert once.state_dict()["projector.0.num_batches_tracked"] == 6


def test_evaluation_moves_nothing() -> None:
    module = head(updates_per_pass=2)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module.eval()(features())
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_start_is_the_published_one() -> None:
    before = torch.get_rng_state()
    module = ContrastiveHead(64, 256)
    initialise_head(module, torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)
    weights = {name: parameter.detach() for name, parameter in module.named_parameters()}
    for name, mean in (("predictor.0", 0.0), ("predictor.1", 1.0), ("predictor.3", 0.0), ("projector.0", 1.0)):
        assert weights[f"{name}.weight"].mean().item() == pytest.approx(mean, abs=0.006)
        assert weights[f"{name}.weight"].std().item() == pytest.approx(0.02, rel=0.3)
    assert all((weight == 0).all() for name, weight in weights.items() if name.endswith("bias"))
    assert "predictor.0.bias" not in weights


def test_unknown_parts_have_no_start() -> None:
    with pytest.raises(TypeError, match="LayerNorm"):
        initialise_head(nn.Sequential(linear(2, 2), nn.LayerNorm(2)), torch.Generator())
