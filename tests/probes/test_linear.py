"""The linear probe: alone as a slow loop in plain torch, stacked as alone, resumed and shared to the same numbers."""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from stars import draws
from stars.curve import CURVE_FILE
from stars.data.batches import View
from stars.data.dataset import split
from stars.data.packed import Packed
from stars.data.subsets import shuffled
from stars.execute import realise
from stars.fit import Interrupted
from stars.probes.features import Features, Part, read_features, write_features
from stars.probes.linear import CLASSIFIERS_FILE, Linear, LinearOnFeatures, LinearProbe
from stars.probes.linear_training import LinearTraining
from stars.results import read
from stars.runtime import PlainRuntime
from stars.store import Store
from tests import gloo
from tests.processes import as_workers
from tests.training import Tiny, apart, equal, make_plain

VIEW = View(frames=16, crop=(0.5, 1.0), rotation=0.3)


def on_crops(tiny: Tiny, **fields: Any) -> Linear:
    base: dict[str, Any] = {"encoder": tiny.recipe.untrained(seed=0), "data": tiny.data, "view": VIEW, "crop": 0.9}
    return Linear(**{**base, "epochs": 3, "batch_size": 8, "learning_rates": (0.3,), **fields})


def on_features(tiny: Tiny, **fields: Any) -> LinearOnFeatures:
    features = Features(encoder=tiny.recipe.untrained(seed=0), data=tiny.data, crop=0.9)
    base: dict[str, Any] = {"features": features, "data": tiny.data}
    return LinearOnFeatures(**{**base, "epochs": 3, "batch_size": 8, "learning_rates": (0.3,), **fields})


def tensors(store: Store, stage: LinearProbe) -> dict[str, Tensor]:
    """What a probe learnt, its losses, and its predictions."""
    folder = store.output(stage)
    losses = torch.tensor(pq.read_table(folder / CURVE_FILE)["loss"].to_pylist(), dtype=torch.float64)
    predicted = pq.read_table(folder / "predictions.parquet").drop_columns(["row", "label"]).to_pydict()
    said = {name: torch.tensor(column) for name, column in predicted.items()}
    return {**load_file(folder / CLASSIFIERS_FILE), "losses": losses, **said}


def measured(store: Store, stage: LinearProbe) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((store.output(stage) / "numbers.json").read_text())
    return rows


def slow_probe(x: Tensor, y: Tensor, stage: LinearProbe, samples: Tensor) -> nn.Sequential:
    """The probe as one would write it for one classifier, on features of one crop."""
    (rate,), (decay,), (seed,) = stage.learning_rates, stage.weight_decays, stage.seeds
    norm = nn.BatchNorm1d(x.shape[1], affine=False, eps=1e-6, dtype=x.dtype)
    head = nn.Linear(x.shape[1], int(y.max()) + 1, dtype=x.dtype)
    nn.init.trunc_normal_(head.weight, std=0.01, generator=draws.generator(seed, 0, "classifier"))
    nn.init.zeros_(head.bias)
    model = nn.Sequential(norm, head)
    optimiser = torch.optim.SGD(model.parameters(), lr=rate, momentum=stage.momentum, weight_decay=decay)
    num_steps = stage.epochs * (len(samples) // stage.batch_size)
    for step in range(num_steps):
        optimiser.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / num_steps))
        batch = draws.batch(samples, seed=seed, step=step, batch_size=stage.batch_size)
        optimiser.zero_grad()
        loss = functional.cross_entropy(model(x[batch]), y[batch])
        torch.autograd.backward(loss)
        optimiser.step()
    return model.eval()


