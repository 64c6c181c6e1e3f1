"""A probe whose training is cut short: the same experiment after fewer epochs, as a value of its own."""

from dataclasses import fields, replace
from typing import Any, TypeVar

from stars.pretrain import Pretrain
from stars.stage import Stage, Value, upstream
from stars.tune import Tune

V = TypeVar("V", bound=Value)


def trained_last(probe: Stage) -> Pretrain | Tune:
    """The last training that the probe reads, directly or through other stages. Raises ValueError when none is."""
    trainings = [stage for stage in upstream(probe) if isinstance(stage, Pretrain | Tune) and stage.trains()]
    if not trainings:
        raise ValueError(f"{type(probe).__name__} reads no training; allowed: a probe of a trained encoder")
    return trainings[-1]


def planned_epochs(probe: Stage) -> int:
    """Epochs of the last training that the probe reads."""
    return trained_last(probe).epochs


def shortened(probe: Stage, epochs: int) -> Stage:
    """The probe after `epochs` of its last training's epochs; the probe itself when that is all of them."""
    training = trained_last(probe)
    return substituted(probe, training, replace(training, horizon=None if epochs == training.epochs else epochs))


def substituted(value: V, old: Value, new: Value) -> V:
    """The value with `new` wherever `old` stood in it."""

    def visit(content: Any) -> Any:
        if content == old:
            return new
        if isinstance(content, Value):
            return substituted(content, old, new)
        if isinstance(content, tuple):
            return tuple(visit(member) for member in content)
        return content

    changed = {item.name: visit(getattr(value, item.name)) for item in fields(value)}
    different = {name: content for name, content in changed.items() if content != getattr(value, name)}
    return replace(value, **different) if different else value
