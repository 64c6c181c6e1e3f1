"""Masked prediction and contrast in one stage: what the two stages of the paper are compared with."""

from dataclasses import dataclass, fields
from pathlib import Path

from jaxtyping import Float
from torch import Tensor, nn

from stars import draws
from stars.data.packed import Packed
from stars.encoders import save_tensors
from stars.model.mamp import Mamp
from stars.pretrain import DTYPES, Pretrain, Pretraining
from stars.runtime import Runtime
from stars.strategies.strategy import Batch, Moment, Strategy
from stars.tune import OBJECTIVE_FILE


@dataclass(frozen=True, kw_only=True)
class Joint(Pretrain):
    """Pretrain an encoder by both losses at once: `masked prediction + contrast_weight * contrast`.

    The encoder sees every view twice: what the mask leaves of it, for the decoder, and the whole of it, for the head.
    Attributes:
        data, encoder, decoder, masking, target, view, epochs, warmup_epochs, batch_size: see `Pretrain`.
        learning_rate, minimum_learning_rate, weight_decay, decay_all, seed, precision, horizon: see `Pretrain`.
        strategy: head and second loss; one that looks once and has no teacher, such as NNCLR with one view.
        contrast_weight: of the second loss, above 0.
    """

    strategy: Strategy
    contrast_weight: float = 1.0

    def check(self) -> None:
        """Refuse a weight of 0 or below, strategies of several looks, and what `Pretrain` refuses."""
        super().check()
        if self.contrast_weight <= 0:
            raise ValueError(f"Joint.contrast_weight is {self.contrast_weight}; allowed: above 0")
        looks = self.strategy.looks(self.view)
        if len(looks) != 1 or looks[0].student != "gradient" or looks[0].teacher:
            raise ValueError(f"Joint.strategy is {self.strategy}; allowed: one with a single view and no teacher")
        if self.batch_size < 2:
            raise ValueError(f"Joint.batch_size is {self.batch_size}; allowed: 2 or more (BatchNorm)")
        self.strategy.check_tuning(self.encoder, self.batch_size)

    def task(self, model: Mamp, packed: Packed, runtime: Runtime) -> "JointTask":
        """What is trained: encoder, decoder and head."""
        return JointTask(self, model, packed, runtime)


def with_contrast(stage: Pretrain, strategy: Strategy) -> Joint:
    """A stage 1 with a second loss, of weight 1."""
    return Joint(**{item.name: getattr(stage, item.name) for item in fields(stage)}, strategy=strategy)


class BothLooks(nn.Module):
    """The model called for both losses in one go: what averages gradients over workers is called once a step."""

    def __init__(self, mamp: Mamp) -> None:
        """Nothing is copied."""
        super().__init__()
        self.mamp = mamp

    def forward(
        self, x: Float[Tensor, "batch body time joint 3"], uniform: Float[Tensor, "row token"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "batch width"]]:
        """The loss of masked prediction, and the pooled features of the whole view."""
        return self.mamp(x, uniform).loss, self.mamp.pooled(x)


class JointTask(Pretraining):
    """The training task of a `Joint` stage."""

    def __init__(self, stage: Joint, model: Mamp, packed: Packed, runtime: Runtime) -> None:
        """As stage 1, with a head that every worker trains on the features of all."""
        self.contrast_weight, self.strategy = stage.contrast_weight, stage.strategy
        self.objective = stage.strategy.build(stage.encoder.width, draws.generator(stage.seed, 0, "objective"))
        self.objective.to(device=runtime.device, dtype=DTYPES[stage.precision])
        super().__init__(stage, model, packed, runtime)
        self.modules["objective"] = self.objective

    def called(self) -> nn.Module:
        """Encoder and decoder, for both losses."""
        return BothLooks(self.model)

    def trained(self) -> nn.Module:
        """Encoder, decoder and head."""
        return nn.ModuleList([self.model, self.objective.head])

    def loss(self, step: int) -> Tensor:
        """This worker's masked prediction, and the global batch's contrast."""
        rows = self.batch(step)
        masked, pooled = self.prepared(*self.see(rows, step))
        dice = self.strategy.draw(len(rows), draws.generator(self.stage.seed, step, "neighbour"))
        contrast: Tensor = self.objective(
            Batch(
                student=(self.runtime.gather(pooled),),
                sample_ids=rows.to(pooled.device),
                dice=None if dice is None else dice.to(pooled.device),
                moment=Moment(step=step, steps_per_epoch=self.steps_per_epoch, epochs=self.stage.epochs),
            )
        )
        total: Tensor = masked + self.contrast_weight * contrast
        return total

    def leave(self, out: Path) -> None:
        """Encoder, decoder, head and queue."""
        super().leave(out)
        save_tensors(out / OBJECTIVE_FILE, self.objective.state_dict())
