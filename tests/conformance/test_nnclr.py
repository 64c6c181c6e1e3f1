"""NNCLR tuning against the numbers of the published code."""

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stars.strategies.nnclr import NNCLR, NNCLRObjective, contrast
from tests.conformance.fill import filled
from tests.conformance.three_steps import Case, ThreeSteps, close
from tests.conformance.translate import our_batch
from tests.conformance.vectors import load

_OPTIMISER = r"AdamW betas (?P<beta1>\S+),(?P<beta2>\S+) eps (?P<eps>\S+) weight_decay (?P<decay>\S+)"


def objective_with(queue: NDArray[Any], ids: NDArray[Any] | None, pointer: int = 0, **settings: Any) -> NNCLRObjective:
    width, size = queue.shape
    objective = NNCLR(queue_size=size, hidden=2, **settings).build(width, torch.Generator().manual_seed(0))
    objective.queue.copy_(torch.from_numpy(queue))
    if ids is not None:
        objective.queue_id.copy_(torch.from_numpy(ids))
    objective.queue_ptr.fill_(pointer)
    return objective


def test_neighbour_search() -> None:
    arrays, meta = load("f_nn_search")
    projected, ids = torch.from_numpy(arrays["project"]), torch.from_numpy(arrays["ids"])
    nearest = objective_with(arrays["queue"], arrays["queue_id"])
    similarity = nearest.similarities(projected, ids)
    close(similarity, arrays["similarity"])
    close(nearest.neighbours(similarity, None), arrays["nn_top1"])
    close(nearest.queue[:, torch.from_numpy(arrays["top1"])].T, arrays["nn_top1"])
    one_of = objective_with(arrays["queue"], arrays["queue_id"], neighbours=meta["hyperparameters"]["topk"])
    close(one_of.neighbours(similarity, torch.from_numpy(arrays["dice"])), arrays["nn_top5"])
    for rank in range(meta["hyperparameters"]["topk"]):
        always = one_of.neighbours(similarity, torch.full_like(ids, rank))
        close(always, arrays["queue"][:, arrays["top5"][:, rank]].T)


def test_queue_wraps_round() -> None:
    arrays, meta = load("f_queue_wrap")
    objective = objective_with(arrays["queue_before"], None, meta["hyperparameters"]["ptr_before"])
    objective.enqueue(torch.from_numpy(arrays["keys"]), torch.from_numpy(arrays["ids"]))
    np.testing.assert_array_equal(objective.queue, arrays["queue_after"])
    np.testing.assert_array_equal(objective.queue_id, arrays["ids_after"])
    np.testing.assert_array_equal(objective.queue_ptr, arrays["ptr_after"])


def test_loss_and_queue_of_several_workers() -> None:
    arrays, meta = load("f_nnclr_loss_multi_gpu")
    size = meta["hyperparameters"]
    predicted = torch.from_numpy(arrays["predicted"]).requires_grad_()
    loss = contrast(torch.from_numpy(arrays["nn"]), predicted, size["T"])
    close(loss, arrays["loss_per_rank"].mean())
    torch.autograd.backward(loss)
    assert predicted.grad is not None
    close(size["world"] * predicted.grad.view(arrays["grad_per_rank"].shape), arrays["grad_per_rank"])
    before = int(arrays["ptr_after"][0]) - len(predicted)
    objective = objective_with(np.zeros_like(arrays["queue_after"]), None, pointer=before)
    ids = torch.cat([100 * rank + torch.arange(size["B"]) for rank in range(size["world"])])
    objective.enqueue(torch.from_numpy(arrays["nn"]), ids)
    close(objective.queue, arrays["queue_after"])
    np.testing.assert_array_equal(objective.queue_id, arrays["queue_id_after"])
    np.testing.assert_array_equal(objective.queue_ptr, arrays["ptr_after"])


