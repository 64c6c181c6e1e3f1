"""Stage 2: contrastive tuning of an encoder's upper half (paper section 3.3)."""

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from stars import draws
from stars.curve import write_curve
from stars.data.batches import Clips, View, draw, views
from stars.data.dataset import Data, split
from stars.data.packed import Packed
from stars.encoders import ENCODER_FILE, EncoderStage, check_horizon, load_encoder, save_tensors
from stars.fit import fit
from stars.frozen import FrozenHalf, StoredHalf
from stars.model.encoder import Encoder, EncoderShape
from stars.model.halves import Halfway, UpperHalf, follow, lower_half
from stars.optimise import adamw, set_learning_rate, tuning_groups
from stars.pretrain import DTYPES
from stars.runtime import Runtime
from stars.stage import Stage, later
from stars.strategies.strategy import Batch, Look, Moment, Objective, Strategy

OBJECTIVE_FILE = "objective.safetensors"
TEACHER_FILE = "teacher.safetensors"

# What a look is known by within a step: its view where nothing is drawn, so that equal looks are one; else its number.
_Name: TypeAlias = View | int


@dataclass(frozen=True, kw_only=True)
class Tune(EncoderStage):
    """Tune an encoder contrastively, with layer-wise learning-rate decay.

    Attributes:
        start: the encoder to begin with.
        data: what is trained on: the training part under the data's protocol.
        strategy: head and loss.
        view: crop and rotation of a training sequence.
        tuned_blocks: how many blocks, from the last, are tuned; None is the upper half, 0 tunes the head alone. The
            embeddings never are (released code), so an encoder tuned from its start keeps those that were drawn.
        layer_decay: learning rate of block i (from 0) is `learning_rate * layer_decay ** (depth - i)`, in (0, 1].
        epochs: passes over the training part.
        batch_size: sequences in a batch of all workers together.
        learning_rate: of the head and the last norm, constant.
        weight_decay: of AdamW, on every tuned tensor.
        clip: limit of the gradient norm of each tensor.
        freeze_shifts: keep as they are the biases whose gradient is exactly zero under the strategy (NNCLR and MoCo:
            of the last norm and of the projector; DINO: none). AdamW turns its rounding noise into full steps; the
            released code lets it.
        seed: of the head, the queue and the order of samples.
        precision: of weights and arithmetic.
        horizon: epochs after which training ends, on the schedule of all `epochs`; None is their end. What is longer
            goes on, bit for bit, from where it ended.
        continue_objective: begin with the head, the queue and the teacher that the start, a tuning by the same
            strategy, ended with (the third of three stages); otherwise they are drawn anew.
        share_frozen_half: compute the output of the blocks that are not tuned once, as a stage of its own that all
            tunings above it read, wherever it never changes: with views without chance, and blocks that are not tuned.
            The same outputs to the order of sums; 37 GB for NTU-60 at full size.
    """

    start: EncoderStage
    data: Data
    strategy: Strategy
    view: View
    tuned_blocks: int | None
    layer_decay: float
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    clip: float
    freeze_shifts: bool
    seed: int
    precision: Literal["float32", "float64"] = "float32"
    horizon: int | None = later(None)
    continue_objective: bool = later(False)
    share_frozen_half: bool = later(False)

    def check(self) -> None:
        """Refuse a decay outside (0, 1], blocks that the encoder has not, and what the strategy refuses."""
        depth = self.start.encoder_shape().depth
        if not 0 < self.layer_decay <= 1:
            raise ValueError(f"Tune.layer_decay is {self.layer_decay}; allowed: in (0, 1]")
        if self.tuned_blocks is not None and not 0 <= self.tuned_blocks <= depth:
            raise ValueError(f"Tune.tuned_blocks is {self.tuned_blocks}; allowed: 0 to {depth}, or None for the half")
        for name in ("epochs", "learning_rate", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"Tune.{name} is {getattr(self, name)}; allowed: 0 or more")
        check_horizon(self, self.horizon, self.epochs)
        if self.batch_size < 2:
            raise ValueError(f"Tune.batch_size is {self.batch_size}; allowed: 2 or more (BatchNorm)")
        if self.clip <= 0:
            raise ValueError(f"Tune.clip is {self.clip}; allowed: more than 0")
        if self.view.frames != self.encoder_shape().frames:
            frames = self.encoder_shape().frames
            raise ValueError(f"Tune.view.frames is {self.view.frames}; allowed: the encoder's {frames}")
        self.strategy.check_tuning(self.encoder_shape(), self.batch_size)
        if self.continue_objective:
            self._check_continuation()

    def _check_continuation(self) -> None:
        start = self.start
        # The queue names its samples by their number in the data.
        if not isinstance(start, Tune) or (start.strategy, start.data) != (self.strategy, self.data):
            allowed = "False unless start is a Tune with the same strategy and data"
            raise ValueError(f"Tune.continue_objective is True; allowed: {allowed}")
        # Below its upper half a teacher is the student, and must have been before.
        if self.has_teacher() and start.first_tuned() < self.first_tuned():
            allowed = f"at least the start's {self.encoder_shape().depth - start.first_tuned()} with a teacher"
            raise ValueError(f"Tune.tuned_blocks is {self.tuned_blocks}; allowed: {allowed} that is continued")

    def trains(self) -> bool:
        """Unless there is no epoch to train."""
        return self.epochs > 0

    def whole(self) -> "Tune":
        """Without the horizon."""
        return replace(self, horizon=None)

    def encoder_shape(self) -> EncoderShape:
        """The encoder's sizes: those it began with."""
        return self.start.encoder_shape()

    def first_tuned(self) -> int:
        """The lowest block that is tuned; the depth when none is."""
        depth = self.encoder_shape().depth
        return depth - (depth - depth // 2 if self.tuned_blocks is None else self.tuned_blocks)

    def implied(self) -> Mapping[str, Stage]:
        """The frozen half's output, where it is shared."""
        looks = {look.view for look in self.strategy.looks(self.view)}
        never_changes = self.first_tuned() > 0 and looks == {self.view} and not self.view.is_random
        if not (self.share_frozen_half and never_changes):
            return {}
        half = FrozenHalf(
            start=self.start, data=self.data, view=self.view, blocks=self.first_tuned(), precision=self.precision
        )
        return {"frozen_half": half}

    def has_teacher(self) -> bool:
        """Whether a second encoder follows the tuned one."""
        return any(look.teacher for look in self.strategy.looks(self.view))

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `encoder.safetensors`, `objective.safetensors` (heads and queue) and `curve.parquet`.

        With a teacher also `teacher.safetensors`: its encoder's blocks from the first tuned one on, and its last norm.
        """
        dtype = DTYPES[self.precision]
        encoder = load_encoder(inputs["start"], self.encoder_shape(), runtime.device, dtype)
        objective = self.strategy.build(self.encoder_shape().width, draws.generator(self.seed, 0, "objective"))
        objective.to(device=runtime.device, dtype=dtype)
        task = Tuning(self, encoder, objective, Packed.open(inputs["data"]), runtime)
        if "frozen_half" in inputs:
            task.stored = StoredHalf(inputs["frozen_half"], runtime.device)
        if self.continue_objective:
            task.continue_from(inputs["start"])
        losses = fit(task, runtime)
        if runtime.rank == 0:
            write_curve(out, losses, task.steps_per_epoch)
            save_tensors(out / ENCODER_FILE, encoder.state_dict())
            save_tensors(out / OBJECTIVE_FILE, objective.state_dict())
            if task.teacher is not None:
                save_tensors(out / TEACHER_FILE, task.teacher.state_dict())


class Tuning:
    """The training task of a `Tune` stage."""

    def __init__(self, stage: Tune, encoder: Encoder, objective: Objective, packed: Packed, runtime: Runtime) -> None:
        """Freeze, then wrap, then make the optimiser: the order that keeps frozen tensors out of both."""
        self.stage, self.runtime = stage, runtime
        self.encoder, self.objective = encoder, objective
        self.clip = stage.clip
        parts = split(stage.data, packed)
        self.rows = torch.from_numpy(parts.train)
        self.clips = Clips(packed, runtime.device, DTYPES[stage.precision], **stage.data.filling())
        self.steps_per_epoch = draws.steps_per_epoch(len(self.rows), stage.batch_size, runtime.world_size)
        self.num_steps = (stage.horizon or stage.epochs) * self.steps_per_epoch
        self.continued = stage.horizon is not None
        groups = tuning_groups(
            encoder,
            objective.head,
            learning_rate=stage.learning_rate,
            layer_decay=stage.layer_decay,
            first_tuned_block=stage.first_tuned() if stage.tuned_blocks != 0 else None,
            weight_decay=stage.weight_decay,
            frozen=stage.strategy.shifts() if stage.freeze_shifts else (),
        )
        self.student = UpperHalf(encoder, stage.first_tuned())
        self.teacher = copy.deepcopy(self.student).requires_grad_(False) if stage.has_teacher() else None
        self.modules: dict[str, nn.Module] = {"encoder": encoder, "objective": objective}
        if self.teacher is not None:
            self.modules["teacher"] = self.teacher
        self.encode = runtime.prepare(self.student)
        self.stored: StoredHalf | None = None
        self.optimiser = adamw(groups, betas=(0.9, 0.95))

    def continue_from(self, folder: Path) -> None:
        """Take over the objective, and the teacher, that another tuning left in its output folder.

        Blocks that were not tuned there are the encoder's, which the teacher has already.
        """
        self.objective.load_state_dict(load_file(folder / OBJECTIVE_FILE))
        if self.teacher is not None:
            self.teacher.load_state_dict(self.teacher.state_dict() | load_file(folder / TEACHER_FILE))

    def set_rates(self, step: int) -> float:  # noqa: ARG002
        """Constant; each block at its own share."""
        set_learning_rate(self.optimiser, self.stage.learning_rate)
        return self.stage.learning_rate

    def loss(self, step: int) -> Tensor:
        """The global batch's loss: pooled features are gathered with gradient, the rest every worker does in full.

        The teacher follows the student before it looks (published code).
        """
        strategy = self.stage.strategy
        moment = Moment(step=step, steps_per_epoch=self.steps_per_epoch, epochs=self.stage.epochs)
        if self.teacher is not None and self.objective.teacher_head is not None:
            momentum = strategy.momentum_at(moment)
            follow(self.teacher, self.student, momentum)
            follow(self.objective.teacher_head, self.objective.head, momentum)
        rows = self.batch(step)
        student, teacher = self.features(rows, step)
        dice = strategy.draw(len(rows), draws.generator(self.stage.seed, step, "neighbour"))
        device = self.runtime.device
        loss: Tensor = self.objective(
            Batch(
                student=student,
                teacher=teacher,
                sample_ids=rows.to(device),
                dice=None if dice is None else dice.to(device),
                moment=moment,
            )
        )
        return loss

    def batch(self, step: int) -> Tensor:
        """Which samples the global batch of a step holds."""
        return draws.batch(self.rows, seed=self.stage.seed, step=step, batch_size=self.stage.batch_size)

    def features(self, rows: Tensor, step: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Pooled features of the global batch, of each look that the student encodes, and that the teacher does.

        Each distinct look goes once through the frozen half, which student and teacher share, and once through the
        upper half of either. Where the student's gradient is not wanted nothing is stored for it.
        """
        looks = self.stage.strategy.looks(self.stage.view)
        named: list[tuple[_Name, Look]] = [(n if k.view.is_random else k.view, k) for n, k in enumerate(looks)]
        halfway: dict[_Name, Halfway] = {}
        for number, (name, look) in enumerate(named):
            if name not in halfway:
                halfway[name] = self.lower(look.view, rows, step, number)
        tuned = self._pooled(self.encode, halfway, [name for name, look in named if look.student == "gradient"])
        with torch.no_grad():
            others = [name for name, look in named if look.student == "constant" and name not in tuned]
            constant = self._pooled(self.student, halfway, others)
            constant |= {name: pooled.detach() for name, pooled in tuned.items()}
            taught = {}
            if self.teacher is not None:
                taught = self._pooled(self.teacher, halfway, [name for name, look in named if look.teacher])
        by_student = [(tuned if look.student == "gradient" else constant)[name] for name, look in named if look.student]
        return tuple(by_student), tuple(taught[name] for name, look in named if look.teacher)

    def lower(self, view: View, rows: Tensor, step: int, number: int) -> Halfway:
        """This worker's share of the batch between the halves; `number` is the look's among the strategy's."""
        if self.stored is not None:
            return self.stored.halfway(rows[self.share(rows)])
        return lower_half(self.encoder, self.see(view, rows, step, number), self.stage.first_tuned())

    def share(self, rows: Tensor) -> slice:
        """Which of the global batch's samples are this worker's."""
        size = len(rows) // self.runtime.world_size
        return slice(self.runtime.rank * size, (self.runtime.rank + 1) * size)

    def see(self, view: View, rows: Tensor, step: int, number: int) -> Tensor:
        """This worker's share of the batch as a look shows it; `number` is the look's among the strategy's."""
        cut = draw(view, self.clips.valid[rows], draws.generator(self.stage.seed, step, f"view {number}"))
        return views(self.clips, rows[self.share(rows)], view, cut.part(self.runtime.rank, self.runtime.world_size))

    def _pooled(
        self, half: nn.Module, halfway: Mapping[_Name, Halfway], names: Collection[_Name]
    ) -> dict[_Name, Tensor]:
        """Pooled features of all workers by look, each look encoded once and all in one call."""
        once = tuple(dict.fromkeys(names))
        if not once:
            return {}
        pooled: tuple[Tensor, ...] = half(tuple(halfway[name] for name in once))
        return {name: self.runtime.gather(features) for name, features in zip(once, pooled, strict=True)}
