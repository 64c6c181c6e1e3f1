"""Stage 2: contrastive tuning of an encoder's upper half (paper section 3.3)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from stars import draws
from stars.curve import write_curve
from stars.data.batches import Clips, View, draw, views
from stars.data.dataset import Data, split
from stars.data.packed import Packed
from stars.encoders import ENCODER_FILE, EncoderStage, check_horizon, load_encoder, save_tensors
from stars.fit import fit
from stars.model.encoder import Encoder, EncoderShape
from stars.optimise import adamw, set_learning_rate, tuning_groups
from stars.pretrain import DTYPES
from stars.runtime import Runtime
from stars.stage import later
from stars.strategies.strategy import Objective, Strategy

# Their gradient is exactly zero: a constant shift of the features, or of the projections, changes no loss.
_SHIFTS = ("norm.bias", "head.projector.0.bias")


@dataclass(frozen=True, kw_only=True)
class Tune(EncoderStage):
    """Tune an encoder contrastively, with layer-wise learning-rate decay.

    Attributes:
        start: the encoder to begin with.
        data: what is trained on: the training part under the data's protocol.
        strategy: head and loss.
        view: crop and rotation of a training sequence.
        tuned_blocks: how many blocks, from the last, are tuned; None is the upper half, 0 tunes the head alone.
        layer_decay: learning rate of block i (from 0) is `learning_rate * layer_decay ** (depth - i)`, in (0, 1].
        epochs: passes over the training part.
        batch_size: sequences in a batch of all workers together.
        learning_rate: of the head and the last norm, constant.
        weight_decay: of AdamW, on every tuned tensor.
        clip: limit of the gradient norm of each tensor.
        freeze_shifts: keep the last norm's bias and the projector's bias as they are. Their gradient is exactly zero
            and AdamW turns its rounding noise into full steps; the released code lets it.
        seed: of the head, the queue and the order of samples.
        precision: of weights and arithmetic.
        horizon: epochs after which training ends, on the schedule of all `epochs`; None is their end. What is longer
            goes on, bit for bit, from where it ended.
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

    def check(self) -> None:
        """Refuse a decay outside (0, 1], and blocks that the encoder has not."""
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

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `encoder.safetensors`, `objective.safetensors` (head and queue) and `curve.parquet`."""
        dtype = DTYPES[self.precision]
        encoder = load_encoder(inputs["start"], self.encoder_shape(), runtime.device, dtype)
        objective = self.strategy.build(self.encoder_shape().width, draws.generator(self.seed, 0, "objective"))
        objective.to(device=runtime.device, dtype=dtype)
        task = Tuning(self, encoder, objective, Packed.open(inputs["data"]), runtime)
        losses = fit(task, runtime)
        if runtime.rank == 0:
            write_curve(out, losses, task.steps_per_epoch)
            save_tensors(out / ENCODER_FILE, encoder.state_dict())
            save_tensors(out / "objective.safetensors", objective.state_dict())


class Tuning:
    """The training task of a `Tune` stage."""

    def __init__(self, stage: Tune, encoder: Encoder, objective: nn.Module, packed: Packed, runtime: Runtime) -> None:
        """Freeze, then wrap, then make the optimiser: the order that keeps frozen tensors out of both."""
        self.stage, self.runtime = stage, runtime
        self.objective = cast(Objective, objective)
        self.clip = stage.clip
        parts = split(stage.data, packed)
        self.rows = torch.from_numpy(parts.train)
        self.clips = Clips(packed, runtime.device, DTYPES[stage.precision], **stage.data.filling())
        self.steps_per_epoch = draws.steps_per_epoch(len(self.rows), stage.batch_size, runtime.world_size)
        self.num_steps = (stage.horizon or stage.epochs) * self.steps_per_epoch
        self.continued = stage.horizon is not None
        self.modules: dict[str, nn.Module] = {"encoder": encoder, "objective": objective}
        groups = tuning_groups(
            encoder,
            self.objective.head,
            learning_rate=stage.learning_rate,
            layer_decay=stage.layer_decay,
            first_tuned_block=stage.first_tuned() if stage.tuned_blocks != 0 else None,
            weight_decay=stage.weight_decay,
            frozen=_SHIFTS if stage.freeze_shifts else (),
        )
        self.encode = runtime.prepare(encoder)
        self.optimiser = adamw(groups, betas=(0.9, 0.95))

    def set_rates(self, step: int) -> float:  # noqa: ARG002
        """Constant; each block at its own share."""
        set_learning_rate(self.optimiser, self.stage.learning_rate)
        return self.stage.learning_rate

    def loss(self, step: int) -> Tensor:
        """The global batch's loss: pooled features are gathered with gradient, the rest every worker does in full.

        View k carries no gradient (published code), so nothing is stored for it.
        """
        stage, rank, world_size = self.stage, self.runtime.rank, self.runtime.world_size
        rows = draws.batch(self.rows, seed=stage.seed, step=step, batch_size=stage.batch_size)
        share = len(rows) // world_size
        pooled = []
        for number in range(stage.strategy.views()):
            generator = draws.generator(stage.seed, step, f"view {number}")
            cut = draw(stage.view, self.clips.valid[rows], generator)
            x = views(self.clips, rows[rank * share : (rank + 1) * share], stage.view, cut.part(rank, world_size))
            with torch.set_grad_enabled(number == 0):
                pooled.append(self.runtime.gather(self.encode(x, stage.first_tuned())))
        dice = stage.strategy.draw(len(rows), draws.generator(stage.seed, step, "neighbour"))
        device = pooled[0].device
        loss: Tensor = self.objective(tuple(pooled), rows.to(device), None if dice is None else dice.to(device))
        return loss