@pytest.mark.parametrize(
    "fields",
    [{}, {"weight_decays": (0.1,), "momentum": 0.5, "seeds": (3,)}, {"label_fraction": 0.5, "subset_seeds": (2,)}],
)
def test_one_classifier_is_that_of_a_plain_loop(tiny: Tiny, tmp_path: Path, fields: dict[str, Any]) -> None:
    features = Features(encoder=tiny.recipe.untrained(seed=0), data=tiny.data, crop=0.9, precision="float64")
    stage = on_features(tiny, features=features, **fields)
    workplace = tiny.workplace(tmp_path)
    assert realise(stage, workplace).status == "finished"
    parts = split(tiny.data, Packed.open(tiny.packed))
    train, test = (read_features(workplace.store.output(stage.features), part) for part in ("train", "test"))
    samples = torch.arange(len(train.rows))
    if stage.label_fraction < 1:
        samples = torch.from_numpy(shuffled(len(samples), stage.label_fraction, stage.subset_seeds[0]))
    model = slow_probe(train.features, torch.from_numpy(parts.labels)[train.rows], stage, samples)
    found = tensors(workplace.store, stage)
    state = model.state_dict()
    for ours, theirs in (("norm.running_mean", "0.running_mean"), ("norm.running_var", "0.running_var")):
        torch.testing.assert_close(found[ours], state[theirs], rtol=0, atol=1e-12)
    torch.testing.assert_close(found["weight"][0, 0], state["1.weight"], rtol=0, atol=1e-12)
    torch.testing.assert_close(found["bias"][0, 0], state["1.bias"], rtol=0, atol=1e-12)
    logits = model(test.features).detach()
    torch.testing.assert_close(found["scores"], logits.float().double().to(found["scores"].dtype), rtol=0, atol=1e-6)
    labels = torch.from_numpy(parts.labels)[test.rows]
    assert measured(workplace.store, stage)[0]["value"] == float((logits.argmax(dim=1) == labels).double().mean())


def test_fresh_crops_are_drawn_anew_at_every_step(tiny: Tiny, tmp_path: Path) -> None:
    """A view without chance shows the same crop as stored features; chance shows another every time."""
    fixed = View(frames=16, crop=(0.9,))
    stage, stored = on_crops(tiny, view=fixed), on_features(tiny)
    workplace = tiny.workplace(tmp_path)
    for one in (stage, stored):
        assert realise(one, workplace).status == "finished"
    assert apart(tensors(workplace.store, stage), tensors(workplace.store, stored)) < 1e-5
    once, again = (replace(on_crops(tiny), seeds=(0,), epochs=epochs) for epochs in (1, 2))
    for one in (once, again):
        assert realise(one, workplace).status == "finished"
    assert [row["feature"] for row in measured(workplace.store, once)] == ["pooled of fresh crops"] * 2
    assert [row["feature"] for row in measured(workplace.store, stored)] == ["pooled"] * 2
    assert apart(tensors(workplace.store, once), {**tensors(workplace.store, again), "losses": torch.zeros(3)}) > 1e-3


AXES: dict[str, tuple[Any, ...]] = {
    "learning_rates": (0.3, 0.05),
    "weight_decays": (0.0, 0.1),
    "seeds": (0, 5),
    "subset_seeds": (0, 1),
}


@pytest.mark.parametrize("make", [on_features, on_crops])
def test_each_of_a_stack_is_what_it_is_alone(tiny: Tiny, tmp_path: Path, make: Any) -> None:
    stack: LinearProbe = make(tiny, label_fraction=0.7, **AXES)
    workplace = tiny.workplace(tmp_path)
    assert realise(stack, workplace).status == "finished"
    together, rows = tensors(workplace.store, stack), measured(workplace.store, stack)
    assert len(rows) == 32
    variants = stack.variants()
    for look, (seed, subset_seed) in enumerate((s, u) for s in AXES["seeds"] for u in AXES["subset_seeds"]):
        for setting, (rate, decay) in enumerate(stack.settings()):
            seeds = {"seeds": (seed,), "subset_seeds": (subset_seed,), "label_fraction": 0.7}
            alone: LinearProbe = make(tiny, learning_rates=(rate,), weight_decays=(decay,), **seeds)
            name = f"seed={seed} subset_seed={subset_seed} learning_rate={rate} weight_decay={decay}"
            assert variants[look][setting] == name
            assert realise(alone, workplace).status == "finished"
            expected = tensors(workplace.store, alone)
            for tensor in ("weight", "bias"):
                torch.testing.assert_close(together[tensor][look, setting], expected[tensor][0, 0], rtol=0, atol=1e-6)
            assert torch.equal(together[name], expected["predicted"])
            mine = [{**row, "variant": None} for row in rows if row["variant"] == name]
            assert mine == measured(workplace.store, alone)


def test_variants_name_what_varies_and_nothing_else(tiny: Tiny) -> None:
    assert on_features(tiny).variants() == [[""]]
    assert on_features(tiny, learning_rates=(0.1, 1)).variants() == [["learning_rate=0.1", "learning_rate=1.0"]]
    assert on_features(tiny, seeds=(0, 2)).variants() == [["seed=0"], ["seed=2"]]


