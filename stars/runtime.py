"""What a running stage may ask of its surroundings, and the two implementations that need no Ray.

The numbers of a stage never depend on the runtime: every draw is made for the global batch and then sliced, and
what a worker gathers carries gradient. `PlainRuntime` is one process; `DistributedRuntime` is one of several that
share a `torch.distributed` process group, whoever started them.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from stars.outcome import sha256
from stars.provenance import code_version, device_name, library_versions
from stars.store import Attempt, Store

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Report = Callable[[Mapping[str, float], int], None]

_KEPT_CHECKPOINTS = 2


class Runtime(Protocol):
    """One worker's view: who it is, where tensors live, and what it does together with the others."""

    @property
    def rank(self) -> int:
        """This worker's number, from 0; only worker 0 writes files."""

    @property
    def world_size(self) -> int:
        """How many workers share the stage."""

    @property
    def device(self) -> torch.device:
        """Where tensors live."""

    @property
    def checkpoint_seconds(self) -> float:
        """How long a training loop may run before it saves its state."""

    @property
    def look_seconds(self) -> float:
        """How often a training loop looks up within an epoch, about; never when infinite."""

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module to call in training: its gradients are averaged over the workers."""

    def gather(self, tensor: Tensor) -> Tensor:
        """The workers' tensors joined along the first dimension, with gradient.

        Correct only when every worker computes the same loss from the result: then the gradient that `prepare`
        averages is that of the loss, with no rescaling.
        """

    def barrier(self) -> None:
        """Wait for every worker."""

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        """Show progress: `seconds` of training so far, `loss`, …; nothing is computed from it."""

    def save(self, state: Mapping[str, Tensor], step: int) -> None:
        """Keep a training loop's state after `step` optimiser steps."""

    def latest(self, until: int) -> tuple[dict[str, Tensor], int] | None:
        """The latest state kept after at most `until` steps that still has its hash, with its step; None if none."""

    def should_stop(self) -> bool:
        """Whether the surroundings want the stage to end now; it is then `Interrupted`, and has no outcome."""


def silent(metrics: Mapping[str, float], step: int) -> None:
    """Report nothing."""


def never() -> bool:
    """Never stop early."""
    return False


