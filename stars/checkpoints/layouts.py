"""From the names in a file of weights to the parts of our models.

    mamp     `model`: encoder under its own names, then `decoder_…` and `mask_token`; `args`: a Namespace  (stage 1)
    stars    flat: `encoder_student.…` with its `head`, `queue`, `queue_ptr`, `queue_id`              (stages 2 and 3)
    bare     flat: the encoder under its own names, perhaps more; what this project writes as safetensors

Any of them may carry the `module.` of a wrapper for several GPUs. MoCo and DINO files have `encoder_teacher.…` too.
Source: published code.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from stars.checkpoints.pickled import Settings
from stars.checkpoints.reading import CheckpointError, Contents, Stored, opened
from stars.checkpoints.sizes import decoder_shape, encoder_shape
from stars.model.encoder import EncoderShape
from stars.model.mamp import DecoderShape

Layout = Literal["mamp", "stars", "bare"]
PARTS = ("encoder", "decoder", "objective", "teacher")
"""Each is a file `<part>.safetensors` in the output of a training stage."""

METADATA = "stars"
"""Under this name, safetensors written here hold a model card as JSON."""

STUDENT, TEACHER = "encoder_student.", "encoder_teacher."
"""Before the names of stage 2's encoders and of their heads."""

CENTRE = "centre"
"""DINO's running centre, which the published layout leaves out."""

_WRAPPER = "module."
_DECODER = ("decoder_", "mask_token")
_HEADS = ("head.", "teacher_head.")
_REMEMBERED = {"queue", "queue_ptr", "queue_id", CENTRE}
_COUNTERS = ("queue_ptr", "queue_id", "num_batches_tracked")
_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64)
_PUBLISHED_WIDTH, _PUBLISHED_HEADS = 256, 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """What was taken from a file, and what was left.

    Attributes:
        layout: which names the file uses.
        shape: the encoder's sizes.
        heads_from: what says how many heads the encoder has: no tensor does.
        decoder_shape: the decoder's sizes, where it has one.
        encoder: its tensors, under our names, which are the published ones.
        decoder: those of stage 1's decoder, with the mask token; may be none.
        objective: heads and queue of stage 2; may be none.
        teacher: the tensors of MoCo's or DINO's second encoder; may be none.
        left: names in the file that were not taken.
    """

    layout: Layout
    shape: EncoderShape
    heads_from: str
    decoder_shape: DecoderShape | None
    encoder: dict[str, Tensor]
    decoder: dict[str, Tensor]
    objective: dict[str, Tensor]
    teacher: dict[str, Tensor]
    left: tuple[str, ...]

    def parts(self) -> dict[str, dict[str, Tensor]]:
        """The tensors by part, those parts that have any."""
        return {name: tensors for name in PARTS if (tensors := getattr(self, name))}

    def content(self) -> str:
        """SHA-256 of the tensors: names, element types, shapes and little-endian bytes, part by part, sorted."""
        return content_hash(self.parts())


def content_hash(parts: Mapping[str, Mapping[str, Tensor]]) -> str:
    """See `Weights.content`."""
    digest = hashlib.sha256()
    for part, tensors in sorted(parts.items()):
        for name, tensor in sorted(tensors.items()):
            digest.update(f"{part}/{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_weights(path: Path, heads: int | None = None) -> Weights:
    """The weights in a file of any of the layouts.

    Args:
        path: the file.
        heads: attention heads of the encoder. Default: what the file says, else 8 for an encoder of width 256.

    Raises:
        CheckpointError: a file that cannot be read, names of no known layout, tensors that are missing or do not fit
            each other, numbers that are not finite, or no way to know the heads.
    """
    with opened(path) as contents:
        layout, by_part, left, said = _sorted(path, contents)
        _check_types(path, by_part)
        named = {f"{part}/{name}": stored for part, tensors in by_part.items() for name, stored in tensors.items()}
        loaded = contents.load(named)
        card = _card(path, contents)
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for key, tensor in loaded.items():
        part, _, name = key.partition("/")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"{path}: {name} holds numbers that are not finite; allowed: finite weights")
        parts[part][name] = tensor
    number, source = _heads(path, heads, card.get("heads", said), parts["encoder"])
    shape = encoder_shape(path, parts["encoder"], number)
    if parts["teacher"] and encoder_shape(path, parts["teacher"], number) != shape:
        raise CheckpointError(f"{path} has a teacher of other sizes than the student; allowed: the same")
    _check_objective(path, shape.width, parts["objective"])
    weights = Weights(
        layout=layout,
        shape=shape,
        heads_from=source,
        decoder_shape=decoder_shape(path, shape, parts["decoder"]) if parts["decoder"] else None,
        left=left,
        **parts,
    )
    if "content" in card and card["content"] != weights.content():
        raise CheckpointError(f"{path} is damaged: its tensors no longer have the SHA-256 that it records")
    return weights


_Sorted = dict[str, dict[str, Stored]]


