"""Files of weights that other programs read: the two published layouts, and safetensors with a model card.

The published layouts are torch zip archives under the names of `stars.checkpoints.layouts`; read back, every tensor is
the same to the bit.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from stars.checkpoints.layouts import CENTRE, METADATA, PARTS, STUDENT, TEACHER, content_hash
from stars.checkpoints.sizes import decoder_shape
from stars.data.exchange.files import new_file
from stars.model.encoder import EncoderShape
from stars.model.mamp import DecoderShape

Format = Literal["mamp", "stars", "safetensors"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Exported:
    """What a stage left, as a file can carry it.

    Attributes:
        shape: the encoder's sizes.
        decoder_shape: those of the decoder, where the stage left one.
        parts: tensors by part: encoder, and decoder, objective and teacher where there are any.
    """

    shape: EncoderShape
    decoder_shape: DecoderShape | None
    parts: Mapping[str, Mapping[str, Tensor]]

    def only(self, *parts: str) -> "Exported":
        """The same with no other parts than these."""
        return replace(
            self,
            decoder_shape=self.decoder_shape if "decoder" in parts else None,
            parts={name: tensors for name, tensors in self.parts.items() if name in parts},
        )


def read_output(folder: Path, shape: EncoderShape) -> Exported:
    """The tensors in the output folder of a stage that leaves an encoder of this shape."""
    # Copied, since they are views of the mapped file, which torch.save would write as a whole for each.
    parts = {
        part: {name: tensor.clone() for name, tensor in load_file(path).items()}
        for part in PARTS
        if (path := folder / f"{part}.safetensors").is_file()
    }
    decoder = decoder_shape(folder, shape, parts["decoder"]) if "decoder" in parts else None
    return Exported(shape=shape, decoder_shape=decoder, parts=parts)


def write_mamp(exported: Exported, out: Path) -> None:
    """A stage-1 file: `model` with encoder and, where there is one, decoder; `args` with the sizes.

    Raises:
        FileExistsError: `out` exists.
    """
    shape, decoder = exported.shape, exported.decoder_shape
    sizes = {
        "dim_in": 3,
        "dim_feat": shape.width,
        "depth": shape.depth,
        "num_heads": shape.heads,
        "mlp_ratio": shape.mlp_ratio,
        "num_frames": shape.frames,
        "num_joints": shape.joints,
        "patch_size": 1,
        "t_patch_size": shape.patch,
    }
    if decoder is not None:
        sizes |= {"decoder_dim_feat": decoder.width, "decoder_depth": decoder.depth}
    model = {**exported.parts["encoder"], **exported.parts.get("decoder", {})}
    _save({"model": model, "args": argparse.Namespace(model_args=sizes)}, out)


def write_stars(exported: Exported, out: Path) -> None:
    """A stage-2 file: flat, the encoder as the student, with heads, queue and teacher where there are any.

    Raises:
        FileExistsError: `out` exists.
    """
    encoder = exported.parts["encoder"]
    tensors = {f"{STUDENT}{name}": tensor for name, tensor in encoder.items()}
    if teacher := exported.parts.get("teacher"):
        # Tuning keeps the blocks in which the two differ.
        tensors |= {f"{TEACHER}{name}": tensor for name, tensor in {**encoder, **teacher}.items()}
    for name, tensor in exported.parts.get("objective", {}).items():
        if name.startswith("teacher_head."):
            tensors[f"{TEACHER}{name.removeprefix('teacher_')}"] = tensor
        elif name != CENTRE:
            tensors[f"{STUDENT}{name}" if name.startswith("head.") else name] = tensor
    _save(tensors, out)


def write_safetensors(exported: Exported, out: Path, card: Mapping[str, object]) -> None:
    """All parts under our names, with the card and what verifies the tensors as metadata.

    Raises:
        FileExistsError: `out` exists.
    """
    parts = {part: dict(tensors) for part, tensors in exported.parts.items()}
    if "teacher" in parts:
        parts["teacher"] = parts["encoder"] | parts["teacher"]
    tensors = {
        f"{TEACHER if part == 'teacher' else ''}{name}": tensor.clone()
        for part, named in parts.items()
        for name, tensor in named.items()
    }
    full = {**card, "heads": exported.shape.heads, "content": content_hash(parts)}
    content = save(tensors, metadata={"format": "pt", METADATA: json.dumps(full, sort_keys=True)})
    with new_file(out) as file:
        file.write(content)


def _save(document: Mapping[str, object], out: Path) -> None:
    with new_file(out) as file:
        torch.save(document, file)
