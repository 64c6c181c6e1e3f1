"""A small grid whose trainings last long enough to be killed in the middle, several times.

    python benchmarks/faults/grid.py --data DIR --store DIR [--set epochs=700] [--set tuned=700] [--seeds 2]

An epoch is three steps. Stage 1 costs 25 to 30 ms a step on a slow processor, so about a minute in all; a tuning,
with as many epochs, half of that.
"""

from pathlib import Path

from cluster.run import main
from stars.data.batches import View
from stars.data.dataset import Data
from stars.data.prepare import prepare
from stars.data.synthetic import Synthetic
from stars.model.encoder import EncoderShape
from stars.model.mamp import DecoderShape, Masking, Target
from stars.pretrain import Pretrain
from stars.probes.knn import KNN
from stars.recipes import Recipe, unlabelled
from stars.strategies.nnclr import NNCLR
from stars.sweep import Sweep
from stars.tune import Tune

SOURCE = Synthetic(num_classes=4, num_subjects=4, num_cameras=1, num_replications=2)


def make_data(folder: Path) -> Path:
    """Write and pack the recordings, 24 to train on and 8 to test on. Returns the folder, as `--data` takes it."""
    prepare(SOURCE.names(), SOURCE.text, folder, name="faults", source=repr(SOURCE), num_processes=1)
    return folder


def stage1(data: Data, epochs: int) -> Pretrain:
    """Pretraining for so many epochs of three steps."""
    return Pretrain(
        data=unlabelled(data),
        encoder=EncoderShape(frames=24, joints=data.joints, patch=6, width=64, depth=2, heads=4),
        decoder=DecoderShape(width=64, depth=1),
        masking=Masking(ratio=0.8, temperature=0.8),
        target=Target(kind="motion", stride=4, normalise=True),
        view=View(frames=24, crop=(0.5, 1.0), rotation=0.3),
        epochs=epochs,
        warmup_epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        minimum_learning_rate=5e-4,
        weight_decay=0.05,
        decay_all=False,
        seed=0,
    )


def point(recipe: Recipe, *, epochs: int, tuned: int, seed: int) -> KNN:
    """KNN after stage 1 and a tuning, of so many epochs."""
    tune = Tune(
        start=stage1(recipe.data, epochs),
        data=unlabelled(recipe.data),
        strategy=NNCLR(queue_size=20, temperature=0.3, hidden=128),
        view=View(frames=24, crop=(0.5, 1.0)),
        tuned_blocks=None,
        layer_decay=0.5,
        epochs=tuned,
        batch_size=8,
        learning_rate=1e-3,
        weight_decay=0.01,
        clip=3.0,
        freeze_shifts=True,
        seed=seed,
    )
    return recipe.knn(tune)


SWEEP = Sweep(
    name="faults",
    title="What kills cost",
    paper="none",
    point=point,
    axes={"epochs": (700,), "tuned": (700,), "seed": range(3)},
    allowed={
        "epochs": ("1 or more", lambda epochs: epochs >= 1),
        "tuned": ("0 or more", lambda tuned: tuned >= 0),
    },
)


if __name__ == "__main__":
    main(SWEEP)
