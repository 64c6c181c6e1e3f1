"""DINO tuning, its loss and its schedules against the numbers of the published code."""

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from stars.strategies.dino import DINO, DINOObjective, distil, koleo, outputs
from stars.strategies.strategy import Moment
from tests.conformance.three_steps import Case, ThreeSteps, close
from tests.conformance.translate import our_batch
from tests.conformance.vectors import load

PARTS, PARTS_META = load("f_dino_loss_parts")
SIZE = PARTS_META["hyperparameters"]
ASSIGNMENTS: dict[str, Literal["sinkhorn", "centring", "none"]] = {
    "sinkhorn_knopp": "sinkhorn",
    "centering": "centring",
    "none": "none",
}


def entropy(targets: Tensor) -> Tensor:
    """Mean over rows; 0 log 0 is 0."""
    summed: Tensor = torch.special.entr(targets).sum(dim=-1)
    return summed.mean()


def look(case: Case, step: int, number: int) -> Tensor:
    return our_batch(case.arrays[f"step{step}/views"][number]).double()


def check_student(task: ThreeSteps, step: int) -> None:
    """What the published code computes on the way to its loss; the teacher is a copy that follows ahead of the run."""
    objective = copy.deepcopy(task.objective)
    assert isinstance(objective, DINOObjective)
    arrays, settings = task.case.under(f"step{step}"), objective.settings
    pooled = [task.encoder.pooled(look(task.case, step, number)) for number in range(settings.num_globals)]
    student = outputs(objective.head, tuple(pooled))
    close(student.flatten(0, 1), arrays["student"])
    teacher = torch.from_numpy(arrays["teacher"]).double().view_as(student)
    targets = objective.targets(teacher, epoch=0)
    loss = distil(student / settings.student_temperature, targets)
    close(loss, arrays["loss_ce"])
    close(entropy(targets), arrays["entropy"])
    close(loss - entropy(targets), arrays["kl"])
    close(settings.koleo_weight * objective.regulariser(student), arrays["koleo_official"])
    intended = settings.koleo_weight * koleo(student).sum()
    close(intended, arrays["koleo_intended"])


def test_three_steps_of_dino(tmp_path: Path) -> None:
    arrays, meta = load("f_dino_3steps")
    size = meta["hyperparameters"]
    # The schedule is read one epoch late, so that what is used first says how long an epoch is.
    schedule = arrays["momentum_schedule"]
    steps_per_epoch = int(np.abs(schedule - arrays["momentum_used"][0]).argmin())
    epochs = len(schedule) // steps_per_epoch
    strategy = DINO(
        num_globals=size["n_globals"],
        num_locals=size["n_locals"],
        outputs=size["fd"],
        student_temperature=size["student_temp"],
        teacher_temperature=size["teacher_temp"],
        momentum=float(schedule[0]),
        late_momentum=True,
        koleo_chunks=True,
        same_start=False,
    )
    case = Case(
        "f_dino_3steps",
        look,
        num_samples=steps_per_epoch * size["B"],
        epochs=epochs,
        before=check_student,
        tuned_blocks=size["depth"] - 4,
    )
    task = case.task(tmp_path / "blank", strategy)
    taught: list[Tensor] = []
    assert task.objective.teacher_head is not None
    task.objective.teacher_head.register_forward_hook(lambda _, given, told: taught.append(told))

    def after(metrics: Mapping[str, float], number: int) -> None:
        step = case.under(f"step{number}")
        close(torch.tensor(metrics["loss"]), step["total"])
        close(torch.nn.functional.normalize(taught[number], dim=2).flatten(0, 1), step["teacher"])

    task.run(after)
    assert len(taught) == 3
    task.compare_final(case.under("final"))
    moments = [Moment(step=step, steps_per_epoch=steps_per_epoch, epochs=epochs) for step in range(len(schedule))]
    used = [strategy.momentum_at(moment) for moment in moments[:3]]
    np.testing.assert_allclose(used, arrays["momentum_used"], rtol=1e-12)
    on_time = replace(strategy, late_momentum=False)
    np.testing.assert_allclose([on_time.momentum_at(m) for m in moments], schedule, rtol=1e-12)


def test_momentum_schedule() -> None:
    arrays, meta = load("e_momentum_schedule")
    size = meta["hyperparameters"]
    strategy = DINO(momentum=size["base_value"], final_momentum=float(size["final_value"]))
    counted = replace(strategy, momentum_epoch_steps=size["niter_per_ep"])
    for schedule, steps_per_epoch in ((strategy, size["niter_per_ep"]), (counted, size["niter_per_ep"] // 4)):
        at = [Moment(step=i, steps_per_epoch=steps_per_epoch, epochs=size["epochs"]) for i in arrays["index"].tolist()]
        np.testing.assert_allclose([schedule.momentum_at(m) for m in at], arrays["value"], rtol=1e-12)


def objective_of(assignment: Literal["sinkhorn", "centring", "none"], num_locals: int) -> DINOObjective:
    strategy = DINO(
        num_locals=num_locals,
        outputs=SIZE["K"],
        student_temperature=SIZE["student_temp"],
        first_teacher_temperature=SIZE["warmup_teacher_temp"],
        teacher_temperature=SIZE["teacher_temp"],
        temperature_epochs=SIZE["warmup_epochs"],
        centre_momentum=SIZE["center_momentum"],
        centre_sum=True,
        assignment=assignment,
    )
    return strategy.build(1, torch.Generator().manual_seed(0))


def by_view(rows: NDArray[Any]) -> Tensor:
    return torch.from_numpy(rows).view(-1, SIZE["B"], SIZE["K"])


@pytest.mark.parametrize("num_locals", [0, 2])
@pytest.mark.parametrize("published", ASSIGNMENTS)
def test_loss_of_every_assignment(published: str, num_locals: int) -> None:
    objective = objective_of(ASSIGNMENTS[published], num_locals)
    teacher, student = by_view(PARTS["teacher"]), by_view(PARTS[f"student_l{num_locals}"]).requires_grad_()
    prefix = f"{published}/l{num_locals}"
    # In this order: the centre moves after each call.
    for epoch in (0, 1, 5):
        targets = objective.targets(teacher, epoch)
        loss = distil(student / SIZE["student_temp"], targets)
        close(torch.stack([loss, loss - entropy(targets), entropy(targets)]), PARTS[f"{prefix}/e{epoch}"])
        if objective.settings.assignment == "centring":
            objective.follow_centre(teacher)
    torch.autograd.backward(loss)
    assert student.grad is not None
    close(student.grad.flatten(0, 1), PARTS[f"{prefix}/grad"])
    close(objective.centre, PARTS[f"{prefix}/center"])


def test_teacher_temperature() -> None:
    strategy = objective_of("none", 0).settings
    ours = [strategy.teacher_temperature_at(epoch) for epoch in range(SIZE["epochs"])]
    np.testing.assert_allclose(ours, PARTS["temp_schedule"], rtol=1e-12)


def test_koleo() -> None:
    rows = torch.from_numpy(PARTS["koleo_x"]).requires_grad_()
    (loss,) = koleo(rows[None])
    close(loss, PARTS["koleo"])
    torch.autograd.backward(loss)
    assert rows.grad is not None
    close(rows.grad, PARTS["koleo_grad"])
    twice = rows.detach().clone()
    twice[3] = twice[7]
    close(koleo(twice[None])[0], PARTS["koleo_dup"])
