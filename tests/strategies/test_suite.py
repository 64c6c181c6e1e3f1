"""What every strategy keeps to, run on each that exists.

A new strategy is found by itself; it needs a line in `SMALL` and one a field in `OTHERWISE`.
"""

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import stars.strategies
from stars.data.packed import Packed
from stars.execute import realise
from stars.fit import Interrupted, fit
from stars.model.encoder import Encoder, initialise
from stars.runtime import PlainRuntime
from stars.stage import decode, encode, fingerprint
from stars.strategies.dino import DINO
from stars.strategies.moco import MoCo
from stars.strategies.nnclr import NNCLR
from stars.strategies.strategy import Batch, Strategy
from stars.tune import Tune, Tuning
from tests.training import Tiny, apart, equal, make_plain, output

DISTIL = DINO(outputs=16, momentum=0.9, num_locals=1, local_frames=8)
CENTRING = replace(DISTIL, assignment="centring")
WARM = replace(DISTIL, temperature_epochs=3, first_teacher_temperature=0.08)

SMALL: dict[type[Strategy], Strategy] = {
    NNCLR: NNCLR(queue_size=20, hidden=32),
    MoCo: MoCo(queue_size=20, hidden=32, momentum=0.9),
    DINO: DISTIL,
}
"""Each at a size for tests, with a teacher that moves far enough within a few steps to be seen."""

OTHERWISE: dict[type[Strategy], dict[str, Any]] = {
    NNCLR: {
        "queue_size": 21,
        "temperature": 0.5,
        "neighbours": 3,
        "exclude_own_sample": False,
        "hidden": 33,
        "num_views": 2,
        "symmetric": True,
    },
    MoCo: {
        "queue_size": 21,
        "temperature": 0.5,
        "momentum": 0.5,
        "hidden": 33,
        "same_start": False,
        "published_world": 2,
    },
    DINO: {
        "num_globals": 3,
        "num_locals": 0,
        "local_crop": (0.8, 0.9),
        "local_frames": 12,
        "outputs": 17,
        "student_temperature": 0.2,
        "teacher_temperature": 0.08,
        "first_teacher_temperature": (WARM, 0.06),
        "temperature_epochs": (WARM, 1),
        "momentum": 0.5,
        "final_momentum": 0.5,
        "momentum_epoch_steps": 30,
        "late_momentum": True,
        "assignment": "none",
        "centre_momentum": (CENTRING, 0.5),
        "centre_sum": (CENTRING, True),
        "koleo_weight": 0.2,
        "koleo_chunks": True,
        "group_size": 4,
        "same_start": False,
    },
}
"""Another value of every field; with it the strategy to change, where the field counts in some only."""


def found() -> Iterator[type[Strategy]]:
    for module in pkgutil.walk_packages(stars.strategies.__path__, "stars.strategies."):
        for _, member in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(member, Strategy) and member is not Strategy and member.__module__ == module.name:
                yield member


EVERY = tuple(found())
every_strategy = pytest.mark.parametrize("cls", EVERY, ids=lambda cls: str(cls.__name__))
every_field = pytest.mark.parametrize(
    ("cls", "field"), [(cls, item.name) for cls in EVERY for item in fields(cls)], ids=str
)


def test_the_strategies_of_the_paper_are_there() -> None:
    assert {NNCLR, MoCo, DINO} <= set(EVERY)


@dataclass(frozen=True, kw_only=True)
class Second(PlainRuntime):
    """One of two workers whose partner is not there: it gathers nothing."""

    number: int

    @property
    def rank(self) -> int:
        return self.number

    @property
    def world_size(self) -> int:
        return 2


def tuning(tiny: Tiny, strategy: Strategy, runtime: PlainRuntime | None = None, **changes: Any) -> Tuning:
    """The task of 6 steps in 2 epochs, in double precision, on an encoder as initialised."""
    stage1 = replace(tiny.recipe.stage1, precision="float64")
    settings = {"start": stage1, "strategy": strategy, "epochs": 2, "precision": "float64", **changes}
    stage: Tune = replace(tiny.recipe.stage2, **settings)
    encoder = Encoder(stage.encoder_shape())
    initialise(encoder, torch.Generator().manual_seed(1))
    objective = strategy.build(stage.encoder_shape().width, torch.Generator().manual_seed(2))
    return Tuning(stage, encoder.double(), objective.double(), Packed.open(tiny.packed), runtime or PlainRuntime())


def state_of(task: Tuning) -> dict[str, Tensor]:
    """Everything that training changes."""
    return {
        f"{part}/{name}": tensor.clone()
        for part, module in task.modules.items()
        for name, tensor in module.state_dict().items()
    }


@functools.cache
def losses_of(tiny: Tiny, strategy: Strategy) -> list[float]:
    """Of the first five steps."""
    task = tuning(tiny, strategy)
    task.num_steps = 5
    return fit(task, PlainRuntime())


@every_strategy
def test_its_value_is_written_and_read(cls: type[Strategy]) -> None:
    for strategy in (cls(), SMALL[cls]):
        assert decode(encode(strategy)) == strategy
    assert fingerprint(cls()) != fingerprint(SMALL[cls])


