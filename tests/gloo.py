"""What tests let the workers of a gloo group do. Everything is called in every worker."""

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed
from safetensors.torch import save_file
from torch import Tensor

from stars.data.packed import Packed
from stars.encoders import EncoderStage, load_encoder
from stars.execute import Workplace, perform
from stars.fit import Diverged, Interrupted, fit
from stars.pretrain import DTYPES
from stars.runtime import DistributedRuntime, Runtime
from stars.store import Attempt, Store
from stars.tune import Tune, Tuning
from tests.training import Scripted, Tiny


def elsewhere(location: Path, rank: int) -> Path:
    """Where a worker other than 0 would write, beside the store: no file may come to lie there."""
    return location.parent / f"{location.name}-worker-{rank}"


def runtime_of(location: Path, stage: EncoderStage, *, stop_after: int | None = None) -> DistributedRuntime:
    """This worker's view of an attempt that all share; only worker 0's store can be written.

    Args:
        location: of the store.
        stage: what is attempted.
        stop_after: at the end of this epoch (from 1) worker 0 is told to stop. The others always are, to no effect.
    """
    rank = torch.distributed.get_rank()
    store = Store(location, read_only=rank > 0)
    if rank == 0:
        attempt = store.begin(stage)
    else:
        attempt = Attempt(
            stage=stage,
            name="elsewhere",
            output=elsewhere(location, rank) / "output",
            checkpoints=elsewhere(location, rank) / "checkpoints",
        )
        attempt.output.mkdir(parents=True, exist_ok=True)
        attempt.checkpoints.mkdir(exist_ok=True)
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return rank > 0 or len(asked) == stop_after

    return DistributedRuntime(store=store, attempt=attempt, stop=stop, checkpoint_seconds=0.0, look_seconds=math.inf)


def train(tiny: Tiny, location: Path, stages: tuple[EncoderStage, ...], stop_after: int | None = None) -> None:
    """Perform the stages one after the other, inputs before readers."""
    for stage in stages:
        runtime = runtime_of(location, stage, stop_after=stop_after)
        workplace = Workplace(store=runtime.store, datasets={tiny.data.content: tiny.packed})
        with contextlib.suppress(Interrupted):
            perform(runtime.attempt, workplace, runtime)
        # A reader may begin only when worker 0 has committed.
        runtime.barrier()


@dataclass(frozen=True, kw_only=True)
class Detached(DistributedRuntime):
    """The mistake: a worker's gradient reaches only its own features, and nothing makes up for it."""

    def gather(self, tensor: Tensor) -> Tensor:
        joined = super().gather(tensor.detach()).clone()
        first = self.rank * len(tensor)
        joined[first : first + len(tensor)] = tensor
        return joined


def gradients_of(stage: Tune, tiny: Tiny, store: Store, runtime: Runtime) -> dict[str, Tensor]:
    """Gradients of the first step of stage 2 by parameter, the encoder's averaged over the workers."""
    dtype = DTYPES[stage.precision]
    encoder = load_encoder(store.output(stage.start), stage.encoder_shape(), runtime.device, dtype)
    objective = stage.strategy.build(stage.encoder_shape().width, torch.Generator().manual_seed(0)).to(dtype=dtype)
    task = Tuning(stage, encoder, objective, Packed.open(tiny.packed), runtime)
    torch.autograd.backward(task.loss(0))
    named = [*encoder.named_parameters(prefix="encoder"), *objective.head.named_parameters(prefix="head")]
    return {name: parameter.grad for name, parameter in named if parameter.grad is not None}


def write_gradients(tiny: Tiny, location: Path, stage: Tune, out: Path) -> None:
    """Worker 0 writes the gradients under a right and under a detached gathering."""
    right = runtime_of(location, stage)
    wrong = Detached(store=right.store, attempt=right.attempt)
    for name, runtime in (("right", right), ("detached", wrong)):
        found = gradients_of(stage, tiny, right.store, runtime)
        if runtime.rank == 0:
            save_file(found, out / f"{name}.safetensors")


def meet_nan(location: Path, tiny: Tiny, out: Path) -> None:
    """Only the last worker's loss is not a number, at step 4; every worker writes at which step its run diverged."""
    runtime = runtime_of(location, tiny.recipe.stage1)
    last = runtime.rank == runtime.world_size - 1
    task = Scripted([1.0] * 4 + [math.nan if last else 1.0] * 5)
    try:
        fit(task, runtime)
    except Diverged as problem:
        (out / f"{runtime.rank}").write_text(str(problem.step))
