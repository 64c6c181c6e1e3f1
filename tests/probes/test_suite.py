"""What every probe promises, run on each that the package holds: a new file is found, and asks for an example here."""

import importlib
import json
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import stars.probes
from stars.data.batches import View
from stars.data.dataset import Data, Split, split
from stars.data.packed import Packed
from stars.execute import realise
from stars.probes.chance import Chance
from stars.probes.features import Features, FeatureStage
from stars.probes.fewshot import FewShot, NovelKNN
from stars.probes.finetune import FineTune
from stars.probes.knn import KNN
from stars.probes.linear import Linear, LinearOnFeatures
from stars.results import read, read_numbers
from stars.stage import Stage, decode, encode
from tests.training import Tiny

Make = Callable[[Tiny, Data], Stage]


def features(tiny: Tiny, data: Data) -> Features:
    return Features(encoder=tiny.recipe.untrained(seed=0), data=replace(data, label_rule="action"), crop=0.9)


def linear(tiny: Tiny, data: Data) -> Linear:
    view = View(frames=16, crop=(0.5, 1.0), rotation=0.3)
    settings: dict[str, Any] = {"epochs": 2, "batch_size": 8, "learning_rates": (0.3,)}
    return Linear(encoder=tiny.recipe.untrained(seed=0), data=data, view=view, crop=0.9, **settings)


def linear_on_features(tiny: Tiny, data: Data) -> LinearOnFeatures:
    rates = (0.3, 0.03)
    return LinearOnFeatures(features=features(tiny, data), data=data, epochs=2, batch_size=8, learning_rates=rates)


def finetune(tiny: Tiny, data: Data) -> FineTune:
    return FineTune(
        start=tiny.recipe.untrained(seed=0),
        data=data,
        view=View(frames=16, crop=(0.5, 1.0), rotation=0.3),
        crop=0.9,
        epochs=2,
        warmup_epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        minimum_learning_rate=1e-5,
        layer_decay=0.8,
        weight_decay=0.05,
        drop_path=0.3,
        dropout=0.3,
        label_smoothing=0.1,
        hidden=16,
        seed=0,
    )


def novel(tiny: Tiny, data: Data) -> NovelKNN:
    chosen = replace(data, actions=(1, 2, 3, 4))
    return NovelKNN(features=features(tiny, chosen), data=chosen, k=(1, 2))


EXAMPLES: dict[str, Make] = {
    "Chance": lambda tiny, data: Chance(data=data),
    "KNN": lambda tiny, data: KNN(features=features(tiny, data), data=data, k=(1, 3)),
    "NovelKNN": novel,
    "FewShot": lambda tiny, data: FewShot(features=features(tiny, data), data=data, shots=(1, 2)),
    "FineTune": finetune,
    "Linear": linear,
    "LinearOnFeatures": linear_on_features,
}
"""By class, one probe each of 32 recordings: 24 are trained on and 8 measured on, two of each of the 4 classes."""


def descendants(cls: type[Stage]) -> Iterator[type[Stage]]:
    for child in cls.__subclasses__():
        yield child
        yield from descendants(child)


for _module in pkgutil.walk_packages(stars.probes.__path__, "stars.probes."):
    importlib.import_module(_module.name)
FOUND = {
    cls.__name__
    for cls in descendants(Stage)
    if cls.__module__.startswith("stars.probes.") and not issubclass(cls, FeatureStage) and cls.run is not Stage.run
}

every = pytest.mark.parametrize("name", EXAMPLES)
classifying = pytest.mark.parametrize("name", [name for name in EXAMPLES if name != "Chance"])


def done(probe: Stage, tiny: Tiny, location: Path) -> Path:
    """The output folder of a probe once it has been run."""
    workplace = tiny.workplace(location)
    assert realise(probe, workplace).status == "finished"
    return workplace.store.output(probe)


def test_every_probe_has_an_example() -> None:
    assert set(EXAMPLES) == FOUND


@every
def test_rows_say_what_was_measured(tiny: Tiny, tmp_path: Path, name: str) -> None:
    probe, workplace = EXAMPLES[name](tiny, tiny.data), replace(tiny.workplace(tmp_path), recipe="tiny")
    assert realise(probe, workplace).status == "finished"
    rows = read(workplace.store).to_pylist()
    assert rows
    for row in rows:
        assert (row["split"], row["count"], row["recipe"], row["dataset"]) == ("test", 8, "tiny", "tiny")
        assert row["metric"].startswith("accuracy")
        assert row["value"] >= 0
        assert row["probe"]
        assert row["selected_on"] in ("none", "test")
    described = ("probe", "feature", "k", "draw", "variant", "metric", "selected_on")
    assert len({tuple(row[column] for column in described) for row in rows}) == len(rows), "no two rows are alike"
    first = read_numbers(workplace.store, probe)[0]
    assert (first.metric, first.selected_on) == ("accuracy", "none"), "what a search looks at comes first"


