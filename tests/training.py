"""A data set and a recipe so small that a training run takes a tenth of a second, and what tests ask of a run."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from stars.curve import CURVE_FILE
from stars.data.batches import View
from stars.data.dataset import Data, describe
from stars.data.packed import Packed
from stars.data.prepare import prepare
from stars.data.synthetic import Synthetic
from stars.encoders import EncoderStage
from stars.execute import MakeRuntime, Workplace
from stars.model.encoder import EncoderShape
from stars.model.mamp import DecoderShape, Masking, Target
from stars.optimise import adamw, set_learning_rate
from stars.pretrain import Pretrain
from stars.recipes import Recipe
from stars.runtime import PlainRuntime, Report, never, silent
from stars.store import Attempt, Store
from stars.strategies.nnclr import NNCLR
from stars.tune import Tune

SOURCE = Synthetic(num_classes=4, num_subjects=4, num_cameras=1, num_replications=2)
"""Class 4 needs two persons; subject 3 is tested on: 24 samples to train on, 8 to test on."""


@dataclass(frozen=True, kw_only=True)
class Tiny:
    """A packed store and the values for it; `recipe` trains for 3 epochs of 3 steps."""

    packed: Path
    data: Data
    recipe: Recipe

    def workplace(self, location: Path) -> Workplace:
        """A store at `location` with this data set at hand."""
        return Workplace(store=Store(location), datasets={self.data.content: self.packed})


def make_tiny(folder: Path) -> Tiny:
    """Generate and pack the data set as `folder`."""
    prepare(SOURCE.names(), SOURCE.text, folder, name="tiny", source=repr(SOURCE), num_processes=1)
    data = describe(Packed.open(folder))
    return Tiny(packed=folder, data=data, recipe=tiny_recipe(data))


def tiny_recipe(data: Data) -> Recipe:
    """Every number is written out, so that a change of a real recipe moves no pinned loss."""
    stage1 = Pretrain(
        data=data,
        encoder=EncoderShape(frames=16, joints=data.joints, patch=4, width=16, depth=2, heads=2),
        decoder=DecoderShape(width=16, depth=1),
        masking=Masking(ratio=0.9, temperature=0.8),
        target=Target(kind="motion", stride=4, normalise=True),
        view=View(frames=16, crop=(0.5, 1.0), rotation=0.3),
        epochs=3,
        warmup_epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        minimum_learning_rate=5e-4,
        weight_decay=0.05,
        decay_all=False,
        seed=0,
    )
    stage2 = Tune(
        start=stage1,
        data=data,
        # Of 72 samples the queue holds 20: it wraps round, in the middle of a batch.
        strategy=NNCLR(queue_size=20, temperature=0.07, hidden=32),
        view=View(frames=16, crop=(0.5, 1.0)),
        tuned_blocks=None,
        layer_decay=0.5,
        epochs=3,
        batch_size=8,
        learning_rate=1e-3,
        weight_decay=0.01,
        clip=3.0,
        freeze_shifts=True,
        seed=0,
    )
    return Recipe(name="tiny", data=data, stage1=stage1, stage2=stage2, test_crop=0.9, k=(1, 3))


def precise(recipe: Recipe) -> Recipe:
    """The recipe in double precision."""
    stage1 = replace(recipe.stage1, precision="float64")
    return replace(recipe, stage1=stage1, stage2=replace(recipe.stage2, start=stage1, precision="float64"))


def make_plain(
    *, on_report: Report = silent, stop: Callable[[], bool] = never, checkpoint_seconds: float = 0.0
) -> MakeRuntime:
    """Plain runtimes that look up, and save a checkpoint, after every epoch."""

    def make(workplace: Workplace, attempt: Attempt) -> PlainRuntime:
        return PlainRuntime(
            store=workplace.store,
            attempt=attempt,
            on_report=on_report,
            stop=stop,
            checkpoint_seconds=checkpoint_seconds,
            look_seconds=math.inf,
        )

    return make


def output(store: Store, stage: EncoderStage) -> dict[str, Tensor]:
    """Everything a training stage left: tensors by file and name, and the losses."""
    folder = store.output(stage)
    found = {f"{path.stem}/{name}": t for path in folder.glob("*.safetensors") for name, t in load_file(path).items()}
    return {**found, "losses": torch.tensor(curve(folder), dtype=torch.float64)}


def curve(folder: Path) -> list[float]:
    """The losses that a training stage recorded."""
    losses: list[float] = pq.read_table(folder / CURVE_FILE)["loss"].to_pylist()
    return losses


def apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference between two outputs; they must hold the same names."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether two outputs are the same to the last bit."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@dataclass
class Scripted:
    """A task with 9 steps in 3 epochs whose losses are given: one weight, and a loss that adds 0 times it."""

    losses: list[float]
    num_steps: int = 9
    steps_per_epoch: int = 3
    continued: bool = False
    clip: float | None = None
    modules: dict[str, nn.Module] = field(default_factory=lambda: {"line": nn.Linear(1, 1, dtype=torch.float64)})

    def __post_init__(self) -> None:
        self.weight = next(self.modules["line"].parameters())
        self.optimiser = adamw([{"params": [self.weight], "scale": 1.0}], betas=(0.9, 0.95))

    def set_rates(self, step: int) -> float:
        set_learning_rate(self.optimiser, 0.0)
        return 0.0

    def loss(self, step: int) -> Tensor:
        return 0 * self.weight.sum() + self.losses[step]
