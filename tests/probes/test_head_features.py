"""What a tuning's head makes of features, against the head itself and against formulas."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from stars.encoders import EncoderStage, save_tensors
from stars.execute import realise
from stars.imported import Imported
from stars.outcome import StoreError
from stars.probes.features import Features, read_parts
from stars.probes.head_features import HeadFeatures, apply_head
from stars.probes.knn import KNN
from stars.results import read
from stars.strategies.dino import DINO
from stars.strategies.moco import MoCo
from stars.strategies.strategy import Strategy
from stars.tune import Tune
from tests.examples import DATA
from tests.training import Tiny

OUTPUTS = ("projected", "predicted")


def slow(state: dict[str, Tensor], pooled: Tensor, output: str) -> Tensor:
    """The published head in evaluation mode, written out."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return (x - mean) / torch.sqrt(variance + 1e-5) * state[f"{name}.weight"] + state[f"{name}.bias"]

    projected = norm(pooled, "projector.0")
    if output == "projected":
        return projected
    hidden = functional.relu(norm(projected @ state["predictor.0.weight"].T, "predictor.1"))
    return hidden @ state["predictor.3.weight"].T + state["predictor.3.bias"]


def head_of(folder: Path) -> dict[str, Tensor]:
    state = load_file(folder / "objective.safetensors")
    return {name.removeprefix("head."): tensor for name, tensor in state.items() if name.startswith("head.")}


def tuned(tiny: Tiny, strategy: Strategy) -> Tune:
    return replace(tiny.recipe.tune(seed=0), strategy=strategy, epochs=1)


def after(tiny: Tiny, encoder: EncoderStage, output: str) -> HeadFeatures:
    pooled = Features(encoder=encoder, data=tiny.data, crop=0.9)
    return HeadFeatures(pooled=pooled, encoder=encoder, output=output)  # type: ignore[arg-type]


def test_the_head_of_nearest_neighbour_tuning(tiny: Tiny, tmp_path: Path) -> None:
    workplace = tiny.workplace(tmp_path)
    tune = tuned(tiny, tiny.recipe.stage2.strategy)
    for output in OUTPUTS:
        stage = after(tiny, tune, output)
        probe = KNN(features=stage, data=tiny.data, k=(1, 3))
        assert realise(probe, workplace).status == "finished"
        ours, pooled = (read_parts(workplace.store.output(one)) for one in (stage, stage.pooled))
        state = head_of(workplace.store.output(tune))
        for part in ("train", "test"):
            assert torch.equal(ours[part].rows, pooled[part].rows)
            expected = slow(state, pooled[part].features, output)
            torch.testing.assert_close(ours[part].features, expected, rtol=1e-5, atol=1e-6)
            assert float((ours[part].features - pooled[part].features).abs().max()) > 1e-3
    assert {row["feature"] for row in read(workplace.store).to_pylist()} == set(OUTPUTS)


def test_the_heads_of_the_other_strategies(tiny: Tiny, tmp_path: Path) -> None:
    workplace = tiny.workplace(tmp_path)
    moco, dino = tuned(tiny, MoCo(queue_size=16, hidden=32)), tuned(tiny, DINO(outputs=12))
    for stage in (after(tiny, moco, "predicted"), after(tiny, dino, "projected")):
        assert realise(stage, workplace).status == "finished"
        state = head_of(workplace.store.output(stage.encoder))
        ours, pooled = (read_parts(workplace.store.output(one))["test"].features for one in (stage, stage.pooled))
        linear = "weight" in state
        expected = pooled @ state["weight"].T + state["bias"] if linear else slow(state, pooled, "predicted")
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"HeadFeatures\.output is 'predicted'; allowed: an output of the head"):
        realise(after(tiny, dino, "predicted"), workplace)


def test_double_precision_stays() -> None:
    state = {"weight": torch.ones(2, 3, dtype=torch.float64), "bias": torch.zeros(2, dtype=torch.float64)}
    assert apply_head(state, torch.ones(4, 3, dtype=torch.float64), "projected").dtype == torch.float64


def test_only_a_tuning_has_a_head(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"HeadFeatures\.encoder is a Pretrain; allowed: a tuning, a joint training"):
        after(tiny, tiny.recipe.stage1, "projected")
    stage = after(tiny, tiny.recipe.tune(seed=0), "projected")
    with pytest.raises(ValueError, match=r"HeadFeatures\.encoder is .*; allowed: that of the pooled features"):
        replace(stage, encoder=tiny.recipe.tune(seed=1))
    with pytest.raises(ValueError, match=r"KNN\.data is .*; allowed: that of the features"):
        KNN(features=stage, data=DATA, k=(1,))


def test_an_import_without_a_head_is_told(tiny: Tiny, tmp_path: Path) -> None:
    workplace = tiny.workplace(tmp_path)
    realise(tiny.recipe.untrained(seed=0), workplace)
    shape = tiny.recipe.stage1.encoder_shape()
    encoder = Imported(name="theirs", content="1" * 64, encoder=shape, layout="mamp")
    attempt = workplace.store.begin(encoder)
    weights = load_file(workplace.store.output(tiny.recipe.untrained(seed=0)) / "encoder.safetensors")
    save_tensors(attempt.output / "encoder.safetensors", weights)
    workplace.store.commit(attempt, inputs={}, measured={})
    with pytest.raises(StoreError, match=r"holds no objective\.safetensors; allowed: an encoder that came with a head"):
        realise(after(tiny, encoder, "projected"), workplace)
