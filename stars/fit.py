"""The one training loop, of every stage that trains."""

import math
import time
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from stars.optimise import clip_each
from stars.runtime import Runtime


class Diverged(ArithmeticError):  # noqa: N818 - an ending, as the store names it
    """The loss is no longer finite; `step` is the first such step."""

    def __init__(self, step: int, loss: float, words: str = "") -> None:
        """Name the step, from 0, and its loss; or say it in `words`."""
        super().__init__(words or f"loss is {loss} at step {step}")
        self.step = step


class Stopped(Exception):  # noqa: N818 - an ending, as the store names it
    """The surroundings ended training early, after `step` optimiser steps."""

    def __init__(self, step: int) -> None:
        """Name the number of steps done."""
        super().__init__(f"stopped after {step} steps")
        self.step = step


class Task(Protocol):
    """What is trained: the loop calls `set_rates`, then `loss`, once a step.

    Attributes:
        num_steps: optimiser steps in all.
        steps_per_epoch: between two reports, checks of the loss and chances to stop.
        optimiser: over the trained parameters.
        modules: everything with parameters or buffers that training changes, by name.
        clip: limit of each parameter's gradient norm; None clips nothing.
    """

    @property
    def num_steps(self) -> int:
        """See above, as the four below."""

    @property
    def steps_per_epoch(self) -> int: ...  # noqa: D102

    @property
    def optimiser(self) -> torch.optim.Optimizer: ...  # noqa: D102

    @property
    def modules(self) -> Mapping[str, nn.Module]: ...  # noqa: D102

    @property
    def clip(self) -> float | None: ...  # noqa: D102

    def set_rates(self, step: int) -> float:
        """Set the learning rates of the step; returns the base rate."""

    def loss(self, step: int) -> Tensor:
        """This worker's loss, scaled so that gradients averaged over the workers are the global batch's."""


def fit(task: Task, runtime: Runtime) -> list[float]:
    """Train to the end, resuming from the latest checkpoint. Returns the workers' mean loss at every step.

    Raises:
        Diverged: a loss was not finite.
        Stopped: the runtime asked for an early end.
    """
    losses, start = _resume(task, runtime)
    pending: list[Tensor] = []
    saved = time.monotonic()
    for step in range(start, task.num_steps):
        rate = task.set_rates(step)
        task.optimiser.zero_grad(set_to_none=True)
        loss = task.loss(step)
        loss.backward()  # type: ignore[no-untyped-call]
        if task.clip is not None:
            clip_each(_trained(task.optimiser), task.clip)
        task.optimiser.step()
        pending.append(loss.detach())
        done = step + 1
        if done % task.steps_per_epoch and done < task.num_steps:
            continue
        # One transfer from the device an epoch, not one a step. All workers see the mean, so all diverge together.
        means = runtime.gather(torch.stack(pending)[None]).mean(dim=0).tolist()
        losses, pending = losses + _finite(means, first=len(losses)), []
        runtime.report({"loss": sum(means) / len(means), "learning_rate": rate}, done)
        if done < task.num_steps and runtime.should_stop():
            raise Stopped(done)
        if time.monotonic() - saved >= runtime.checkpoint_seconds:
            runtime.save(_state(task, losses), done)
            saved = time.monotonic()
    _check_weights(task)
    return losses


def _check_weights(task: Task) -> None:
    """The last step's gradient is in no loss: what it did to the weights is looked at here."""
    for module in task.modules.values():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise Diverged(task.num_steps - 1, float("nan"), f"{name} is not finite after the last step")


def _finite(losses: list[float], first: int) -> list[float]:
    for position, loss in enumerate(losses):
        if not math.isfinite(loss):
            raise Diverged(first + position, loss)
    return losses


def _trained(optimiser: torch.optim.Optimizer) -> list[nn.Parameter]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _state(task: Task, losses: list[float]) -> dict[str, Tensor]:
    """Modules, optimiser and losses as one flat mapping of tensors."""
    state = {f"module/{m}/{k}": v for m, module in task.modules.items() for k, v in module.state_dict().items()}
    for number, parameter in enumerate(_trained(task.optimiser)):
        for name, tensor in task.optimiser.state[parameter].items():
            state[f"optimiser/{number}/{name}"] = torch.as_tensor(tensor)
    return {**state, "losses": torch.tensor(losses, dtype=torch.float64)}


def _resume(task: Task, runtime: Runtime) -> tuple[list[float], int]:
    """Load the latest checkpoint into the task. Returns the losses so far and the steps done."""
    latest = runtime.latest()
    if latest is None:
        return [], 0
    state, step = latest
    for name, module in task.modules.items():
        prefix = f"module/{name}/"
        module.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    parameters = _trained(task.optimiser)
    for key, tensor in state.items():
        kind, _, rest = key.partition("/")
        if kind == "optimiser":
            number, _, name = rest.partition("/")
            parameter = parameters[int(number)]
            task.optimiser.state[parameter][name] = tensor.to(parameter.device)
    return state["losses"].tolist(), step
