"""The sizes that tensors have, and whether all of an encoder or decoder is there.

Letters: D width, S segments, J joints, U frames of a patch, H hidden width of a block's perceptron.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from stars.checkpoints.reading import CheckpointError
from stars.model.encoder import Encoder, EncoderShape
from stars.model.mamp import DecoderShape, Mamp, Masking, encoder_state


def encoder_shape(path: Path, encoder: Mapping[str, Tensor], heads: int) -> EncoderShape:
    """The encoder's sizes, from its tensors.

    Raises:
        CheckpointError: a tensor is missing, does not fit the others or belongs to no encoder; or heads that do not
            divide the width. Names `path`.
    """
    _, segments, _, width = _shape(path, encoder, "temp_embed", (1, None, 1, None))
    _, _, joints, _ = _shape(path, encoder, "pos_embed", (1, 1, None, width))
    _, _, patch, _ = _shape(path, encoder, "joints_embed.proj.weight", (width, 3, None, 1))
    depth, hidden = _blocks(path, encoder, "blocks", width)
    try:
        shape = EncoderShape(
            frames=segments * patch,
            joints=joints,
            patch=patch,
            width=width,
            depth=depth,
            heads=heads,
            mlp_ratio=_ratio(hidden, width),
        )
    except ValueError as problem:
        raise CheckpointError(f"{path} holds no encoder of this kind: {problem}") from problem
    _compare(path, encoder, Encoder(shape).state_dict())
    return shape


def decoder_shape(path: Path, shape: EncoderShape, decoder: Mapping[str, Tensor]) -> DecoderShape:
    """The sizes of the decoder beside an encoder of this shape. Raises CheckpointError as `encoder_shape` does."""
    width, _ = _shape(path, decoder, "decoder_embed.weight", (None, shape.width))
    depth, _ = _blocks(path, decoder, "decoder_blocks", width)
    try:
        found = DecoderShape(width=width, depth=depth)
        # The share of hidden tokens has no tensor; half of them can be hidden whatever the sizes.
        state = Mamp(shape, found, Masking(ratio=0.5)).state_dict()
    except ValueError as problem:
        raise CheckpointError(f"{path} holds no decoder of this kind: {problem}") from problem
    _compare(path, decoder, {name: state[name] for name in state.keys() - encoder_state(state).keys()})
    return found


def _shape(path: Path, tensors: Mapping[str, Tensor], name: str, wanted: tuple[int | None, ...]) -> tuple[int, ...]:
    """A tensor's shape; None stands for any length above 0."""
    if name not in tensors:
        raise CheckpointError(f"{path}: {name} is missing; allowed: all tensors of an encoder, or of a decoder")
    found = tuple(tensors[name].shape)
    fits = len(found) == len(wanted) and all(
        length > 0 if want is None else length == want for length, want in zip(found, wanted, strict=True)
    )
    if not fits:
        shown = ", ".join("any" if want is None else str(want) for want in wanted)
        raise CheckpointError(f"{path}: {name} has the shape {found}; allowed: ({shown})")
    return found


def _blocks(path: Path, tensors: Mapping[str, Tensor], name: str, width: int) -> tuple[int, int]:
    """Number of blocks and hidden width.

    The two large matrices of every block are looked at here: what a model of these sizes takes in memory then stays in
    proportion to the file.
    """
    numbers = {int(found[1]) for key in tensors if (found := re.match(rf"{name}\.([0-9]{{1,6}})\.", key))}
    _, _ = _shape(path, tensors, f"{name}.0.attn.qkv.weight", (3 * width, width))
    hidden, _ = _shape(path, tensors, f"{name}.0.mlp.fc1.weight", (None, width))
    for number in range(len(numbers)):
        _shape(path, tensors, f"{name}.{number}.attn.qkv.weight", (3 * width, width))
        _shape(path, tensors, f"{name}.{number}.mlp.fc1.weight", (hidden, width))
    return len(numbers), hidden


def _ratio(hidden: int, width: int) -> float:
    """The ratio that gives back this hidden width when a block cuts the product to a whole number."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def _compare(path: Path, given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    for name, tensor in expected.items():
        _shape(path, given, name, tuple(tensor.shape))
    if foreign := sorted(given.keys() - expected.keys()):
        raise CheckpointError(f"{path}: {foreign[0]} belongs to no encoder or decoder; allowed: only their tensors")
