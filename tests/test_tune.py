"""Stage 2: each look is encoded once, a tuning goes on from another, and what cannot be is refused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from stars import tune
from stars.data.batches import View
from stars.data.packed import Packed
from stars.execute import realise
from stars.model.encoder import Encoder, initialise
from stars.model.halves import lower_half
from stars.runtime import PlainRuntime
from stars.stage import decode, encode
from stars.strategies.dino import DINO
from stars.strategies.moco import MoCo
from stars.strategies.nnclr import NNCLR
from stars.strategies.strategy import Strategy
from stars.tune import OBJECTIVE_FILE, TEACHER_FILE, Tune, Tuning
from tests.training import Tiny, apart, equal, output

STRATEGIES: dict[str, Strategy] = {
    "nnclr": NNCLR(queue_size=20, hidden=32),
    "two views": NNCLR(queue_size=20, hidden=32, num_views=2),
    "symmetric": NNCLR(queue_size=20, hidden=32, num_views=2, symmetric=True),
    "moco": MoCo(queue_size=20, hidden=32, momentum=0.9),
    "dino": DINO(outputs=16, momentum=0.9),
}
WHOLE = View(frames=16, crop=(1.0,))
WHOLE_BY_LOT = View(frames=16, crop=(1.0, 1.0))
"""The same look, of which the code must believe that it is drawn."""

every_strategy = pytest.mark.parametrize("name", STRATEGIES)


def tuning(tiny: Tiny, name: str, **changes: Any) -> Tuning:
    """The task in double precision, on an encoder as initialised."""
    start = replace(tiny.recipe.stage1, precision="float64")
    stage = replace(tiny.recipe.stage2, start=start, strategy=STRATEGIES[name], precision="float64", **changes)
    encoder = Encoder(stage.encoder_shape())
    initialise(encoder, torch.Generator().manual_seed(1))
    objective = stage.strategy.build(stage.encoder_shape().width, torch.Generator().manual_seed(2))
    return Tuning(stage, encoder.double(), objective.double(), Packed.open(tiny.packed), PlainRuntime())


def gradients(task: Tuning) -> dict[str, Tensor]:
    """Of the first step, and its loss."""
    loss = task.loss(0)
    torch.autograd.backward(loss)
    named = [*task.encoder.named_parameters(), *task.objective.head.named_parameters(prefix="head")]
    return {"loss": loss.detach(), **{name: p.grad for name, p in named if p.grad is not None}}


@pytest.mark.parametrize(
    ("name", "fixed", "drawn"),
    [
        *(("nnclr", (1, 1, 0), (1, 1, 0)), ("two views", (1, 1, 0), (2, 2, 0)), ("symmetric", (1, 1, 0), (2, 2, 0))),
        *(("moco", (1, 1, 1), (2, 1, 1)), ("dino", (1, 1, 1), (2, 2, 2))),
    ],
)
def test_equal_looks_are_one_and_give_the_same_numbers(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, name: str, fixed: tuple[int, ...], drawn: tuple[int, ...]
) -> None:
    """Passes through the frozen half, and through the student's and the teacher's upper half."""
    passes = {"lower": 0, "student": 0, "teacher": 0}

    def counted(*given: Any) -> Any:
        passes["lower"] += 1
        return lower_half(*given)

    monkeypatch.setattr(tune, "lower_half", counted)

    def count(half: str) -> Any:
        def add(module: torch.nn.Module, given: Any) -> None:
            passes[half] += len(given[0])

        return add

    found = []
    for view, expected in ((WHOLE, fixed), (WHOLE_BY_LOT, drawn)):
        task = tuning(tiny, name, view=view)
        task.student.register_forward_pre_hook(count("student"))
        if task.teacher is not None:
            task.teacher.register_forward_pre_hook(count("teacher"))
        passes.update(lower=0, student=0, teacher=0)
        found.append(gradients(task))
        assert tuple(passes.values()) == expected
    assert apart(*found) < 1e-12


def test_views_of_other_lengths_reach_the_student(tiny: Tiny) -> None:
    strategy = DINO(outputs=16, num_locals=2, local_frames=8)
    task = tuning(tiny, "dino", view=WHOLE)
    task.stage = replace(task.stage, strategy=strategy)
    seen: list[tuple[int, ...]] = []
    task.student.register_forward_pre_hook(lambda _, given: seen.extend(tuple(b.tokens.shape[1:]) for b in given[0]))
    student, teacher = task.features(task.batch(0), 0)
    joints = tiny.data.joints
    assert seen == [(4 * joints, 16), (2 * joints, 16), (2 * joints, 16)], "the two equal global views are one"
    assert [len(student), len(teacher)] == [4, 2]
    assert torch.equal(student[0], student[1])
    assert not torch.equal(student[2], student[3]), "local views are drawn apart"


def three_stages(tiny: Tiny, name: str) -> tuple[Tune, Tune]:
    """The head alone, then head and upper half."""
    head_alone = replace(tiny.recipe.stage2, strategy=STRATEGIES[name], tuned_blocks=0, epochs=1)
    return head_alone, replace(head_alone, start=head_alone, tuned_blocks=None, continue_objective=True, seed=1)


@every_strategy
def test_the_third_of_three_stages_goes_on_with_head_queue_and_teacher(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    second, third = three_stages(tiny, name)
    workplace = tiny.workplace(tmp_path)
    realise(third, workplace)
    left = output(workplace.store, second)
    before = output(workplace.store, tiny.recipe.stage1)
    assert all(torch.equal(t, before[n]) for n, t in left.items() if n.startswith("encoder/")), "the head alone"
    begun: list[dict[str, Tensor]] = []

    def note(task: Tuning, runtime: object) -> list[float]:
        states = {part: module.state_dict() for part, module in task.modules.items()}
        begun.append({f"{part}/{n}": t.clone() for part, state in states.items() for n, t in state.items()})
        return [0.0]

    monkeypatch.setattr(tune, "fit", note)
    for stage in (third, replace(third, continue_objective=False)):
        # Another seed, so that neither is there already.
        realise(replace(stage, seed=7), workplace)
    carried = {n: t for n, t in left.items() if n.startswith(("objective/", "teacher/"))}
    assert carried
    assert all(torch.equal(t, begun[0][n]) for n, t in carried.items())
    assert not all(torch.equal(t, begun[1][n]) for n, t in carried.items())
    for state in begun:
        blocks = {n.removeprefix("teacher/"): t for n, t in state.items() if n.startswith("teacher/blocks.")}
        assert all(torch.equal(t, state[f"encoder/{n}"]) for n, t in blocks.items()), "the teacher has the student's"
        assert bool(blocks) == third.has_teacher()


def test_a_teacher_that_has_moved_is_carried_on(tiny: Tiny, tmp_path: Path) -> None:
    """Blocks that both tune begin where the teacher's ended, the others where the student is."""
    first = replace(tiny.recipe.stage2, strategy=STRATEGIES["moco"], tuned_blocks=1, epochs=1)
    then = replace(first, start=first, tuned_blocks=2, continue_objective=True, epochs=0)
    workplace = tiny.workplace(tmp_path)
    realise(then, workplace)
    ended, begun = (load_file(workplace.store.output(stage) / TEACHER_FILE) for stage in (first, then))
    student = load_file(workplace.store.output(first) / "encoder.safetensors")
    assert not equal(ended, {name: student[name] for name in ended})
    assert {name.split(".")[1] for name in begun.keys() - ended.keys()} == {"0"}
    for name, tensor in begun.items():
        assert torch.equal(tensor, ended.get(name, student[name]))