@pytest.mark.parametrize("make", [on_features, on_crops])
@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_probe_ends_with_the_same_bits(tiny: Tiny, tmp_path: Path, make: Any, epoch: int) -> None:
    stage: LinearProbe = make(tiny, seeds=(0, 1))
    whole, broken = tiny.workplace(tmp_path / "whole"), tiny.workplace(tmp_path / "broken")
    assert realise(stage, whole).status == "finished"
    answers = iter((False,) * (epoch - 1) + (True,))
    with pytest.raises(Interrupted):
        realise(stage, broken, make_plain(stop=answers.__next__))
    after: list[int] = []
    realise(stage, broken, make_plain(on_report=lambda _, step: after.append(step)))
    assert after == [3, 6, 9][epoch:]
    assert equal(tensors(whole.store, stage), tensors(broken.store, stage))
    assert measured(whole.store, stage) == measured(broken.store, stage)


def test_the_number_of_workers_changes_nothing(tiny: Tiny, tmp_path: Path) -> None:
    encoder = replace(tiny.recipe.untrained(seed=0), precision="float64")
    stage = on_crops(tiny, encoder=encoder, precision="float64", seeds=(0, 1))
    plain, shared = tiny.workplace(tmp_path / "plain"), tiny.workplace(tmp_path / "shared")
    for workplace in (plain, shared):
        realise(encoder, workplace)
    realise(stage, plain)
    as_workers(2, tmp_path / "meeting", gloo.train, tiny, shared.store.location, (stage,))  # type: ignore[arg-type]
    assert apart(tensors(plain.store, stage), tensors(shared.store, stage)) < 1e-10
    assert measured(plain.store, stage) == measured(shared.store, stage)


def test_the_best_epoch_stands_beside_the_last_and_says_who_chose_it(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two equally good epochs the first; the last epoch's number comes first."""
    counts = iter([[[5, 2]], [[7, 2]], [[7, 1]], [[4, 1]]])
    monkeypatch.setattr(LinearTraining, "correct", lambda _: torch.tensor(next(counts)))
    stage = on_features(tiny, epochs=4, learning_rates=(0.3, 0.1))
    workplace = tiny.workplace(tmp_path)
    assert realise(stage, workplace).status == "finished"
    rows = sorted(read(workplace.store).to_pylist(), key=lambda row: (row["selected_on"], row["variant"]))
    told = [(row["selected_on"], row["variant"], row["epoch"], row["value"]) for row in rows]
    assert told == [
        ("none", "learning_rate=0.1", 4, 1 / 8),
        ("none", "learning_rate=0.3", 4, 4 / 8),
        ("test", "learning_rate=0.1", 1, 2 / 8),
        ("test", "learning_rate=0.3", 2, 7 / 8),
    ]
    assert {(row["probe"], row["split"], row["metric"], row["count"]) for row in rows} == {
        ("linear", "test", "accuracy", 8)
    }
    assert [row["selected_on"] for row in measured(workplace.store, stage)] == ["none", "none", "test", "test"]


def test_validation_subjects_choose_on_val(tiny: Tiny, tmp_path: Path) -> None:
    data = replace(tiny.data, validation_subjects=(2,))
    stage = on_crops(tiny, data=data)
    workplace = tiny.workplace(tmp_path)
    assert realise(stage, workplace).status == "finished"
    assert [(row["split"], row["selected_on"]) for row in measured(workplace.store, stage)] == [
        ("val", "none"),
        ("val", "val"),
    ]


def test_a_rate_that_blows_up_ends_as_diverged(tiny: Tiny, tmp_path: Path) -> None:
    stage = on_features(tiny, learning_rates=(1e30,), weight_decays=(1e8,))
    outcome = realise(stage, tiny.workplace(tmp_path))
    assert outcome.status == "diverged"


@pytest.mark.parametrize(
    ("field", "content", "allowed"),
    [
        ("learning_rates", (), "one or more different numbers above 0"),
        ("learning_rates", (0.1, 0.0), "one or more different numbers above 0"),
        ("learning_rates", (0.1, 0.1), "one or more different numbers above 0"),
        ("weight_decays", (-0.1,), "one or more different numbers from 0"),
        ("seeds", (), "one or more different numbers from 0"),
        ("subset_seeds", (-1,), "one or more different numbers from 0"),
        ("subset_seeds", (0, 1), r"\(0,\) with a label_fraction of 1"),
        ("epochs", 0, "1 or more"),
        ("batch_size", 1, r"2 or more \(BatchNorm\)"),
        ("momentum", 1.0, r"in \[0, 1\)"),
        ("subset", "balanced", "'published' with a label_fraction of 1"),
        ("label_fraction", 0.0, r"in \(0, 1\]"),
    ],
)
def test_impossible_fields_are_refused(tiny: Tiny, field: str, content: Any, allowed: str) -> None:
    for make in (on_features, on_crops):
        with pytest.raises(ValueError, match=rf"Linear.*\.{field} is .*; allowed: {allowed}"):
            make(tiny, **{field: content})


def test_what_does_not_fit_the_encoder_is_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"Linear\.crop is 0\.0; allowed: in \(0, 1\]"):
        on_crops(tiny, crop=0.0)
    with pytest.raises(ValueError, match=r"Linear\.view\.frames is 20; allowed: the encoder's 16"):
        on_crops(tiny, view=replace(VIEW, frames=20))
    with pytest.raises(ValueError, match=r"Linear\.data has 17 joints; allowed: the encoder's 25"):
        on_crops(tiny, data=replace(tiny.data, joints=17))
    with pytest.raises(ValueError, match=r"LinearOnFeatures\.data is .*; allowed: that of the features"):
        on_features(tiny, data=replace(tiny.data, content="1" * 64))


