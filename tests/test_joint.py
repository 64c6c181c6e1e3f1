"""Masked prediction and contrast in one stage: both losses, every gradient, resumed, and what is refused."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stars import draws
from stars.data.packed import Packed
from stars.encoders import load_encoder
from stars.execute import realise
from stars.fit import Interrupted
from stars.joint import Joint, JointTask
from stars.pretrain import Pretrain
from stars.runtime import PlainRuntime
from stars.stage import decode, encode
from stars.strategies.dino import DINO
from stars.strategies.moco import MoCo
from stars.strategies.nnclr import NNCLR
from stars.strategies.strategy import Batch, Moment
from tests.training import Tiny, equal, make_plain, output, precise


def joint(tiny: Tiny, **changed: Any) -> Joint:
    stage1 = precise(tiny.recipe).stage1
    shared = {item.name: getattr(stage1, item.name) for item in fields(Pretrain)}
    given: dict[str, Any] = {"strategy": NNCLR(queue_size=20, hidden=32), "contrast_weight": 0.5}
    return Joint(**{**shared, **given, **changed})


def task_of(stage: Joint, tiny: Tiny) -> JointTask:
    model = stage.model().to(torch.float64)
    task = stage.task(model, Packed.open(tiny.packed), PlainRuntime())
    assert isinstance(task, JointTask)
    return task


def test_the_loss_is_the_sum_of_both(tiny: Tiny) -> None:
    stage = joint(tiny)
    task, step = task_of(stage, tiny), 1
    rows = task.batch(step)
    x, uniform = task.see(rows, step)
    masked = stage.model().double()(x, uniform).loss
    objective = stage.strategy.build(16, draws.generator(stage.seed, 0, "objective")).double()
    pooled = torch.stack([task.model.pooled(one[None])[0] for one in x])
    moment = Moment(step=step, steps_per_epoch=task.steps_per_epoch, epochs=stage.epochs)
    contrast = objective(Batch(student=(pooled,), sample_ids=rows, moment=moment))
    loss = task.loss(step)
    torch.testing.assert_close(loss, masked + 0.5 * contrast, rtol=1e-9, atol=0)
    torch.autograd.backward(loss)
    for name, parameter in task.trained().named_parameters():
        assert parameter.grad is not None, name
    queue = task.objective.queue.T
    assert isinstance(queue, torch.Tensor)
    assert not torch.equal(queue, objective.queue), "what was looked at has entered the queue"


def test_it_leaves_an_encoder_and_a_head(tiny: Tiny, tmp_path: Path) -> None:
    stage, workplace = joint(tiny), tiny.workplace(tmp_path)
    assert realise(stage, workplace).status == "finished"
    folder = workplace.store.output(stage)
    assert {path.name for path in folder.glob("*.safetensors")} == {
        f"{part}.safetensors" for part in ("encoder", "decoder", "objective")
    }
    load_encoder(folder, stage.encoder, torch.device("cpu"), torch.float64)
    stage.strategy.build(16, torch.Generator()).load_state_dict(load_file(folder / "objective.safetensors"))
    assert decode(encode(stage)) == stage


def test_interrupted_in_the_middle_it_ends_with_the_same_bits(tiny: Tiny, tmp_path: Path) -> None:
    stage = joint(tiny)
    undisturbed = tiny.workplace(tmp_path / "undisturbed")
    realise(stage, undisturbed)
    workplace, asked = tiny.workplace(tmp_path / "interrupted"), list[None]()

    def stop() -> bool:
        asked.append(None)
        return len(asked) == 1

    with pytest.raises(Interrupted):
        realise(stage, workplace, make_plain(stop=stop))
    realise(stage, workplace, make_plain())
    assert equal(output(workplace.store, stage), output(undisturbed.store, stage))


def test_the_weight_has_an_effect(tiny: Tiny) -> None:
    masked, half, whole = (task_of(joint(tiny, contrast_weight=weight), tiny).loss(0) for weight in (1e-12, 0.5, 1.0))
    torch.testing.assert_close(whole - masked, 2 * (half - masked), rtol=1e-9, atol=0)
    assert whole > masked


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"contrast_weight": 0.0}, r"Joint.contrast_weight is 0.0; allowed: above 0"),
        ({"strategy": NNCLR(num_views=2)}, "Joint.strategy is NNCLR.*; allowed: one with a single view and no teacher"),
        ({"strategy": MoCo()}, "allowed: one with a single view and no teacher"),
        ({"strategy": DINO()}, "allowed: one with a single view and no teacher"),
        ({"batch_size": 1}, r"Joint.batch_size is 1; allowed: 2 or more"),
        ({"warmup_epochs": -1}, "warmup_epochs is -1"),
    ],
)
def test_what_cannot_be_trained_jointly_is_refused(tiny: Tiny, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joint(tiny, **changed)


def test_a_horizon_belongs_to_the_whole(tiny: Tiny) -> None:
    short = joint(tiny, horizon=1)
    assert short.whole() == joint(tiny)
    assert replace(short, horizon=None) == joint(tiny)
