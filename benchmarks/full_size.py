"""One optimiser step of each stage at the paper's full size, on a processor, within 4 GB.

    python benchmarks/full_size.py                              about two minutes on one core

120 frames, 25 joints, 8 + 5 blocks of width 256, a queue of 32,768, batch 8, a fifth of the sequences with two persons.
Each stage in a process of its own, whose peak of resident memory is what counts. Exit status 1 if one takes more.
"""

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from stars import draws
from stars.data.dataset import describe
from stars.data.ntu import NtuName
from stars.data.packed import Packed
from stars.data.packing import Packer
from stars.fit import Task, fit
from stars.model.encoder import Encoder, initialise
from stars.pretrain import Pretraining
from stars.recipes import Recipe, published
from stars.runtime import PlainRuntime
from stars.tune import Tune, Tuning

LIMIT = 4 * 2**30
_BATCH = 8


def walks(folder: Path) -> Packed:
    """Random walks of 150 to 250 frames: one batch to train on, one sequence to test on."""
    random = np.random.default_rng(0)
    with Packer(folder, name="walks", source="a benchmark") as packer:
        for number in range(_BATCH + 1):
            bodies = 2 if number % 5 == 4 else 1
            steps = random.normal(0, 0.01, (int(random.integers(150, 250)), bodies, 25, 3))
            sequence = (random.normal(0, 0.5, (1, bodies, 25, 3)) + steps.cumsum(axis=0)).astype(np.float32)
            labels = NtuName(setup=1, camera=1, subject=1 if number < _BATCH else 3, replication=1, action=1)
            packer.append(f"{number:02}", labels, sequence)
        packer.finish()
    return Packed.open(folder)


def one_epoch(recipe: Recipe) -> Recipe:
    """The recipe with batches of 8, of which one is an epoch, the decoder of five blocks, and one step to do."""
    stage1 = replace(
        recipe.stage1, batch_size=_BATCH, epochs=1, warmup_epochs=0, decoder=replace(recipe.stage1.decoder, depth=5)
    )
    stage2 = replace(recipe.stage2, start=stage1, batch_size=_BATCH, epochs=1)
    dino = replace(recipe.dino, group_size=None)
    return replace(recipe, stage1=stage1, stage2=stage2, dino=dino)


def pretraining(recipe: Recipe, packed: Packed) -> Task:
    """Stage 1."""
    return Pretraining(recipe.stage1, recipe.stage1.model(), packed, PlainRuntime())


def tuning(stage: Tune, packed: Packed) -> Task:
    """Stage 2 on an encoder as initialised."""
    encoder = Encoder(stage.encoder_shape())
    initialise(encoder, draws.generator(0, 0, "initialise"))
    objective = stage.strategy.build(stage.encoder_shape().width, draws.generator(0, 0, "objective"))
    return Tuning(stage, encoder, objective, packed, PlainRuntime())


STEPS: dict[str, Callable[[Recipe, Packed], Task]] = {
    "stage 1": pretraining,
    "stage 2, NNCLR": lambda recipe, packed: tuning(recipe.stage2, packed),
    "stage 2, MoCo": lambda recipe, packed: tuning(replace(recipe.stage2, strategy=recipe.moco), packed),
    "stage 2, DINO": lambda recipe, packed: tuning(replace(recipe.stage2, strategy=recipe.dino), packed),
}


def measure(name: str, folder: Path) -> tuple[float, float, int]:
    """Loss, processor seconds and peak of resident bytes of one step; in a process of its own."""
    torch.set_num_threads(1)
    packed = Packed.open(folder)
    task = STEPS[name](one_epoch(published(describe(packed))), packed)
    started = time.process_time()
    (loss,) = fit(task, PlainRuntime())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return loss, time.process_time() - started, peak


def main() -> int:
    """Measure all, print a table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    table = Table(title="one optimiser step, batch 8, one thread", title_justify="left")
    for heading in ("stage", "loss", "processor s", "peak GB", "limit GB"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    within = True
    with tempfile.TemporaryDirectory() as folder:
        walks(Path(folder) / "walks")
        for name in STEPS:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                loss, seconds, peak = pool.apply(measure, (name, Path(folder) / "walks"))
            within &= peak <= LIMIT
            table.add_row(name, f"{loss:.4f}", f"{seconds:.1f}", f"{peak / 2**30:.2f}", f"{LIMIT / 2**30:.0f}")
    Console().print(table)
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
