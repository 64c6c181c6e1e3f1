"""Stages that leave an encoder behind, and how its weights are written and read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stars.model.encoder import Encoder, EncoderShape
from stars.stage import Stage

ENCODER_FILE = "encoder.safetensors"


@dataclass(frozen=True, kw_only=True)
class EncoderStage(Stage):
    """A stage whose output holds `encoder.safetensors`, under the published parameter names."""

    def encoder_shape(self) -> EncoderShape:
        """The encoder's sizes."""
        raise NotImplementedError(type(self).__name__)


def check_horizon(stage: EncoderStage, horizon: int | None, epochs: int) -> None:
    """Refuse a horizon that cuts nothing off: the whole training has one value only."""
    if horizon is not None and not 1 <= horizon < epochs:
        raise ValueError(
            f"{type(stage).__name__}.horizon is {horizon}; allowed: 1 to {epochs - 1}, below the epochs, or None"
        )


def save_tensors(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors by name."""
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, path)


def load_encoder(folder: Path, shape: EncoderShape, device: torch.device, dtype: torch.dtype) -> Encoder:
    """The encoder that a stage left in its output folder."""
    # First the precision, then the weights: the other way round would round double-precision weights.
    encoder = Encoder(shape).to(device=device, dtype=dtype)
    encoder.load_state_dict(load_file(folder / ENCODER_FILE))
    return encoder