def test_a_balanced_part_has_equally_many_of_each_class(tiny: Tiny) -> None:
    parts = split(tiny.data, Packed.open(tiny.packed))
    labels = parts.labels[parts.train]
    chosen = on_features(tiny, label_fraction=0.5, subset="balanced", subset_seeds=(0, 1)).looks(labels)
    assert [np.bincount(labels[look.samples]).tolist() for look in chosen] == [[3] * 4] * 2
    assert not torch.equal(chosen[0].samples.sort().values, chosen[1].samples.sort().values)


def test_a_batch_above_the_labelled_samples_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    stage = on_features(tiny, label_fraction=0.25)
    with pytest.raises(ValueError, match="batch_size is 8; allowed: at most 6, the number of training samples"):
        realise(stage, tiny.workplace(tmp_path))


def test_features_of_unequally_many_crops_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    parts = split(tiny.data, Packed.open(tiny.packed))
    rows = torch.from_numpy(parts.train)
    rows = torch.cat((rows, rows[:1]))
    found = {
        "train": Part(features=torch.zeros(len(rows), 4), rows=rows),
        "test": Part(features=torch.zeros(len(parts.measured), 4), rows=torch.from_numpy(parts.measured)),
    }
    for name in ("features", "out"):
        (tmp_path / name).mkdir()
    write_features(tmp_path / "features", found, "pooled")
    inputs = {"features": tmp_path / "features", "data": tiny.packed}
    with pytest.raises(ValueError, match=r"row \d+ 2 times and row \d+ 1 times; allowed: equally many crops"):
        on_features(tiny).run(inputs, tmp_path / "out", PlainRuntime())


def test_every_field_has_an_effect(tiny: Tiny, tmp_path: Path) -> None:
    plain = on_crops(tiny, label_fraction=0.7, subset_seeds=(1,))
    changes: Mapping[str, Any] = {
        "encoder": tiny.recipe.untrained(seed=1),
        "data": replace(tiny.data, validation_subjects=(2,)),
        "view": replace(VIEW, rotation=0.1),
        "crop": 0.5,
        "precision": "float64",
        "epochs": 2,
        "batch_size": 4,
        "learning_rates": (0.2,),
        "weight_decays": (0.01,),
        "momentum": 0.8,
        "seeds": (1,),
        "label_fraction": 0.8,
        "subset": "balanced",
        "subset_seeds": (2,),
    }
    assert changes.keys() == {item.name for item in dataclasses.fields(Linear)}
    workplace = tiny.workplace(tmp_path)
    found: list[Tensor] = []
    for stage in (plain, *(replace(plain, **{name: content}) for name, content in changes.items())):
        assert realise(stage, workplace).status == "finished"
        scores = tensors(workplace.store, stage)["scores"].double()
        assert all(scores.shape != other.shape or not torch.equal(scores, other) for other in found)
        found.append(scores)
