"""MoCo tuning against the numbers of the published code."""

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from stars.strategies.moco import MoCo, MoCoObjective
from tests.conformance.three_steps import Case, ThreeSteps, close
from tests.conformance.translate import our_batch


def look(case: Case, step: int, number: int) -> Tensor:
    return our_batch(case.arrays["seq_k" if number else "seq_q"][step]).double()


def check_student(task: ThreeSteps, step: int) -> None:
    """The logits before the loss, from keys of the vectors; a copy keeps the run's buffers as they are."""
    objective = copy.deepcopy(task.objective)
    assert isinstance(objective, MoCoObjective)
    arrays = task.case.under(f"step{step}")
    with torch.no_grad():
        query = functional.normalize(objective.head(task.encoder.pooled(look(task.case, step, 0)))[1], dim=1)
        close(objective.logits(query, torch.from_numpy(arrays["k"]).double()), arrays["logits"])


def task_of(case: Case, folder: Path, published_world: int | None) -> tuple[ThreeSteps, MoCoObjective]:
    size = case.size
    strategy = MoCo(
        queue_size=size["K"],
        temperature=size["Temp"],
        momentum=size["m"],
        hidden=size["hidden"],
        same_start=False,
        published_world=published_world,
    )
    task = case.task(folder, strategy)
    objective = task.objective
    assert isinstance(objective, MoCoObjective)
    objective.queue.copy_(torch.from_numpy(case.arrays["queue_init"]))
    return task, objective


def test_three_steps_of_moco(tmp_path: Path) -> None:
    case = Case("f_moco_3steps", look, before=check_student)
    task, objective = task_of(case, tmp_path / "blank", published_world=1)

    def after(metrics: Mapping[str, float], number: int) -> None:
        step = case.under(f"step{number}")
        close(torch.tensor(metrics["loss"]), step["loss"])
        close(objective.queue, step["queue"])
        np.testing.assert_array_equal(objective.queue_ptr, step["ptr_after_step"])

    task.run(after)
    task.compare_final(case.under("final"))


def test_a_pointer_moved_once_is_where_the_published_code_first_moves_it(tmp_path: Path) -> None:
    case = Case("f_moco_3steps", look)
    task, objective = task_of(case, tmp_path / "blank", published_world=None)

    def after(metrics: Mapping[str, float], number: int) -> None:
        step = case.under(f"step{number}")
        moved_twice = number * case.size["B"]
        assert int(objective.queue_ptr) == int(step["ptr_after_enqueue"]) - moved_twice
        if number == 0:
            close(torch.tensor(metrics["loss"]), step["loss"])
            close(objective.queue, step["queue"])

    task.run(after)
