"""The product's stage 2 on the batches of the vectors, in double precision, from their weights."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stars.data.batches import View
from stars.data.dataset import describe
from stars.fit import fit
from stars.model.encoder import Encoder
from stars.recipes import paper
from stars.runtime import PlainRuntime
from stars.strategies.strategy import Objective, Strategy
from stars.tune import Tune, Tuning
from tests.conformance.translate import blank_store, encoder_shape
from tests.conformance.vectors import load

STUDENT, TEACHER, HEAD = "encoder_student.", "encoder_teacher.", "head."


def close(ours: Tensor, reference: NDArray[Any], what: str = "") -> None:
    assert tuple(ours.shape) == reference.shape, what
    np.testing.assert_allclose(ours.detach().numpy(), reference, rtol=1e-5, atol=1e-6, err_msg=what)


class Case:
    """A file of three steps: its sizes and arrays, and what a test says of them.

    Attributes:
        look: the batch that a look of a step shows, by step and number of the look.
        sample_ids: of the batch of a step.
        num_samples, epochs: of the data set and of the schedule; an epoch of as many samples as a batch is one step.
        changes: to the stage, beside what the file says.
        before: called with the task and the step before its loss.
    """

    def __init__(
        self,
        file: str,
        look: Callable[["Case", int, int], Tensor],
        *,
        sample_ids: Callable[["Case", int], Tensor] = lambda case, step: torch.arange(case.size["B"]),
        num_samples: int | None = None,
        epochs: int = 3,
        before: Callable[["ThreeSteps", int], None] = lambda task, step: None,
        **changes: Any,
    ) -> None:
        self.arrays, meta = load(file)
        self.size: dict[str, Any] = meta["hyperparameters"]
        self.look, self.sample_ids, self.before = look, sample_ids, before
        self.num_samples, self.epochs, self.changes = num_samples or self.size["B"], epochs, changes

    def task(self, folder: Path, strategy: Strategy) -> "ThreeSteps":
        """The stage that the reference ran, with its weights."""
        size = self.size
        packed = blank_store(folder, self.num_samples, size["V"])
        shape = encoder_shape(size)
        recipe = paper(describe(packed))
        settings: dict[str, Any] = {
            "start": replace(recipe.stage1, encoder=shape, view=View(frames=shape.frames)),
            "data": recipe.data,
            "strategy": strategy,
            "view": View(frames=shape.frames),
            "tuned_blocks": None,
            "layer_decay": size["decay"],
            "epochs": self.epochs,
            "batch_size": size["B"],
            "learning_rate": size["lr"],
            "weight_decay": 0.01,
            "clip": size["clip"],
            "freeze_shifts": False,
            "seed": 0,
            "precision": "float64",
        }
        stage = Tune(**(settings | self.changes))
        encoder = Encoder(shape)
        encoder.load_state_dict(self.weights(STUDENT, head=False))
        objective = strategy.build(shape.width, torch.Generator().manual_seed(0))
        objective.head.load_state_dict(self.weights(STUDENT, head=True))
        task = ThreeSteps(stage, encoder.double(), objective.double(), packed, self)
        if objective.teacher_head is not None:
            for name, tensor in self.weights(TEACHER, head=False).items():
                assert torch.equal(tensor.double(), encoder.get_parameter(name)), "both encoders start as one"
            objective.teacher_head.load_state_dict(self.weights(TEACHER, head=True))
        return task

    def weights(self, prefix: str, *, head: bool) -> dict[str, Tensor]:
        """Encoder or head of student or teacher, under our names."""
        found = {n.removeprefix("w/" + prefix): a for n, a in self.arrays.items() if n.startswith("w/" + prefix)}
        chosen = {n: torch.from_numpy(a) for n, a in found.items() if n.startswith(HEAD) == head}
        return {n.removeprefix(HEAD) if head else n: tensor for n, tensor in chosen.items()}

    def under(self, part: str) -> dict[str, NDArray[Any]]:
        """The arrays of a part, `step0` or `final`."""
        return {name.removeprefix(f"{part}/"): a for name, a in self.arrays.items() if name.startswith(f"{part}/")}


class ThreeSteps(Tuning):
    """Stage 2 as it is, but for where batches come from; before every loss the case looks at what is inside."""

    def __init__(self, stage: Tune, encoder: Encoder, objective: Objective, packed: Any, case: Case) -> None:
        super().__init__(stage, encoder, objective, packed, PlainRuntime())
        self.case = case
        self.num_steps = 3
        named = dict(encoder.named_parameters())
        named |= {HEAD + name: parameter for name, parameter in objective.head.named_parameters()}
        self.tuned = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
        self.norms: dict[str, Tensor] = {}
        for name, parameter in self.tuned.items():
            parameter.register_post_accumulate_grad_hook(partial(self.note_norm, name))  # type: ignore[no-untyped-call]

    def note_norm(self, name: str, parameter: Tensor) -> None:
        """A gradient's norm, before the loop clips it."""
        assert parameter.grad is not None
        self.norms[name] = parameter.grad.norm()

    def batch(self, step: int) -> Tensor:
        return self.case.sample_ids(self.case, step)

    def see(self, view: View, rows: Tensor, step: int, number: int) -> Tensor:
        return self.case.look(self.case, step, number)

    def loss(self, step: int) -> Tensor:
        self.case.before(self, step)
        return super().loss(step)

    def state(self) -> dict[str, Tensor]:
        """Student, and teacher where there is one, under the names of the vectors."""
        parts: list[tuple[str, nn.Module | None]] = [(STUDENT, self.encoder), (STUDENT + HEAD, self.objective.head)]
        parts += [(TEACHER, self.teacher), (TEACHER + HEAD, self.objective.teacher_head)]
        return {p + name: t for p, module in parts if module for name, t in module.state_dict().items()}

    def run(self, after: Callable[[Mapping[str, float], int], None]) -> None:
        """Train; `after` is called with the metrics of every step and its number from 0."""
        reported: list[int] = []

        def report(metrics: Mapping[str, float], done: int) -> None:
            reported.append(done)
            assert metrics["learning_rate"] == self.case.size["lr"]
            after(metrics, done - 1)

        fit(self, PlainRuntime(on_report=report, look_seconds=0.0))
        assert reported == [1, 2, 3]

    def compare_final(self, finals: Mapping[str, NDArray[Any]]) -> None:
        """Every tensor that the reference left."""
        state = self.state()
        assert finals
        for name, array in finals.items():
            close(state[name], array, name)
