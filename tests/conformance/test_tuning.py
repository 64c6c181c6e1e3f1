"""Stage 2 (NNCLR), its optimiser settings and the learning-rate schedules against the numbers of the published code."""

import copy
import json
import re
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stars.model.encoder import Encoder, EncoderShape
from stars.model.heads import ContrastiveHead
from stars.optimise import adamw, clip_each, constant, set_learning_rate, tuning_groups, warmup_cosine
from stars.strategies.nnclr import NNCLR, NNCLRObjective, contrast
from tests.conformance.fill import filled
from tests.conformance.translate import encoder_shape, our_batch
from tests.conformance.vectors import DIRECTORY, load

_OPTIMISER = r"AdamW betas (?P<beta1>\S+),(?P<beta2>\S+) eps (?P<eps>\S+) weight_decay (?P<decay>\S+)"
ENCODER, HEAD = "encoder_student.", "encoder_student.head."


def close(ours: Tensor, reference: NDArray[Any], what: str = "") -> None:
    assert tuple(ours.shape) == reference.shape, what
    np.testing.assert_allclose(ours.detach().numpy(), reference, rtol=1e-5, atol=1e-6, err_msg=what)


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


class Run:
    """The model of f_nnclr_3steps in double precision, tuned by the product's own parts."""

    def __init__(
        self, arrays: dict[str, NDArray[Any]], size: dict[str, Any], num_views: Literal[1, 2], head_only: bool
    ) -> None:
        strategy = NNCLR(queue_size=size["K"], temperature=size["Temp"], hidden=size["hidden"], num_views=num_views)
        self.encoder = Encoder(encoder_shape(size))
        self.objective = strategy.build(size["fd"], torch.Generator().manual_seed(0))
        weights = {name[2:]: torch.from_numpy(a) for name, a in arrays.items() if name.startswith("w/")}
        head = {name.removeprefix(HEAD): tensor for name, tensor in weights.items() if name.startswith(HEAD)}
        encoder = {n.removeprefix(ENCODER): tensor for n, tensor in weights.items() if not n.startswith(HEAD)}
        self.encoder.load_state_dict(encoder)
        self.objective.head.load_state_dict(head)
        self.objective.queue.copy_(torch.from_numpy(arrays["queue_init"]))
        self.encoder.double()
        self.objective.double()
        stated = re.match(_OPTIMISER, size["optimizer"])
        assert stated, size["optimizer"]
        first_tuned_block = None if head_only else size["depth"] // 2
        self.first_tuned = size["depth"] if first_tuned_block is None else first_tuned_block
        groups = tuning_groups(
            self.encoder,
            self.objective.head,
            learning_rate=size["lr"],
            layer_decay=size["decay"],
            first_tuned_block=first_tuned_block,
            weight_decay=float(stated["decay"]),
        )
        self.optimiser = adamw(groups, betas=(float(stated["beta1"]), float(stated["beta2"])))
        assert self.optimiser.defaults["eps"] == float(stated["eps"])
        self.tuned = {
            name.removeprefix(ENCODER): parameter
            for name, parameter in self.named_parameters().items()
            if parameter.requires_grad
        }
        self.size = size

    def named_parameters(self) -> dict[str, torch.nn.Parameter]:
        named = {ENCODER + name: parameter for name, parameter in self.encoder.named_parameters()}
        return named | {HEAD + name: parameter for name, parameter in self.objective.head.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        state = {ENCODER + name: tensor for name, tensor in self.encoder.state_dict().items()}
        return state | {HEAD + name: tensor for name, tensor in self.objective.head.state_dict().items()}

    def step(self, views: tuple[Tensor, ...], ids: Tensor, names: list[str]) -> tuple[Tensor, Tensor]:
        """One optimisation step; the loss, and the gradients' norms before clipping in the order of `names`."""
        set_learning_rate(self.optimiser, constant(0, learning_rate=self.size["lr"]))
        pooled = tuple(self.encoder.pooled(view, self.first_tuned) for view in views)
        loss: Tensor = self.objective(pooled, ids)
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        norms = clip_each([self.tuned[name] for name in names], self.size["clip"])
        self.optimiser.step()
        return loss, norms


def check_inside(run: Run, views: tuple[Tensor, ...], ids: Tensor, step: dict[str, NDArray[Any]]) -> None:
    """What the published code computes on the way to its loss, from a copy that keeps the run's buffers as they are."""
    objective = copy.deepcopy(run.objective)
    with torch.no_grad():
        outputs = [objective.head(run.encoder.pooled(view)) for view in views]
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
    temperature = run.size["Temp"]
    halves = [contrast(neighbours_k, predicted_q, temperature), contrast(neighbours_q, predicted_k, temperature)]
    close(torch.stack(halves), step["loss0_loss1"])


@pytest.mark.parametrize(
    ("case", "num_views"), [("single", 1), ("single", 2), ("dual", 2), ("headonly", 1), ("headonly", 2)]
)
def test_three_steps_of_nnclr(case: str, num_views: Literal[1, 2]) -> None:
    arrays, meta = load("f_nnclr_3steps")
    run = Run(arrays, meta["hyperparameters"], num_views, head_only=case == "headonly")
    second = arrays["seq_k_dual"] if case == "dual" else arrays["seq"]
    for index, ids_of_step in enumerate(arrays["ids"]):
        prefix = f"{case}/step{index}/"
        step = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        views = tuple(our_batch(x[index]).double() for x in (arrays["seq"], second)[:num_views])
        ids = torch.from_numpy(ids_of_step)
        check_inside(run, views, ids, step)
        names = [str(name) for name in step["grad_names"]]
        assert set(names) == set(run.tuned)
        loss, norms = run.step(views, ids, names)
        close(loss, step["loss"])
        close(norms, step["grad_norms"])
        close(run.objective.queue, step["queue"])
        np.testing.assert_array_equal(run.objective.queue_id, step["queue_id"])
        np.testing.assert_array_equal(run.objective.queue_ptr, step["queue_ptr"])
    state, prefix = run.state(), f"{case}/final/"
    finals = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    assert finals
    for name, array in finals.items():
        close(state[name], array, name)


def test_weights_of_nnclr_follow_the_fill_rule() -> None:
    """The other files of stage 2 ship no weights: the rule must give the ones shipped here."""
    arrays, meta = load("f_nnclr_3steps")
    for name, array in arrays.items():
        if name.startswith("w/") and not name.endswith(("running_mean", "running_var")):
            expected = filled(name[2:], array.shape, meta["hyperparameters"]["fill_seed"])
            np.testing.assert_array_equal(array, expected.numpy(), err_msg=name)


def test_learning_rate_of_every_tuned_parameter() -> None:
    settings = json.loads((DIRECTORY / "e_param_groups_stars.json").read_text())
    for name, setting in settings.items():
        depth = setting["depth"]
        encoder = Encoder(EncoderShape(frames=4, joints=1, patch=2, width=2, depth=depth, heads=1))
        head = ContrastiveHead(2, 2)
        first = (0 if setting["fully_tune"] else depth // 2) if setting["third_stage"] else None
        (decay,) = setting["weight_decay"]
        groups = tuning_groups(
            encoder,
            head,
            learning_rate=setting["base_lr"],
            layer_decay=setting["layer_decay"],
            first_tuned_block=first,
            weight_decay=decay,
        )
        optimiser = adamw(groups, tuple(setting["betas"]))
        named = {p: n for n, p in encoder.named_parameters()} | {p: f"head.{n}" for n, p in head.named_parameters()}
        rates = {named[p]: group["lr"] for group in optimiser.param_groups for p in group["params"]}
        assert rates == pytest.approx(setting["lr_by_parameter"], rel=1e-12), name
        assert {group["weight_decay"] for group in optimiser.param_groups} == {decay}
        assert {group["eps"] for group in optimiser.param_groups} == {setting["eps"]}
        assert {named[p] for p in named if not p.requires_grad} == set(setting["not_optimised"]), name
        set_learning_rate(optimiser, setting["base_lr"])
        again = {named[p]: group["lr"] for group in optimiser.param_groups for p in group["params"]}
        assert again == pytest.approx(rates, rel=1e-12)


def test_learning_rate_schedules() -> None:
    arrays, meta = load("e_lr_schedule")
    for name, setting in meta["hyperparameters"].items():
        steps = arrays[f"{name}_step"].tolist()
        schedule = {
            "steps_per_epoch": setting["iters"],
            "epochs": setting["epochs"],
            "warmup_epochs": setting["warmup_epochs"],
            "learning_rate": setting["lr"],
            "minimum": setting["min_lr"],
        }
        ours = np.array([warmup_cosine(step, **schedule) for step in steps])
        np.testing.assert_allclose(ours, arrays[f"{name}_lr"], rtol=1e-12, atol=1e-18)
        optimiser = adamw([{"params": [torch.nn.Parameter(torch.zeros(1))], "scale": 0.25}], (0.9, 0.95))
        for rate, scaled in zip(ours, arrays[f"{name}_lr_scaled"], strict=True):
            set_learning_rate(optimiser, rate)
            assert optimiser.param_groups[0]["lr"] == pytest.approx(scaled, rel=1e-12, abs=1e-18)