def check_inside(task: ThreeSteps, views: tuple[Tensor, ...], ids: Tensor, step: dict[str, NDArray[Any]]) -> None:
    """What the published code computes on the way to its loss, from a copy that keeps the run's buffers as they are."""
    objective = copy.deepcopy(task.objective)
    assert isinstance(objective, NNCLRObjective)
    with torch.no_grad():
        outputs = [objective.head(task.encoder.pooled(view)) for view in views]
    outputs = [tuple(functional.normalize(vectors, dim=1) for vectors in output) for output in outputs]
    (projected_q, predicted_q), (projected_k, predicted_k) = outputs[0], outputs[-1]
    close(projected_q, step["project0"])
    close(projected_k, step["project1"])
    close(predicted_q, step["predict0"])
    similarity_q, similarity_k = (objective.similarities(p, ids) for p in (projected_q, projected_k))
    close(similarity_q, step["sim0"])
    np.testing.assert_array_equal(similarity_q.argmax(dim=1), step["nn0_idx"])
    np.testing.assert_array_equal(similarity_k.argmax(dim=1), step["nn1_idx"])
    neighbours_q, neighbours_k = (objective.neighbours(s, None) for s in (similarity_q, similarity_k))
    close(neighbours_q, step["nn0"])
    temperature = objective.settings.temperature
    halves = [contrast(neighbours_k, predicted_q, temperature), contrast(neighbours_q, predicted_k, temperature)]
    close(torch.stack(halves), step["loss0_loss1"])


@pytest.mark.parametrize(
    ("name", "num_views"), [("single", 1), ("single", 2), ("dual", 2), ("headonly", 1), ("headonly", 2)]
)
def test_three_steps_of_nnclr(name: str, num_views: Literal[1, 2], tmp_path: Path) -> None:
    def look(case: Case, step: int, number: int) -> Tensor:
        return our_batch(case.arrays["seq_k_dual" if number and name == "dual" else "seq"][step]).double()

    def before(task: ThreeSteps, step: int) -> None:
        views = tuple(look(case, step, number) for number in range(num_views))
        check_inside(task, views, task.batch(step), case.under(f"{name}/step{step}"))

    case = Case(
        "f_nnclr_3steps",
        look,
        sample_ids=lambda case, step: torch.from_numpy(case.arrays["ids"][step]),
        before=before,
        tuned_blocks=0 if name == "headonly" else None,
    )
    size = case.size
    strategy = NNCLR(queue_size=size["K"], temperature=size["Temp"], hidden=size["hidden"], num_views=num_views)
    task = case.task(tmp_path / "blank", strategy)
    objective = task.objective
    assert isinstance(objective, NNCLRObjective)
    objective.queue.copy_(torch.from_numpy(case.arrays["queue_init"]))
    check_optimiser(task)

    def after(metrics: Mapping[str, float], number: int) -> None:
        """What a step leaves behind."""
        step = case.under(f"{name}/step{number}")
        names = [str(name) for name in step["grad_names"]]
        assert set(names) == set(task.tuned)
        close(torch.stack([task.norms[name] for name in names]), step["grad_norms"])
        close(torch.tensor(metrics["loss"]), step["loss"])
        close(objective.queue, step["queue"])
        np.testing.assert_array_equal(objective.queue_id, step["queue_id"])
        np.testing.assert_array_equal(objective.queue_ptr, step["queue_ptr"])

    task.run(after)
    task.compare_final(case.under(f"{name}/final"))


def check_optimiser(task: ThreeSteps) -> None:
    """The product's is the one that the file names."""
    stated = re.match(_OPTIMISER, task.case.size["optimizer"])
    assert stated, task.case.size["optimizer"]
    for group in task.optimiser.param_groups:
        assert group["betas"] == (float(stated["beta1"]), float(stated["beta2"]))
        assert group["eps"] == float(stated["eps"])
        assert group["weight_decay"] == float(stated["decay"])


def test_weights_of_nnclr_follow_the_fill_rule() -> None:
    """The other files of stage 2 ship no weights: the rule must give the ones shipped here."""
    arrays, meta = load("f_nnclr_3steps")
    for name, array in arrays.items():
        if name.startswith("w/") and not name.endswith(("running_mean", "running_var")):
            expected = filled(name[2:], array.shape, meta["hyperparameters"]["fill_seed"])
            np.testing.assert_array_equal(array, expected.numpy(), err_msg=name)