def test_a_continued_tuning_differs_from_one_begun_anew(tiny: Tiny, tmp_path: Path) -> None:
    _, third = three_stages(tiny, "nnclr")
    workplace = tiny.workplace(tmp_path)
    anew = replace(third, continue_objective=False)
    for stage in (third, anew):
        assert decode(encode(stage)) == stage
        realise(stage, workplace)
    assert not equal(output(workplace.store, third), output(workplace.store, anew))
    ours: Mapping[str, Tensor] = load_file(workplace.store.output(third) / OBJECTIVE_FILE)
    assert int(ours["queue_ptr"]) == (2 * 24) % 20


def test_what_cannot_be_continued_is_refused(tiny: Tiny) -> None:
    second, third = three_stages(tiny, "moco")
    allowed = r"Tune\.continue_objective is True; allowed: False unless start is a Tune with the same strategy and data"
    wrongs: tuple[dict[str, Any], ...] = (
        {"start": tiny.recipe.stage1},
        {"strategy": STRATEGIES["dino"]},
        {"strategy": replace(STRATEGIES["moco"], queue_size=21)},  # type: ignore[call-arg]
        {"data": replace(third.data, name="other")},
    )
    for wrong in wrongs:
        with pytest.raises(ValueError, match=allowed):
            replace(third, **wrong)
    with pytest.raises(ValueError, match=r"Tune\.tuned_blocks is 1; allowed: at least the start's 2 with a teacher"):
        replace(third, start=replace(second, tuned_blocks=2), tuned_blocks=1)
    without = replace(second, strategy=STRATEGIES["nnclr"], tuned_blocks=2)
    replace(third, start=without, strategy=STRATEGIES["nnclr"], tuned_blocks=1)


def test_what_the_strategy_refuses_the_stage_refuses(tiny: Tiny) -> None:
    stage2 = tiny.recipe.stage2
    with pytest.raises(ValueError, match=r"MoCo\.published_world is 3; allowed: a divisor of the batch's 8 samples"):
        replace(stage2, strategy=MoCo(published_world=3))
    with pytest.raises(ValueError, match=r"DINO\.local_frames is 60; allowed: a multiple .* at most its 16 frames"):
        replace(stage2, strategy=DINO(num_locals=2))


def test_fields_that_came_later_leave_old_values_as_they_were(tiny: Tiny) -> None:
    document = encode(tiny.recipe.stage2)
    assert "continue_objective" not in document
    assert "symmetric" not in document["strategy"]  # type: ignore[operator]
