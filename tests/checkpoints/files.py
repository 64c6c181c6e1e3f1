"""Files of weights for tests: published ones in small, and archives with any pickle in them."""

import argparse
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stars.model.encoder import Encoder, EncoderShape, initialise
from stars.model.heads import ContrastiveHead, initialise_head
from stars.model.mamp import DecoderShape, Mamp

SHAPE = EncoderShape(frames=16, joints=25, patch=4, width=16, depth=2, heads=2)
DECODER = DecoderShape(width=8, depth=1)


def torch_archive(path: Path, pickled: bytes, **records: bytes) -> Path:
    """A torch zip archive around a pickle, with records such as `data__0` for `data/0`."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for name, content in records.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", content)
    return path


def stage1(shape: EncoderShape = SHAPE, decoder: DecoderShape = DECODER) -> dict[str, Tensor]:
    """The tensors of a stage-1 file, drawn from seed 0."""
    model = Mamp(shape, decoder)
    return drawn(model)


def stage2(shape: EncoderShape = SHAPE, *, queue_size: int = 6) -> dict[str, Tensor]:
    """The tensors of a stage-2 file, drawn from seed 0."""
    head = ContrastiveHead(shape.width, 12)
    initialise_head(head, torch.Generator().manual_seed(1))
    tensors = {f"encoder_student.{name}": tensor for name, tensor in drawn(Encoder(shape)).items()}
    tensors |= {f"encoder_student.head.{name}": tensor for name, tensor in head.state_dict().items()}
    tensors["queue"] = torch.randn(shape.width, queue_size, generator=torch.Generator().manual_seed(2))
    tensors["queue_ptr"] = torch.tensor([4])
    tensors["queue_id"] = torch.arange(queue_size)
    return tensors


def drawn(model: nn.Module) -> dict[str, Tensor]:
    """A model's tensors at the published start."""
    initialise(model, torch.Generator().manual_seed(0))
    return dict(model.state_dict())


def mamp_file(path: Path, *, heads: int | None = 2, tensors: dict[str, Tensor] | None = None, **more: Any) -> Path:
    """A stage-1 file as MAMP writes it."""
    settings = argparse.Namespace(epochs=400, model_args={} if heads is None else {"num_heads": heads})
    torch.save({"model": tensors or stage1(), "epoch": 399, "scaler": {}, "args": settings, **more}, path)
    return path


def saved(value: object) -> bytes:
    """What torch.save writes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def program(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def word(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def storage(length: int, record: str = "0", kind: str = "ctorch\nFloatStorage\n") -> bytes:
    return b"(" + word("storage") + kind.encode() + word(record) + word("cpu") + number(length) + b"tQ"


def tensor(*parts: bytes, rebuild: str = "_rebuild_tensor_v2") -> bytes:
    return f"ctorch._utils\n{rebuild}\n".encode() + b"(" + b"".join(parts) + b"\x89Nt" + b"R"


def entry(value: bytes) -> bytes:
    return program(b"}", word("a"), value, b"s")