@every
def test_the_last_epoch_stands_beside_whatever_the_measured_part_chose(tiny: Tiny, tmp_path: Path, name: str) -> None:
    """Where there are epochs there are both, and the chosen one is at least as good on what chose it."""
    probe, workplace = EXAMPLES[name](tiny, tiny.data), tiny.workplace(tmp_path)
    realise(probe, workplace)
    numbers = read_numbers(workplace.store, probe)
    last = {number.variant: number for number in numbers if number.epoch is not None and number.selected_on == "none"}
    best = {number.variant: number for number in numbers if number.selected_on != "none"}
    assert last.keys() == best.keys()
    assert bool(last) == hasattr(probe, "epochs")
    for variant, number in best.items():
        assert number.value >= last[variant].value
        assert number.epoch is not None
        assert 1 <= number.epoch <= getattr(probe, "epochs", 0) == last[variant].epoch


@classifying
def test_predictions_are_of_the_measured_part_and_give_the_numbers(tiny: Tiny, tmp_path: Path, name: str) -> None:
    probe = EXAMPLES[name](tiny, tiny.data)
    folder = done(probe, tiny, tmp_path)
    table = pq.read_table(folder / "predictions.parquet")
    parts = split(tiny.data, Packed.open(tiny.packed))
    assert sorted(table["row"].to_pylist()) == sorted(parts.measured.tolist())
    assert table["label"].to_pylist() == parts.labels[table["row"].to_numpy()].tolist()
    assert json.loads(table.schema.metadata[b"classes"]) == list(parts.class_names)
    values = [number["value"] for number in json.loads((folder / "numbers.json").read_text())]
    columns = [column for column in table.column_names if column not in ("row", "label", "scores")]
    assert columns
    for column in columns:
        predicted = table[column].to_numpy()
        assert set(predicted.tolist()) <= set(range(parts.num_classes))
        assert float((predicted == table["label"].to_numpy()).mean()) in values
    if "scores" in table.column_names:
        scores = np.array(table["scores"].to_pylist())
        assert scores.shape == (8, parts.num_classes)
        assert table.schema.metadata[b"scores"] in (b"logits", b"vote shares")
        assert [scores.argmax(axis=1).tolist()] == [table[column].to_pylist() for column in columns]


@every
def test_the_same_value_gives_the_same_bytes_and_no_global_draw(tiny: Tiny, tmp_path: Path, name: str) -> None:
    probe = EXAMPLES[name](tiny, tiny.data)
    states = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"]
    folders = [done(probe, tiny, tmp_path / place) for place in ("one", "other")]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], states[1])
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert files[0] == files[1]
    assert "numbers.json" in files[0]


@classifying
def test_predictions_know_nothing_of_the_labels_they_are_measured_by(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    probe = EXAMPLES[name](tiny, tiny.data)

    def mistaken(data: Data, packed: Packed) -> Split:
        parts = split(data, packed)
        labels = parts.labels.copy()
        labels[parts.measured] = (labels[parts.measured] + 1) % parts.num_classes
        return replace(parts, labels=labels)

    right = pq.read_table(done(probe, tiny, tmp_path / "right") / "predictions.parquet")
    for module in pkgutil.walk_packages(stars.probes.__path__, "stars.probes."):
        if hasattr(importlib.import_module(module.name), "split"):
            monkeypatch.setattr(f"{module.name}.split", mistaken)
    wrong = pq.read_table(done(probe, tiny, tmp_path / "wrong") / "predictions.parquet")
    assert not right["label"].equals(wrong["label"])
    assert right.drop_columns(["label"]).equals(wrong.drop_columns(["label"]))


@every
def test_validation_subjects_are_measured_in_place_of_the_test_part(tiny: Tiny, tmp_path: Path, name: str) -> None:
    probe = EXAMPLES[name](tiny, replace(tiny.data, validation_subjects=(2,)))
    numbers = json.loads((done(probe, tiny, tmp_path) / "numbers.json").read_text())
    assert {number["split"] for number in numbers} == {"val"}
    assert {number["selected_on"] for number in numbers} <= {"none", "val"}


@every
def test_another_label_rule_gives_other_classes(tiny: Tiny, tmp_path: Path, name: str) -> None:
    finer = replace(tiny.data, label_rule="action-replication")
    folder = done(EXAMPLES[name](tiny, finer), tiny, tmp_path)
    assert {number["count"] for number in json.loads((folder / "numbers.json").read_text())} == {8}
    if name != "Chance":
        metadata = pq.read_schema(folder / "predictions.parquet").metadata
        classes = [f"A{action:03}R{replication:03}" for action in range(1, 5) for replication in (1, 2)]
        assert json.loads(metadata[b"classes"]) == classes


@every
def test_the_value_survives_its_canonical_form(tiny: Tiny, name: str) -> None:
    probe = EXAMPLES[name](tiny, tiny.data)
    assert decode(encode(probe)) == probe


@every
def test_other_recordings_are_refused(tiny: Tiny, tmp_path: Path, name: str) -> None:
    """Whoever builds the value or runs it: the message names what is allowed."""
    probe = EXAMPLES[name](tiny, tiny.data)
    workplace = tiny.workplace(tmp_path)
    with pytest.raises(ValueError, match="; allowed: "):
        realise(
            replace(probe, data=replace(tiny.data, content="1" * 64)),  # type: ignore[call-arg]
            replace(workplace, datasets={**workplace.datasets, "1" * 64: tiny.packed}),
        )
