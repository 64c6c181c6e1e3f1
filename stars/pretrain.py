"""Stage 1: masked motion prediction (paper section 3.2, MAMP)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from stars import draws
from stars.curve import write_curve
from stars.data.batches import Clips, View, draw, views
from stars.data.dataset import Data, split
from stars.data.packed import Packed
from stars.encoders import ENCODER_FILE, EncoderStage, check_horizon, save_tensors
from stars.fit import fit
from stars.model.encoder import EncoderShape, initialise
from stars.model.mamp import DecoderShape, Mamp, Masking, Target, encoder_state
from stars.optimise import adamw, decay_groups, set_learning_rate, warmup_cosine
from stars.runtime import Runtime
from stars.stage import later

DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class Pretrain(EncoderStage):
    """Pretrain an encoder by predicting the motion of masked joints.

    Attributes:
        data: what is trained on: the training part under the data's protocol.
        encoder: the encoder's sizes.
        decoder: the decoder's sizes.
        masking: which tokens are hidden.
        target: what is predicted at them.
        view: crop and rotation of a training sequence.
        epochs: passes over the training part; 0 leaves the encoder as initialised (the untrained reference).
        warmup_epochs: epochs in which the learning rate rises from 0.
        batch_size: sequences in a batch of all workers together.
        learning_rate: its peak.
        minimum_learning_rate: where the cosine ends.
        weight_decay: of AdamW.
        decay_all: decay biases, norms and other vectors too (the released code's copy of MAMP does).
        seed: of initialisation, order, crops and masks.
        precision: of weights and arithmetic.
        horizon: epochs after which training ends, on the schedule of all `epochs`; None is their end. What is longer
            goes on, bit for bit, from where it ended.
    """

    data: Data
    encoder: EncoderShape
    decoder: DecoderShape
    masking: Masking
    target: Target
    view: View
    epochs: int
    warmup_epochs: int
    batch_size: int
    learning_rate: float
    minimum_learning_rate: float
    weight_decay: float
    decay_all: bool
    seed: int
    precision: Literal["float32", "float64"] = "float32"
    horizon: int | None = later(None)

    def check(self) -> None:
        """Refuse impossible schedules and views that do not fit the encoder."""
        for name in ("epochs", "warmup_epochs", "learning_rate", "minimum_learning_rate", "weight_decay", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"Pretrain.{name} is {getattr(self, name)}; allowed: 0 or more")
        check_horizon(self, self.horizon, self.epochs)
        if self.epochs and self.warmup_epochs > self.epochs:
            raise ValueError(
                f"Pretrain.warmup_epochs is {self.warmup_epochs}; allowed: at most {self.epochs}, the epochs"
            )
        if self.minimum_learning_rate > self.learning_rate:
            allowed = f"at most {self.learning_rate}, the learning rate"
            raise ValueError(f"Pretrain.minimum_learning_rate is {self.minimum_learning_rate}; allowed: {allowed}")
        if self.batch_size < 1:
            raise ValueError(f"Pretrain.batch_size is {self.batch_size}; allowed: 1 or more")
        if self.view.frames != self.encoder.frames:
            raise ValueError(
                f"Pretrain.view.frames is {self.view.frames}; allowed: the encoder's {self.encoder.frames}"
            )

    def trains(self) -> bool:
        """Unless there is no epoch to train."""
        return self.epochs > 0

    def whole(self) -> "Pretrain":
        """Without the horizon."""
        return replace(self, horizon=None)

    def encoder_shape(self) -> EncoderShape:
        """The encoder's sizes."""
        return self.encoder

    def model(self) -> Mamp:
        """Encoder and decoder as initialised from the seed."""
        model = Mamp(self.encoder, self.decoder, self.masking, self.target)
        initialise(model, draws.generator(self.seed, 0, "initialise"))
        return model

    def task(self, model: Mamp, packed: Packed, runtime: Runtime) -> "Pretraining":
        """What is trained."""
        return Pretraining(self, model, packed, runtime)

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Leaves `encoder.safetensors`, `decoder.safetensors` and `curve.parquet`."""
        model = self.model().to(device=runtime.device, dtype=DTYPES[self.precision])
        if not self.epochs:
            if runtime.rank == 0:
                save_model(model, out)
            return
        task = self.task(model, Packed.open(inputs["data"]), runtime)
        losses = fit(task, runtime)
        if runtime.rank == 0:
            write_curve(out, losses, task.steps_per_epoch)
            task.leave(out)


def save_model(model: Mamp, out: Path) -> None:
    """Leave encoder and decoder in files of their own."""
    state = model.state_dict()
    encoder = encoder_state(state)
    save_tensors(out / ENCODER_FILE, encoder)
    save_tensors(out / "decoder.safetensors", {k: v for k, v in state.items() if k not in encoder})


class Pretraining:
    """The training task of a `Pretrain` stage."""

    clip: float | None = None

    def __init__(self, stage: Pretrain, model: Mamp, packed: Packed, runtime: Runtime) -> None:
        """Bind the stage to its data and its worker."""
        self.stage, self.model, self.runtime = stage, model, runtime
        parts = split(stage.data, packed)
        self.rows = torch.from_numpy(parts.train)
        self.clips = Clips(packed, runtime.device, DTYPES[stage.precision], **stage.data.filling())
        self.steps_per_epoch = draws.steps_per_epoch(len(self.rows), stage.batch_size, runtime.world_size)
        self.num_steps = (stage.horizon or stage.epochs) * self.steps_per_epoch
        self.continued = stage.horizon is not None
        self.modules: dict[str, nn.Module] = {"mamp": model}
        self.prepared = runtime.prepare(self.called())
        groups = decay_groups(self.trained(), stage.weight_decay, exempt=not stage.decay_all)
        self.optimiser = adamw(groups, betas=(0.9, 0.95))

    def called(self) -> nn.Module:
        """What is called once a step, and whose gradients are averaged over the workers."""
        return self.model

    def trained(self) -> nn.Module:
        """What has the parameters that are trained."""
        return self.model

    def set_rates(self, step: int) -> float:
        """Linear warm-up, then half a cosine, per step."""
        stage = self.stage
        rate = warmup_cosine(
            step,
            steps_per_epoch=self.steps_per_epoch,
            epochs=stage.epochs,
            warmup_epochs=stage.warmup_epochs,
            learning_rate=stage.learning_rate,
            minimum=stage.minimum_learning_rate,
        )
        set_learning_rate(self.optimiser, rate)
        return rate

    def loss(self, step: int) -> Tensor:
        """Mean over this worker's masked tokens; all have equally many, so the workers' mean is the global one."""
        x, uniform = self.see(self.batch(step), step)
        loss: Tensor = self.prepared(x, uniform).loss
        return loss

    def batch(self, step: int) -> Tensor:
        """Which samples the global batch of a step holds."""
        return draws.batch(self.rows, seed=self.stage.seed, step=step, batch_size=self.stage.batch_size)

    def see(self, rows: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """This worker's share of the batch, and the draws that decide its masks."""
        stage, rank, world_size = self.stage, self.runtime.rank, self.runtime.world_size
        cut = draw(stage.view, self.clips.valid[rows], draws.generator(stage.seed, step, "view"))
        noise = torch.rand(2 * len(rows), stage.encoder.tokens, generator=draws.generator(stage.seed, step, "mask"))
        share = len(rows) // world_size
        mine = slice(rank * share, (rank + 1) * share)
        x = views(self.clips, rows[mine], stage.view, cut.part(rank, world_size))
        return x, noise[2 * mine.start : 2 * mine.stop].to(device=x.device, dtype=x.dtype)

    def leave(self, out: Path) -> None:
        """Write what was trained."""
        save_model(self.model, out)
