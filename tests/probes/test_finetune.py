"""Fine-tuning: as a plain loop, resumed, killed and shared to the same numbers; it says what chose its checkpoint."""

import math
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from stars import draws
from stars.data.batches import Clips, View, draw, views
from stars.data.dataset import split
from stars.data.packed import Packed
from stars.encoders import load_encoder
from stars.execute import perform, realise
from stars.fit import Interrupted
from stars.model.classifier import JointMeans
from stars.model.dropping import draw_dropped
from stars.probes.finetune import FineTune, load_classifier
from stars.probes.finetune_training import FineTuning
from stars.results import NUMBERS, read, read_numbers
from stars.runtime import PlainRuntime, Runtime
from stars.store import Store
from tests import gloo
from tests.probes.finetuning import finetune, precise, predictions
from tests.processes import as_workers, ended, start
from tests.training import Tiny, apart, equal, make_plain, output


def slow_training(tiny: Tiny, store: Store, stage: FineTune) -> tuple[dict[str, Tensor], Tensor]:
    """Fine-tuning as one would write it for one worker, with an optimiser that is given every tensor by itself."""
    parts = split(stage.data, Packed.open(tiny.packed))
    rows, labels = torch.from_numpy(parts.train), torch.from_numpy(parts.labels)
    encoder = load_encoder(store.output(stage.start), stage.encoder_shape(), torch.device("cpu"), torch.float64)
    classifier = stage.classifier(parts.num_classes).double()
    means, clips = JointMeans(encoder, stage.dropout), Clips(parts.packed, dtype=torch.float64)
    groups = []
    for name, parameter in encoder.named_parameters():
        layer = 0
        if name.startswith("blocks"):
            layer = int(name.split(".")[1]) + 1
        elif name.startswith("norm"):
            layer = len(encoder.blocks) + 1
        groups.append((parameter, stage.layer_decay ** (len(encoder.blocks) + 1 - layer)))
    groups += [(parameter, 1.0) for parameter in classifier.parameters()]
    optimiser = torch.optim.AdamW(
        [{"params": [p], "weight_decay": 0.0 if p.ndim == 1 else stage.weight_decay} for p, _ in groups],
        betas=(0.9, 0.999),
    )
    steps = len(rows) // stage.batch_size
    for step in range(stage.epochs * steps):
        epoch = step / steps
        part = (epoch - stage.warmup_epochs) / (stage.epochs - stage.warmup_epochs)
        low, high = stage.minimum_learning_rate, stage.learning_rate
        rate = (
            high * epoch / stage.warmup_epochs if part < 0 else low + (high - low) * (1 + math.cos(math.pi * part)) / 2
        )
        for group, (_, scale) in zip(optimiser.param_groups, groups, strict=True):
            group["lr"] = rate * scale
        batch = draws.batch(rows, seed=stage.seed, step=step, batch_size=stage.batch_size)
        cut = draw(stage.view, clips.valid[batch], draws.generator(stage.seed, step, "view"))
        dropped = draw_dropped(
            encoder.shape,
            slice(0, stage.batch_size),
            stage.batch_size,
            drop_path=stage.drop_path,
            dropout=stage.dropout,
            seed=stage.seed,
            step=step,
        )
        logits = classifier(means(views(clips, batch, stage.view, cut), dropped)).log_softmax(dim=1)
        smooth = stage.label_smoothing
        wanted = functional.one_hot(labels[batch], parts.num_classes) * (1 - smooth) + smooth / parts.num_classes
        optimiser.zero_grad()
        torch.autograd.backward(-(wanted * logits).sum(dim=1).mean())
        optimiser.step()
    centre = View(frames=stage.view.frames, crop=(stage.crop,))
    measured = torch.from_numpy(parts.measured)
    x = views(clips, measured, centre, draw(centre, clips.valid[measured], None))
    said = classifier.eval()(means(x)).detach()
    named = {f"encoder/{name}": t for name, t in encoder.state_dict().items()}
    return {**named, **{f"classifier/{name}": t for name, t in classifier.state_dict().items()}}, said


