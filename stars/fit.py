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


class Interrupted(Exception):  # noqa: N818 - not an error: the next run goes on from here
    """The surroundings asked for an end; the state after `step` optimiser steps is saved."""

    def __init__(self, step: int) -> None:
        """Name the number of steps done."""
        super().__init__(f"interrupted after {step} steps")
        self.step = step


class Task(Protocol):
    """What is trained: the loop calls `set_rates`, then `loss`, once a step.

    Attributes:
        num_steps: optimiser steps to do: the schedule's, or fewer where a horizon cuts it.
        steps_per_epoch: as the schedule counts them.
        continued: whether a stage with a later horizon goes on from the end: its state is then kept.
        optimiser: over the trained parameters.
        modules: everything with parameters or buffers that training changes, by name.
        clip: limit of each parameter's gradient norm; None clips nothing.
    """

    @property
    def num_steps(self) -> int:
        """See above, as the five below."""

    @property
    def steps_per_epoch(self) -> int: ...  # noqa: D102

    @property
    def continued(self) -> bool: ...  # noqa: D102

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
        Interrupted: the runtime asked for an end; the state is saved.
    """
    losses, start = _resume(task, runtime)
    pending: list[Tensor] = []
    saved = time.monotonic()
    pace = Pace(task.steps_per_epoch, runtime, start)
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
        if done < task.num_steps and not pace.due(done):
            continue
        # One transfer from the device a second, not one a step. All workers see the mean, so all diverge together.
        means = runtime.gather(torch.stack(pending)[None]).mean(dim=0).tolist()
        losses, pending = losses + _finite(means, first=len(losses)), []
        pace.looked(done)
        runtime.report({"loss": sum(means) / len(means), "learning_rate": rate, "seconds": pace.seconds}, done)
        ends = done < task.num_steps and runtime.should_stop()
        if ends or time.monotonic() - saved >= runtime.checkpoint_seconds:
            runtime.save(_state(task, losses), done)
            saved = time.monotonic()
        if ends:
            raise Interrupted(done)
        pace.goes_on()
    _check_weights(task)
    if task.continued and start < task.num_steps:
        runtime.save(_state(task, losses), task.num_steps)
    return losses


class Pace:
    """Says after which steps the loop looks up: about every `look_seconds`, and at the end of every epoch.

    Reports, checks of the loss, checkpoints and interruptions happen there. All workers get the same answer, since
    they agree on the slowest one's seconds a step; the first look is after the first step, to measure it. What a look
    itself takes (a report may wait) counts for nothing: otherwise one slow report would make every step be reported.

    `seconds` are those of training so far in this process, the same for all workers.
    """

    def __init__(self, steps_per_epoch: int, runtime: Runtime, start: int) -> None:
        """Begin after `start` steps."""
        self._steps_per_epoch, self._runtime = steps_per_epoch, runtime
        self._last, self._time = start, time.monotonic()
        self._every = 1.0 if math.isfinite(runtime.look_seconds) else math.inf
        self.seconds = 0.0

    def due(self, done: int) -> bool:
        """Whether to look up after `done` steps."""
        return done % self._steps_per_epoch == 0 or done - self._last >= self._every

    def looked(self, done: int) -> None:
        """The loop looks up, and has waited for the device: plan the next time."""
        mine = torch.tensor([time.monotonic() - self._time], device=self._runtime.device)
        slowest = float(self._runtime.gather(mine).max())
        self.seconds += slowest
        self._every = max(1.0, self._runtime.look_seconds * (done - self._last) / max(slowest, 1e-6))
        self._last = done

    def goes_on(self) -> None:
        """The look is over."""
        self._time = time.monotonic()


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
    latest = runtime.latest(task.num_steps)
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
