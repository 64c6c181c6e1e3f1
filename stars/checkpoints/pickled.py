"""The pickle inside a torch archive, read without executing anything that it asks for.

What torch's own restricted loader (`weights_only`) lets through can still ask for any amount of memory (a bytearray of
a given length, a tensor expanded over one number). Here a tensor is only described: which part of which storage it is,
checked against that storage's length. Bytes are read later, for the tensors that are wanted. An `argparse.Namespace`
becomes a `Settings`, which holds plain values and is never called.
"""

import io
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from stars.data.exchange.unpickle import MOST_DIMENSIONS, Bounded, Named, Reader, Refused, Stateful

_NAMESPACE = "argparse.Namespace"
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


@dataclass(frozen=True, eq=False)
class Region:
    """A tensor in a pickle: where its elements lie.

    Attributes:
        storage: name of the archive's record that holds them.
        dtype: of an element.
        length: elements in the storage.
        offset: of the first element.
        shape: of the tensor.
        stride: elements from one to the next, by dimension.
    """

    storage: str
    dtype: torch.dtype
    length: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes that the tensor takes in memory."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(eq=False)
class Settings(Stateful):
    """An `argparse.Namespace` in a pickle: plain values by name."""

    values: dict[str, object] = field(default_factory=dict)

    def fill(self, state: Any) -> None:
        """Take the values."""
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise Refused("a Namespace of something other than values by name")
        self.values = state


class _Ordered(dict[Any, Any], Stateful):
    """An ordered dict. A module's versions, which torch hangs on it, are passed over."""

    def fill(self, state: Any) -> None:
        if not isinstance(state, dict):
            raise Refused("the state of an OrderedDict that is none")


@dataclass(frozen=True, eq=False)
class _Storage:
    record: str
    dtype: torch.dtype
    length: int


class _TensorReader(Reader):
    """The restricted machine with torch's storages, and objects of the one class that is known."""

    def load_persistent(self) -> None:
        """A storage: its type, name, place (without meaning here) and length."""
        asked = self.stack.pop()
        if not isinstance(asked, tuple) or len(asked) != 5 or asked[0] != "storage":
            raise Refused("a persistent value that is no storage of torch")
        _, kind, record, _, length = asked
        name = kind.name.removeprefix("torch.") if isinstance(kind, Named) else ""
        if name not in _STORAGES:
            raise Refused("a storage of something other than plain numbers")
        if not isinstance(record, str) or not re.fullmatch(r"[0-9]{1,9}", record):
            raise Refused("a storage without a number for its name")
        if type(length) is not int or length < 0:
            raise Refused("a storage with a length that is none")
        self.stack.append(_Storage(record, _STORAGES[name], length))

    def load_newobj(self) -> None:
        """An empty Namespace, by protocol 2 and later."""
        given = self.stack.pop()
        named = self.stack[-1]
        if not isinstance(named, Named) or named.name != _NAMESPACE or given != ():
            raise Refused(f"an object of {named.name if isinstance(named, Named) else type(named).__name__}")
        self.stack[-1] = Settings()


_INSTRUCTIONS: dict[int, Callable[[Any], None]] = {
    ord("Q"): _TensorReader.load_persistent,
    0x81: _TensorReader.load_newobj,
}
_TensorReader.dispatch = {**Reader.dispatch, **_INSTRUCTIONS}


def _tensor(storage: object, offset: object, shape: object, stride: object, *_: object) -> Region:
    if not isinstance(storage, _Storage):
        raise Refused("a tensor of what is no storage")
    sizes, steps = _lengths(shape), _lengths(stride)
    if len(sizes) != len(steps) or type(offset) is not int or offset < 0:
        raise Refused("a tensor with a shape that is none")
    num_elements = math.prod(sizes)
    last = offset + sum((size - 1) * step for size, step in zip(sizes, steps, strict=True))
    if num_elements and (num_elements > storage.length or last >= storage.length):
        raise Refused(f"a tensor of {sizes} from a storage of {storage.length}")
    return Region(storage.record, storage.dtype, storage.length, offset, sizes, steps)


def _lengths(given: object) -> tuple[int, ...]:
    lengths = given if isinstance(given, tuple) and len(given) <= MOST_DIMENSIONS else None
    if lengths is None or not all(type(length) is int and 0 <= length < 2**62 for length in lengths):
        raise Refused("a tensor with a shape that is none")
    return lengths


def _parameter(tensor: object, *_: object) -> Region:
    if not isinstance(tensor, Region):
        raise Refused("a parameter of what is no tensor")
    return tensor


def _ordered(pairs: object = ()) -> _Ordered:
    if pairs != ():
        raise Refused("an OrderedDict that does not begin empty")
    return _Ordered()


def _size(lengths: object) -> tuple[int, ...]:
    return _lengths(lengths)


_TensorReader.allowed = {
    **Reader.allowed,
    **{f"torch.{name}": None for name in _STORAGES},
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _size,
    "collections.OrderedDict": _ordered,
    _NAMESPACE: None,
}


def loads(content: bytes) -> object:
    """The value in a pickle: plain values, tensors as `Region`, a Namespace as `Settings`.

    Raises:
        Refused: it asks for anything else; the message names what.
        ValueError: it is cut, or no pickle (any of `unpickle.FAULTS`).
    """
    return _TensorReader(Bounded(io.BytesIO(content), len(content))).load()