@pytest.mark.parametrize("fields", [{}, {"drop_path": 0.0, "dropout": 0.0, "layer_decay": 1.0, "label_smoothing": 0.0}])
def test_it_is_a_plain_loop(tiny: Tiny, tmp_path: Path, fields: dict[str, Any]) -> None:
    stage, workplace = precise(tiny, **fields), tiny.workplace(tmp_path)
    assert realise(stage, workplace).status == "finished"
    state, logits = slow_training(tiny, workplace.store, stage)
    found = output(workplace.store, stage)
    assert len(found.pop("losses")) == 9
    assert apart(found, state) < 1e-7
    ours = predictions(workplace.store, stage)
    torch.testing.assert_close(ours["scores"].double(), logits, rtol=0, atol=1e-5)
    assert torch.equal(ours["predicted"], logits.argmax(dim=1))
    parts = split(stage.data, Packed.open(tiny.packed))
    assert ours["row"].tolist() == parts.measured.tolist()
    assert ours["label"].tolist() == parts.labels[parts.measured].tolist()
    hits = float((ours["predicted"] == ours["label"]).double().mean())
    assert read_numbers(workplace.store, stage)[0].value == hits


@pytest.mark.parametrize("fields", [{}, {"drop_path": 0.0, "data_subjects": (2,), "batch_size": 4, "measure_every": 2}])
def test_the_number_of_workers_changes_nothing(tiny: Tiny, tmp_path: Path, fields: dict[str, Any]) -> None:
    if subjects := fields.pop("data_subjects", None):
        fields["data"] = replace(tiny.data, validation_subjects=subjects)
    stage = precise(tiny, **fields)
    plain, shared = tiny.workplace(tmp_path / "plain"), tiny.workplace(tmp_path / "shared")
    for workplace in (plain, shared):
        realise(stage.start, workplace)
    realise(stage, plain)
    as_workers(2, tmp_path / "meeting", gloo.train, tiny, shared.store.location, (stage,))
    assert apart(output(plain.store, stage), output(shared.store, stage)) < 1e-7
    assert apart(predictions(plain.store, stage), predictions(shared.store, stage)) < 1e-6
    assert read_numbers(plain.store, stage) == read_numbers(shared.store, stage)


def gradients(tiny: Tiny, store: Store, runtime: Runtime) -> dict[str, Tensor]:
    """Of the first step, on this worker."""
    stage = precise(tiny)
    parts = split(stage.data, Packed.open(tiny.packed))
    encoder = stage.begin(store.output(stage.start), torch.device("cpu"))
    classifier = stage.classifier(parts.num_classes).double()
    task = FineTuning(stage, encoder, classifier, parts, runtime)
    torch.autograd.backward(task.loss(0))
    named = [*encoder.named_parameters(prefix="encoder"), *classifier.named_parameters(prefix="classifier")]
    return {name: parameter.grad for name, parameter in named if parameter.grad is not None}


def write_gradients(tiny: Tiny, location: Path, out: Path) -> None:
    runtime = gloo.runtime_of(location, precise(tiny))
    found = gradients(tiny, runtime.store, runtime)
    save_file(found, out / f"{runtime.rank}.safetensors")


def test_every_worker_has_the_global_batchs_gradient(tiny: Tiny, tmp_path: Path) -> None:
    """AdamW forgives a factor, so that weights alone would hide a mistake in the gathering."""
    workplace = tiny.workplace(tmp_path / "store")
    realise(precise(tiny).start, workplace)
    expected = gradients(tiny, workplace.store, PlainRuntime())
    as_workers(2, tmp_path / "meeting", write_gradients, tiny, workplace.store.location, tmp_path)
    for rank in range(2):
        assert apart(load_file(tmp_path / f"{rank}.safetensors"), expected) < 1e-12
    assert min(float(g.abs().max()) for name, g in expected.items() if name != "classifier.fc1.bias") > 1e-6


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_training_ends_with_the_same_bits(tiny: Tiny, tmp_path: Path, epoch: int) -> None:
    stage = finetune(tiny)
    whole, broken = tiny.workplace(tmp_path / "whole"), tiny.workplace(tmp_path / "broken")
    assert realise(stage, whole).status == "finished"
    answers = iter((False,) * (epoch - 1) + (True,))
    with pytest.raises(Interrupted):
        realise(stage, broken, make_plain(stop=answers.__next__))
    after: list[int] = []
    realise(stage, broken, make_plain(on_report=lambda _, step: after.append(step)))
    assert after == [3, 6, 9][epoch:]
    assert equal(output(whole.store, stage), output(broken.store, stage))
    for name in ("predictions.parquet", NUMBERS):
        assert (whole.store.output(stage) / name).read_bytes() == (broken.store.output(stage) / name).read_bytes()