@dataclass(frozen=True, kw_only=True)
class PlainRuntime:
    """One process.

    Attributes:
        store, attempt: where checkpoints go; without them nothing is kept.
        device: where tensors live.
        on_report: called with metrics and step.
        stop: asked whether to end now, whenever the loop looks up.
        checkpoint_seconds: between two checkpoints.
        look_seconds: between two looks up, about.
    """

    store: Store | None = None
    attempt: Attempt | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    on_report: Report = silent
    stop: Callable[[], bool] = never
    checkpoint_seconds: float = 20.0
    look_seconds: float = 1.0

    @property
    def rank(self) -> int:
        """Always 0."""
        return 0

    @property
    def world_size(self) -> int:
        """Always 1."""
        return 1

    def prepare(self, module: nn.Module) -> nn.Module:
        """The module itself."""
        return module

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensor itself."""
        return tensor

    def barrier(self) -> None:
        """Nobody to wait for."""

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        """Pass on."""
        self.on_report(metrics, step)

    def save(self, state: Mapping[str, Tensor], step: int) -> None:
        """Write a checkpoint of the attempt, if there is one."""
        if self.attempt is not None:
            save_checkpoint(self.attempt.checkpoints, state, step, stamp(self.device))

    def latest(self, until: int) -> tuple[dict[str, Tensor], int] | None:
        """The last sound checkpoint of any attempt at the stage, by the same code on the same kind of device."""
        if self.store is None or self.attempt is None:
            return None
        return latest_checkpoint(self.store.checkpoints(self.attempt.stage), until, stamp(self.device))

    def should_stop(self) -> bool:
        """Ask."""
        return self.stop()


@dataclass(frozen=True, kw_only=True)
class DistributedRuntime:
    """One of several processes; `torch.distributed` is initialised already (gloo or NCCL)."""

    store: Store
    attempt: Attempt
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    on_report: Report = silent
    stop: Callable[[], bool] = never
    checkpoint_seconds: float = 20.0
    look_seconds: float = 1.0

    @property
    def rank(self) -> int:
        """The rank in the process group."""
        return torch.distributed.get_rank()

    @property
    def world_size(self) -> int:
        """The size of the process group."""
        return torch.distributed.get_world_size()

    def prepare(self, module: nn.Module) -> nn.Module:
        """Distributed data parallel over the module's trainable parameters; the module itself where it has none."""
        if not any(parameter.requires_grad for parameter in module.parameters()):
            return module
        return DistributedDataParallel(module, forward_sync_buffers=False)

    def gather(self, tensor: Tensor) -> Tensor:
        """See `Runtime.gather`."""
        joined: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
        return joined

    def barrier(self) -> None:
        """Wait for the group."""
        torch.distributed.barrier()

    def report(self, metrics: Mapping[str, float], step: int) -> None:
        """Every worker passes on, at the same steps: who listens may wait for all of them."""
        self.on_report(metrics, step)

    def save(self, state: Mapping[str, Tensor], step: int) -> None:
        """Worker 0 writes; the state is the same everywhere."""
        if self.rank == 0:
            save_checkpoint(self.attempt.checkpoints, state, step, stamp(self.device))

    def latest(self, until: int) -> tuple[dict[str, Tensor], int] | None:
        """The checkpoint that worker 0 finds, so that all resume from one step."""
        found: list[Any] = [None]
        if self.rank == 0:
            found = [latest_checkpoint(self.store.checkpoints(self.attempt.stage), until, stamp(self.device))]
        torch.distributed.broadcast_object_list(found, src=0)
        result: tuple[dict[str, Tensor], int] | None = found[0]
        return result

    def should_stop(self) -> bool:
        """Worker 0 asks; all hear the same answer."""
        answer = torch.tensor([self.rank == 0 and self.stop()], dtype=torch.uint8, device=self.device)
        torch.distributed.broadcast(answer, src=0)
        return bool(answer.item())


class _Gather(torch.autograd.Function):
    """All-gather along dimension 0. Every worker has the same loss, so the workers' gradients sum to ours × world."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = tensor.shape[0]
        parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        first = torch.distributed.get_rank() * ctx.rows
        return gradients[0][first : first + ctx.rows] * torch.distributed.get_world_size()


def stamp(device: torch.device) -> str:
    """What a checkpoint's bits depend on beside the stage: only a run like it may go on from it."""
    return f"{code_version()}, {library_versions()}, {device_name(device)}"


def save_checkpoint(folder: Path, state: Mapping[str, Tensor], step: int, made_by: str = "") -> Path:
    """Write one checkpoint whose name carries its step and hash, and drop all but the newest two.

    The rename is the commit: a half-written file never has a checkpoint's name.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    content = save(tensors, metadata={"stamp": made_by})
    path = folder / f"{step:09d}-{hashlib.sha256(content).hexdigest()}.safetensors"
    part = path.with_suffix(".part")
    with part.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    part.rename(path)
    for old in sorted(folder.glob("*.safetensors"))[:-_KEPT_CHECKPOINTS]:
        old.unlink()
    return path


def latest_checkpoint(paths: list[Path], until: int, made_by: str = "") -> tuple[dict[str, Tensor], int] | None:
    """The first of `paths` (latest step first), not beyond `until`, with the hash in its name and the same stamp."""
    for path in paths:
        step, _, recorded = path.stem.partition("-")
        if int(step) > until:
            continue
        try:
            if sha256(path) == recorded and _stamp_of(path) == made_by:
                return load_file(path), int(step)
        except (FileNotFoundError, SafetensorError):
            # Another attempt may have pruned it between listing and reading; the one before serves.
            continue
    return None


def _stamp_of(path: Path) -> str:
    with safe_open(path, framework="pt") as checkpoint:
        return str((checkpoint.metadata() or {}).get("stamp", ""))