def _sorted(path: Path, contents: Contents) -> tuple[Layout, _Sorted, tuple[str, ...], object]:
    """Layout, tensors by part, names left, and the heads that the file's arguments say, if any."""
    document: Mapping[str, object] = contents.document
    prefix, outside, said = "", list[str](), None
    if isinstance(model := document.get("model"), dict):
        prefix, outside = "model/", [name for name in document if name != "model"]
        said = _said_heads(document.get("args"))
        document = {str(name): value for name, value in model.items()}
    tensors = {name: value for name, value in document.items() if isinstance(value, Stored)}
    left = [*outside, *(f"{prefix}{name}" for name in document if name not in tensors)]
    if tensors and all(name.startswith(_WRAPPER) for name in tensors):
        tensors = {name.removeprefix(_WRAPPER): value for name, value in tensors.items()}
    flat = any(name.startswith(STUDENT) for name in tensors)
    parts: _Sorted = {part: {} for part in PARTS}
    for name, value in tensors.items():
        found = _place(name, flat)
        if found is None or (found[0] == "objective" and prefix):
            left.append(f"{prefix}{name}")
        else:
            parts[found[0]][found[1]] = value
    if "temp_embed" not in parts["encoder"]:
        raise CheckpointError(
            f"{path} holds no encoder: {len(tensors)} tensors, such as {', '.join(sorted(tensors)[:3]) or 'none'}; "
            "allowed: the layouts of MAMP ('model' with temp_embed, …) and STARS (encoder_student.temp_embed, …)"
        )
    layout: Layout = "stars" if flat else "mamp" if prefix else "bare"
    return layout, parts, tuple(left), said


def _place(name: str, flat: bool) -> tuple[str, str] | None:
    """Part and our name of a tensor; None for one that no part has."""
    for before, part, head in ((STUDENT, "encoder", ""), (TEACHER, "teacher", "teacher_")):
        if name.startswith(before):
            own = name.removeprefix(before)
            return ("objective", f"{head}{own}") if own.startswith("head.") else (part, own)
    if name.startswith(_HEADS) or name in _REMEMBERED:
        return "objective", name
    if flat:
        return None
    return ("decoder", name) if name.startswith(_DECODER) else ("encoder", name)


def _check_types(path: Path, parts: _Sorted) -> None:
    for tensors in parts.values():
        for name, stored in tensors.items():
            types = _TYPES if name.endswith(_COUNTERS) else tuple(t for t in _TYPES if t.is_floating_point)
            if stored.dtype not in types:
                allowed = ", ".join(str(dtype).removeprefix("torch.") for dtype in types)
                raise CheckpointError(f"{path}: {name} holds {stored.dtype} numbers; allowed: {allowed}")


def _check_objective(path: Path, width: int, objective: Mapping[str, Tensor]) -> None:
    """Heads and queue must fit the encoder's features. Raises CheckpointError naming the first that does not."""
    queue = objective.get("queue")
    if queue is None and (alone := sorted({"queue_ptr", "queue_id"} & objective.keys())):
        raise CheckpointError(f"{path} has {alone[0]} and no queue; allowed: both")
    # The dimension that the encoder's features enter, or a queue's columns have.
    entered = {"queue": 0, "head.weight": 1, "head.predictor.0.weight": 1, "head.projector.0.weight": 0}
    entered |= {f"teacher_{name}": place for name, place in entered.items() if name != "queue"}
    for name, place in entered.items():
        shape = tuple(objective[name].shape) if name in objective else ()
        if shape and (len(shape) <= place or shape[place] != width):
            raise CheckpointError(
                f"{path}: {name} is {shape}; allowed: {width}, the encoder's width, as number {place + 1}"
            )
    if queue is not None:
        wanted = {"queue_ptr": (1,), "queue_id": (queue.shape[-1],)}
        for name, allowed in wanted.items():
            if name in objective and tuple(objective[name].shape) != allowed:
                raise CheckpointError(f"{path}: {name} is {tuple(objective[name].shape)}; allowed: {allowed}")


def _said_heads(arguments: object) -> object:
    """The heads in the arguments that a stage-1 file carries: `num_heads`, alone or among `model_args`."""
    values: object = arguments.values if isinstance(arguments, Settings) else arguments
    for level in (values, values.get("model_args") if isinstance(values, dict) else None):
        if isinstance(level, dict) and "num_heads" in level:
            return level["num_heads"]
    return None


def _heads(path: Path, given: int | None, said: object, encoder: Mapping[str, Tensor]) -> tuple[int, str]:
    width = encoder["temp_embed"].shape[-1]
    if given is not None:
        return given, "--heads"
    if type(said) is int:
        return said, "the file"
    if width == _PUBLISHED_WIDTH:
        return _PUBLISHED_HEADS, f"the published width of {width}"
    raise CheckpointError(f"{path} does not say how many heads its encoder of width {width} has; allowed: --heads N")


def _card(path: Path, contents: Contents) -> dict[str, object]:
    """The model card in safetensors written here; nothing where there is none."""
    if METADATA not in contents.metadata:
        return {}
    try:
        card = json.loads(contents.metadata[METADATA])
    except (ValueError, RecursionError) as problem:
        raise CheckpointError(f"{path}: its model card is no JSON: {problem}") from problem
    if not isinstance(card, dict):
        raise CheckpointError(f"{path}: its model card is a {type(card).__name__}; allowed: an object")
    return card
