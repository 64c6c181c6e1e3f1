"""Parameter groups, learning-rate schedules, clipping and the optimiser of both stages and of fine-tuning.

A group's `scale` is its learning rate as a multiple of the schedule's; `set_learning_rate` applies it.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from stars.model.encoder import Encoder

ParameterGroup: TypeAlias = dict[str, Any]


def decay_groups(module: nn.Module, weight_decay: float, *, exempt: bool) -> list[ParameterGroup]:
    """Stage 1: everything that has a gradient, at the schedule's rate.

    Args:
        module: what is trained.
        weight_decay: AdamW's, per unit of learning rate.
        exempt: vectors and biases are not decayed (upstream MAMP); learned tables always are. False decays everything.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            is_spared = exempt and (parameter.ndim == 1 or name.endswith(".bias"))
            (spared if is_spared else decayed).append(parameter)
    groups: list[ParameterGroup] = [{"params": decayed, "weight_decay": weight_decay, "scale": 1.0}]
    if spared:
        groups.append({"params": spared, "weight_decay": 0.0, "scale": 1.0})
    return groups


def tuning_groups(
    encoder: Encoder,
    head: nn.Module,
    *,
    learning_rate: float,
    layer_decay: float,
    first_tuned_block: int | None,
    weight_decay: float,
    frozen: Collection[str] = (),
) -> list[ParameterGroup]:
    """Stage 2: freeze what is not tuned, and group the rest by learning rate.

    Block i of a depth of N learns at `learning_rate * layer_decay ** (N - i)`, the final layer norm and the head at
    `learning_rate` (paper section 3.3; i from 0). Embeddings are never tuned. Weight decay reaches every tuned tensor.
    Sets `requires_grad` on all parameters of encoder and head: call it before the model is wrapped for several workers.

    Args:
        encoder: the encoder from stage 1.
        head: what is trained on top of it.
        learning_rate: base rate; also recorded as the group's `lr`.
        layer_decay: factor from each block to the one below.
        first_tuned_block: blocks from this index on are tuned, with the final layer norm; None = the head alone.
        weight_decay: AdamW's, per unit of learning rate.
        frozen: further parameters to leave alone, named as in the encoder's state dict, the head's with "head.".

    Raises:
        ValueError: a block or a name that does not exist.
    """
    depth = len(encoder.blocks)
    if first_tuned_block is not None and not 0 <= first_tuned_block <= depth:
        raise ValueError(f"first_tuned_block is {first_tuned_block}; allowed: 0 to {depth}, or None")
    named = [(name, parameter) for name, parameter in encoder.named_parameters()]
    named += [(f"head.{name}", parameter) for name, parameter in head.named_parameters()]
    if unknown := sorted(set(frozen) - {name for name, _ in named}):
        raise ValueError(f"frozen names {unknown[0]!r}; allowed: parameters of the encoder, or of the head as head.*")
    by_power: dict[int, list[nn.Parameter]] = {}
    for name, parameter in named:
        power = _decay_power(name, depth, first_tuned_block)
        tuned = power is not None and name not in frozen
        parameter.requires_grad_(tuned)
        if tuned and power is not None:
            by_power.setdefault(power, []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": learning_rate * layer_decay**power,
            "weight_decay": weight_decay,
            "scale": layer_decay**power,
        }
        for power, parameters in sorted(by_power.items())
    ]


def _decay_power(name: str, depth: int, first_tuned_block: int | None) -> int | None:
    """How often the layer decay applies to a parameter; None = it is not tuned."""
    if name.startswith("head."):
        return 0
    if first_tuned_block is None:
        return None
    if name.startswith("norm."):
        return 0
    if name.startswith("blocks."):
        block = int(name.split(".")[1])
        return depth - block if block >= first_tuned_block else None
    return None


def finetuning_groups(
    encoder: Encoder, head: nn.Module, *, layer_decay: float, weight_decay: float
) -> list[ParameterGroup]:
    """Fine-tuning: everything is trained, the lower the slower (published code).

    Layers are numbered from the embeddings, 0; block i is i + 1, the final layer norm and the head are the last one, L.
    Layer n learns at `layer_decay ** (L - n)` of the schedule's rate. Vectors (biases, norms) are not decayed; learned
    tables are.

    Args:
        encoder: the encoder.
        head: what is trained on top of it.
        layer_decay: factor from each layer to the one below; 1 for training from scratch.
        weight_decay: AdamW's, per unit of learning rate.
    """
    depth = len(encoder.blocks)
    groups: dict[tuple[int, float], list[nn.Parameter]] = {}
    for name, parameter in [*encoder.named_parameters(), *head.named_parameters(prefix="head")]:
        power = _decay_power(name, depth, first_tuned_block=0)
        decay = 0.0 if parameter.ndim == 1 else weight_decay
        groups.setdefault((depth + 1 if power is None else power, decay), []).append(parameter)
    return [
        {"params": parameters, "weight_decay": decay, "scale": layer_decay**power}
        for (power, decay), parameters in sorted(groups.items(), key=lambda entry: entry[0])
    ]


def warmup_cosine(
    step: int, *, steps_per_epoch: int, epochs: int, warmup_epochs: int, learning_rate: float, minimum: float
) -> float:
    """Learning rate of a step: linear from 0 over the warm-up, then half a cosine down to `minimum`.

    Args:
        step: steps taken before this one; the first step of a warm-up has rate 0.
        steps_per_epoch: steps.
        epochs: length of the whole schedule, in epochs.
        warmup_epochs: length of the warm-up, in epochs.
        learning_rate: rate at the end of the warm-up.
        minimum: rate at the end of the schedule.
    """
    epoch = step / steps_per_epoch
    if epoch < warmup_epochs:
        return learning_rate * epoch / warmup_epochs
    progress = (epoch - warmup_epochs) / (epochs - warmup_epochs)
    return minimum + (learning_rate - minimum) * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give each group its share, `learning_rate * scale`."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate * group["scale"]


@torch.no_grad()
def clip_each(parameters: Iterable[Tensor], limit: float) -> Float[Tensor, " parameter"]:
    """Scale down each gradient whose own norm exceeds `limit`; returns the norms before.

    Per tensor, not over all of them: where limit / (norm + 1e-6) is below 1 the gradient is multiplied by it. Nothing
    waits for the device. Parameters without a gradient are passed over. Source: published code.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch.stack(torch._foreach_norm(gradients))
    factors = (limit / (norms + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, list(factors.unbind()))
    return norms


def adamw(groups: Sequence[ParameterGroup], betas: tuple[float, float]) -> torch.optim.AdamW:
    """AdamW in its fused form. A group without an `lr` stands still until `set_learning_rate` gives it one."""
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True)
