"""Stage 2 (NNCLR), its optimiser settings and the learning-rate schedules against the numbers of the published code."""

import copy
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from stars.data.batches import View
from stars.data.dataset import Data, describe
from stars.data.packed import Packed
from stars.fit import fit
from stars.model.encoder import Encoder, EncoderShape
from stars.model.heads import ContrastiveHead
from stars.optimise import adamw, set_learning_rate, tuning_groups, warmup_cosine
from stars.recipes import paper
from stars.runtime import PlainRuntime
from stars.strategies.nnclr import NNCLR, NNCLRObjective, contrast
from stars.tune import Tune, Tuning
from tests.conformance.fill import filled
from tests.conformance.translate import blank_store, encoder_shape, our_batch
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


class ThreeSteps(Tuning):
    """The product's stage 2, on the batches of the vectors; before every loss it looks at what is inside.

    An epoch is one step, so that a report follows each.
    """

    def __init__(self, stage: Tune, encoder: Encoder, objective: NNCLRObjective, packed: Packed, case: "Case") -> None:
        super().__init__(stage, encoder, objective, packed, PlainRuntime())
        self.case = case
        self.encoder = encoder
        named = {ENCODER + name: parameter for name, parameter in encoder.named_parameters()}
        named |= {HEAD + name: parameter for name, parameter in objective.head.named_parameters()}
        self.tuned = {name.removeprefix(ENCODER): p for name, p in named.items() if p.requires_grad}
        self.norms: dict[str, Tensor] = {}
        for name, parameter in self.tuned.items():
            parameter.register_post_accumulate_grad_hook(partial(self.note_norm, name))  # type: ignore[no-untyped-call]

    def note_norm(self, name: str, parameter: Tensor) -> None:
        """A gradient's norm, before the loop clips it."""
        assert parameter.grad is not None
        self.norms[name] = parameter.grad.norm()

    def loss(self, step: int) -> Tensor:
        views = self.case.views(step)[: self.stage.strategy.num_views]
        ids = torch.from_numpy(self.case.arrays["ids"][step])
        check_inside(self, views, ids, self.case.step(step))
        pooled = []
        for number, x in enumerate(views):
            with torch.set_grad_enabled(number == 0):
                pooled.append(self.encode(x, self.stage.first_tuned()))
        loss: Tensor = self.objective(tuple(pooled), ids)
        return loss

    def state(self) -> dict[str, Tensor]:
        state = {ENCODER + name: tensor for name, tensor in self.encoder.state_dict().items()}
        return state | {HEAD + name: tensor for name, tensor in self.objective.head.state_dict().items()}


class Case:
    """One of the runs of f_nnclr_3steps: `single`, `dual` or `headonly`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.arrays, meta = load("f_nnclr_3steps")
        self.size: dict[str, Any] = meta["hyperparameters"]

    def views(self, step: int) -> tuple[Tensor, Tensor]:
        """Views q and k of a batch."""
        both = (self.arrays["seq"], self.arrays["seq_k_dual" if self.name == "dual" else "seq"])
        view_q, view_k = (our_batch(x[step]).double() for x in both)
        return view_q, view_k

    def step(self, step: int) -> dict[str, NDArray[Any]]:
        """The reference numbers of a step."""
        return self.under(f"step{step}")

    def under(self, part: str) -> dict[str, NDArray[Any]]:
        prefix = f"{self.name}/{part}/"
        return {name.removeprefix(prefix): a for name, a in self.arrays.items() if name.startswith(prefix)}

    def tune(self, data: Data, num_views: Literal[1, 2]) -> Tune:
        """The stage that the reference ran."""
        size = self.size
        shape = encoder_shape(size)
        return Tune(
            start=replace(paper(data).stage1, encoder=shape, view=View(frames=shape.frames)),
            data=data,
            strategy=NNCLR(queue_size=size["K"], temperature=size["Temp"], hidden=size["hidden"], num_views=num_views),
            view=View(frames=shape.frames),
            tuned_blocks=0 if self.name == "headonly" else None,
            layer_decay=size["decay"],
            epochs=len(self.arrays["ids"]),
            batch_size=size["B"],
            learning_rate=size["lr"],
            weight_decay=float(self.optimiser()["decay"]),
            clip=size["clip"],
            freeze_shifts=False,
            seed=0,
            precision="float64",
        )

    def optimiser(self) -> dict[str, str]:
        """What the reference says of its AdamW."""
        stated = re.match(_OPTIMISER, self.size["optimizer"])
        assert stated, self.size["optimizer"]
        return stated.groupdict()

    def task(self, folder: Path, num_views: Literal[1, 2]) -> ThreeSteps:
        """The task with the reference's weights and queue."""
        packed = blank_store(folder, self.size["B"], self.size["V"])
        stage = self.tune(describe(packed), num_views)
        encoder = Encoder(stage.encoder_shape())
        objective = stage.strategy.build(self.size["fd"], torch.Generator().manual_seed(0))
        weights = {name[2:]: torch.from_numpy(a) for name, a in self.arrays.items() if name.startswith("w/")}
        head = {name.removeprefix(HEAD): tensor for name, tensor in weights.items() if name.startswith(HEAD)}
        rest = {n.removeprefix(ENCODER): tensor for n, tensor in weights.items() if not n.startswith(HEAD)}
        encoder.load_state_dict(rest)
        objective.head.load_state_dict(head)
        objective.queue.copy_(torch.from_numpy(self.arrays["queue_init"]))
        task = ThreeSteps(stage, encoder.double(), objective.double(), packed, self)
        stated = self.optimiser()
        for group in task.optimiser.param_groups:
            assert group["betas"] == (float(stated["beta1"]), float(stated["beta2"]))
            assert group["eps"] == float(stated["eps"])
        return task


def check_inside(task: ThreeSteps, views: tuple[Tensor, ...], ids: Tensor, step: dict[str, NDArray[Any]]) -> None:
    """What the published code computes on the way to its loss, from a copy that keeps the run's buffers as they are."""
    objective = copy.deepcopy(task.objective)
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
    temperature = task.stage.strategy.temperature
    halves = [contrast(neighbours_k, predicted_q, temperature), contrast(neighbours_q, predicted_k, temperature)]
    close(torch.stack(halves), step["loss0_loss1"])


@pytest.mark.parametrize(
    ("name", "num_views"), [("single", 1), ("single", 2), ("dual", 2), ("headonly", 1), ("headonly", 2)]
)
def test_three_steps_of_nnclr(name: str, num_views: Literal[1, 2], tmp_path: Path) -> None:
    case = Case(name)
    task = case.task(tmp_path / "blank", num_views)
    reported = []

    def compare(metrics: Mapping[str, float], done: int) -> None:
        """What a step leaves behind."""
        reported.append(done)
        step = case.step(done - 1)
        names = [str(name) for name in step["grad_names"]]
        assert set(names) == set(task.tuned)
        close(torch.stack([task.norms[name] for name in names]), step["grad_norms"])
        close(torch.tensor(metrics["loss"]), step["loss"])
        assert metrics["learning_rate"] == case.size["lr"]
        close(task.objective.queue, step["queue"])
        np.testing.assert_array_equal(task.objective.queue_id, step["queue_id"])
        np.testing.assert_array_equal(task.objective.queue_ptr, step["queue_ptr"])

    fit(task, PlainRuntime(on_report=compare))
    assert reported == [1, 2, 3]
    state, finals = task.state(), case.under("final")
    assert finals
    for name_of_tensor, array in finals.items():
        close(state[name_of_tensor], array, name_of_tensor)


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