@every_strategy
def test_its_start_comes_from_the_generator_alone(cls: type[Strategy]) -> None:
    before = torch.get_rng_state()
    first, again, other = (SMALL[cls].build(6, torch.Generator().manual_seed(seed)).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(first, again)
    assert not equal(first, other)
    assert all(bool(tensor.isfinite().all()) for tensor in first.values())


@every_strategy
def test_it_trains_what_is_tuned_and_nothing_else(cls: type[Strategy], tiny: Tiny) -> None:
    task = tuning(tiny, SMALL[cls], freeze_shifts=False, tuned_blocks=1)
    before = state_of(task)
    loss = task.loss(0)
    assert bool(loss.isfinite())
    torch.autograd.backward(loss)
    named = {name: p for name, p in task.encoder.named_parameters() if name.startswith(("blocks.1.", "norm."))}
    named |= {f"head.{name}": p for name, p in task.objective.head.named_parameters()}
    shifts = SMALL[cls].shifts()
    assert set(shifts) <= named.keys()
    for name, parameter in named.items():
        assert parameter.grad is not None, name
        size = float(parameter.grad.abs().max())
        assert size < 1e-12 if name in shifts else size > 1e-9, f"{name}: {size}"
    everything = {p for module in task.modules.values() for p in module.parameters()}
    assert all(parameter.grad is None for parameter in everything - set(named.values()))
    optimised = {p for group in task.optimiser.param_groups for p in group["params"]}
    assert optimised == set(named.values())
    changed = {name for name, tensor in state_of(task).items() if not torch.equal(tensor, before[name])}
    assert not changed & {f"encoder/{name}" for name, _ in task.encoder.named_parameters()}


@every_strategy
def test_what_it_remembers_is_in_its_state(cls: type[Strategy], tiny: Tiny) -> None:
    """From the state after three steps, the next loss and what it leaves are the same to the last bit."""
    straight, resumed = tuning(tiny, SMALL[cls]), tuning(tiny, SMALL[cls])
    straight.num_steps = 3
    fit(straight, PlainRuntime())
    kept = state_of(straight)
    for part, module in resumed.modules.items():
        prefix = f"{part}/"
        module.load_state_dict({n.removeprefix(prefix): t for n, t in kept.items() if n.startswith(prefix)})
    assert torch.equal(straight.loss(3), resumed.loss(3))
    assert equal(state_of(straight), state_of(resumed))
    assert not equal(state_of(straight), kept), "a loss leaves something behind"


@every_strategy
def test_evaluation_leaves_it_alone(cls: type[Strategy], tiny: Tiny) -> None:
    task = tuning(tiny, SMALL[cls])
    given: list[Batch] = []
    handle = task.objective.register_forward_pre_hook(lambda _, batch: given.extend(batch))
    task.loss(0)
    handle.remove()
    task.objective.eval()
    before = state_of(task)
    assert bool(task.objective(given[0]).isfinite())
    assert equal(state_of(task), before)


@every_strategy
def test_two_workers_see_together_what_one_sees(cls: type[Strategy], tiny: Tiny) -> None:
    whole = tuning(tiny, SMALL[cls])
    halves = [tuning(tiny, SMALL[cls], Second(number=number)) for number in range(2)]
    rows = whole.batch(1)
    assert torch.equal(rows, halves[1].batch(1))
    expected, *parts = (task.features(rows, step=1) for task in (whole, *halves))
    for who in range(2):
        assert len(expected[who]) == len(parts[0][who])
        for look, together in enumerate(expected[who]):
            joined = torch.cat([part[who][look] for part in parts])
            torch.testing.assert_close(joined, together, rtol=1e-11, atol=1e-13)


@every_strategy
def test_its_teacher_follows(cls: type[Strategy], tiny: Tiny) -> None:
    task = tuning(tiny, SMALL[cls], clip=1e9)
    has_teacher = any(look.teacher for look in SMALL[cls].looks(task.stage.view))
    assert has_teacher == (task.teacher is not None) == (task.objective.teacher_head is not None)
    if task.teacher is None or task.objective.teacher_head is None:
        return
    pairs = ((task.teacher, task.student), (task.objective.teacher_head, task.objective.head))
    assert all(equal(teacher.state_dict(), student.state_dict()) for teacher, student in pairs)
    fit(task, PlainRuntime())
    for teacher, student in pairs:
        assert not any(parameter.requires_grad for parameter in teacher.parameters())
        assert 0 < apart(teacher.state_dict(), student.state_dict()) < 1


@every_field
def test_every_field_changes_something(cls: type[Strategy], field: str, tiny: Tiny) -> None:
    given = OTHERWISE[cls][field]
    base, other = given if isinstance(given, tuple) and isinstance(given[0], Strategy) else (SMALL[cls], given)
    changed = replace(base, **{field: other})
    assert getattr(changed, field) != getattr(base, field)
    assert losses_of(tiny, base) != losses_of(tiny, changed)


@every_strategy
@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_that_is_interrupted_ends_with_the_same_bits(
    cls: type[Strategy], epoch: int, tiny: Tiny, tmp_path: Path
) -> None:
    stage = replace(tiny.recipe.stage2, strategy=SMALL[cls])
    calm, shaken = (tiny.workplace(tmp_path / name) for name in ("calm", "shaken"))
    assert realise(stage, calm).status == "finished"
    realise(stage.start, shaken)
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) == epoch

    with pytest.raises(Interrupted):
        realise(stage, shaken, make_plain(stop=stop))
    reported: list[int] = []
    make = make_plain(on_report=lambda _, step: reported.append(step))
    assert realise(stage, shaken, make).status == "finished"
    assert reported == [3, 6, 9][epoch:], "what was saved is not computed again"
    ours = output(shaken.store, stage)
    assert equal(ours, output(calm.store, stage))
    assert any(name.startswith("teacher/") for name in ours) == stage.has_teacher()