def killed_after(step: int, tiny: Tiny, location: Path) -> None:
    """Train, with a checkpoint after every step, and die at the report of one in the middle of an epoch."""

    def report(_: Mapping[str, float], done: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    workplace = tiny.workplace(location)
    attempt = workplace.store.begin(finetune(tiny))
    runtime = PlainRuntime(
        store=workplace.store, attempt=attempt, on_report=report, checkpoint_seconds=0.0, look_seconds=0.0
    )
    perform(attempt, workplace, runtime)


def test_a_training_killed_within_an_epoch_ends_with_the_same_bits(tiny: Tiny, tmp_path: Path) -> None:
    stage = finetune(tiny)
    whole, broken = tiny.workplace(tmp_path / "whole"), tiny.workplace(tmp_path / "broken")
    assert realise(stage, whole).status == "finished"
    realise(stage.start, broken)
    assert ended(start(killed_after, 5, tiny, tmp_path / "broken")) == -signal.SIGKILL
    assert broken.store.outcome(stage) is None
    after: list[int] = []
    realise(stage, broken, make_plain(on_report=lambda _, step: after.append(step)))
    assert after == [6, 9], "from the fourth step on"
    assert equal(output(whole.store, stage), output(broken.store, stage))
    assert read_numbers(whole.store, stage) == read_numbers(broken.store, stage)


def test_the_best_epoch_stands_beside_the_last_and_says_who_chose_it(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two equally good epochs the first; what was not measured cannot be best."""
    right = iter([5, 7, 7, 4, 0, 0])

    def say(task: FineTuning) -> Tensor:
        wanted, number = task.labels[task.measured], next(right)
        said = torch.where(torch.arange(len(wanted)) < number, wanted, (wanted + 1) % task.parts.num_classes)
        return functional.one_hot(said, task.parts.num_classes).float()

    monkeypatch.setattr(FineTuning, "logits", say)
    every = finetune(tiny, epochs=4)
    seldom = finetune(tiny, epochs=4, measure_every=3)
    workplace = tiny.workplace(tmp_path)
    told = {}
    for stage in (every, seldom):
        assert realise(stage, workplace).status == "finished"
        told[stage] = [(n.selected_on, n.epoch, n.value) for n in read_numbers(workplace.store, stage)]
    assert told[every] == [("none", 4, 4 / 8), ("test", 2, 7 / 8)]
    assert told[seldom] == [("none", 4, 0.0), ("test", 3, 0.0)]
    rows = read(workplace.store).to_pylist()
    assert {(row["probe"], row["split"], row["metric"], row["count"]) for row in rows} == {
        ("finetune", "test", "accuracy", 8)
    }


def test_validation_subjects_choose_on_val(tiny: Tiny, tmp_path: Path) -> None:
    stage = finetune(tiny, data=replace(tiny.data, validation_subjects=(2,)))
    workplace = tiny.workplace(tmp_path)
    assert realise(stage, workplace).status == "finished"
    assert [(n.split, n.selected_on) for n in read_numbers(workplace.store, stage)] == [("val", "none"), ("val", "val")]


def test_it_learns_what_it_is_shown(tiny: Tiny, tmp_path: Path) -> None:
    stage = finetune(tiny, epochs=30, warmup_epochs=3, learning_rate=1e-2, layer_decay=1.0, drop_path=0.1)
    workplace = tiny.workplace(tmp_path)
    assert realise(stage, workplace).status == "finished"
    assert read_numbers(workplace.store, stage)[0].value > 0.5


def test_what_is_kept_says_what_was_predicted(tiny: Tiny, tmp_path: Path) -> None:
    stage, workplace = finetune(tiny), tiny.workplace(tmp_path)
    assert realise(stage, workplace).status == "finished"
    folder = workplace.store.output(stage)
    encoder = load_encoder(folder, stage.encoder_shape(), torch.device("cpu"), torch.float32)
    classifier = load_classifier(folder, torch.device("cpu"), torch.float32)
    said = predictions(workplace.store, stage)
    clips, centre = Clips(Packed.open(tiny.packed)), View(frames=16, crop=(0.95,))
    x = views(clips, said["row"], centre, draw(centre, clips.valid[said["row"]], None))
    with torch.no_grad():
        torch.testing.assert_close(classifier(JointMeans(encoder)(x)), said["scores"], rtol=0, atol=1e-6)
