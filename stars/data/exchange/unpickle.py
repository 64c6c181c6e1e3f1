"""Reading a pickle without executing anything that it asks for.

A pickle is a program: it names functions and calls them. This reader knows the few that NumPy's arrays need, and puts
its own in their place; it calls nothing else, sets no attribute and imports nothing. Everything that a pickle may ask
for besides plain values is refused by name. Memory stays in proportion to the file: no length is believed that goes
beyond its end. In Python, since the memo table of the compiled reader grows to any size that four bytes can ask for.
"""

import math
import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

_MOST_DIMENSIONS = 8
_NUMBER = re.compile(r"f[248]|[iu][1248]|b1")
_VALUES = """
    PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT
    BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT
    SETITEM SETITEMS PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD
"""


class Refused(ValueError):  # noqa: N818 — it reads as what it says
    """A pickle asks for something that reading an array does not need. Names it."""


@dataclass(eq=False)
class Restored:
    """An array in a pickle.

    Attributes:
        value: the array, read-only; None in a pickle that begins an array and does not go on.
    """

    value: np.ndarray | None = None

    def fill(self, state: Any) -> None:
        """Take the array's state: version, shape, type, whether in Fortran order, bytes."""
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array's state that is not NumPy's")
        self.value = _array(state[4], state[2], state[1], "F" if state[3] is True else "C")


@dataclass(eq=False)
class _Type:
    """A type of numbers, from its code and then its byte order."""

    code: str
    order: str = "<"

    def fill(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
            raise Refused("a type's state that is not that of plain numbers")
        self.order = state[1]

    @property
    def value(self) -> np.dtype[Any]:
        return np.dtype(f"{self.order}{self.code}")


@dataclass(frozen=True, eq=False)
class _Named:
    """What stands for a global of the pickle; without `make` it cannot be called."""

    name: str
    make: Callable[..., object] | None = None


def load(path: Path) -> object:
    """The value in a pickle: lists, tuples, dicts, text, bytes, numbers, and arrays as `Restored`.

    Raises:
        Refused: it asks for anything else; the message names what.
        ValueError: it is cut, or no pickle.
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        try:
            return _Reader(_Bounded(file, path.stat().st_size)).load()
        except Refused as problem:
            raise Refused(f"{path} is refused: it asks for {problem}") from problem
        except (
            *(pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError, OverflowError),
            *(AssertionError, struct.error),
        ) as problem:
            raise ValueError(f"{path} is no pickle that can be read: {problem}") from problem


class _Bounded:
    """A file that reads no further than its end."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.size = file, size

    def read(self, length: int) -> bytes:
        # Python allocates what is asked for before it reads.
        if length > self.size - self.file.tell():
            raise EOFError(f"{length} bytes are announced where fewer are left")
        return self.file.read(length)

    def readline(self) -> bytes:
        return self.file.readline()


class _Reader(pickle._Unpickler):
    """The pickle machine with everything taken out that could reach beyond values."""

    stack: list[Any]

    def find_class(self, module: str, name: str) -> Any:
        """Our own stand-in for a global. Raises Refused for all that no array needs."""
        asked = f"{module}.{name}"
        if asked not in _GLOBALS:
            raise Refused(asked[:200])
        return _Named(asked, _GLOBALS[asked])

    def load_reduce(self) -> None:
        """Call one of our own functions."""
        given = self.stack.pop()
        named = self.stack[-1]
        if not isinstance(named, _Named) or named.make is None or not isinstance(given, tuple):
            raise Refused(f"a call of {named.name if isinstance(named, _Named) else type(named).__name__}")
        self.stack[-1] = named.make(*given)

    def load_build(self) -> None:
        """Give an array or a type its state."""
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, (Restored, _Type)):
            raise Refused(f"setting the state of a {type(target).__name__}")
        target.fill(state)

    def load_bytearray8(self) -> None:
        """Bytes that Python would make changeable."""
        (length,) = struct.unpack("<Q", self.read(8))  # type: ignore[attr-defined]
        self.append(self.read(length))  # type: ignore[attr-defined]

    def load_setitem(self) -> None:
        """One entry of a dict."""
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_key(key)] = value

    def load_setitems(self) -> None:
        """Entries of a dict."""
        items = self.pop_mark()  # type: ignore[attr-defined]
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.stack[-1][_key(key)] = value

    def load_dict(self) -> None:
        """A dict of what follows the mark."""
        items = self.pop_mark()  # type: ignore[attr-defined]
        self.append({_key(k): value for k, value in zip(items[::2], items[1::2], strict=True)})  # type: ignore[attr-defined]


def _refusal(name: str) -> Callable[[pickle.Unpickler], None]:
    def refuse(_: pickle.Unpickler) -> NoReturn:
        raise Refused(f"the instruction {name}")

    return refuse


_INHERITED = pickle._Unpickler.dispatch
_OURS: dict[str, Callable[[Any], None]] = {
    "REDUCE": _Reader.load_reduce,
    "BUILD": _Reader.load_build,
    "BYTEARRAY8": _Reader.load_bytearray8,
    "SETITEM": _Reader.load_setitem,
    "SETITEMS": _Reader.load_setitems,
    "DICT": _Reader.load_dict,
}
_Reader.dispatch = {
    ord(code.code): _OURS.get(code.name, _INHERITED[ord(code.code)])
    if code.name in _VALUES.split()
    else _refusal(code.name)
    for code in pickletools.opcodes
}


def _key(key: object) -> object:
    """A key of a dict. Others than text and numbers are refused: the hash of deeply nested tuples ends the process."""
    if not isinstance(key, (str, int)):
        raise Refused(f"a dict with a {type(key).__name__} as its key")
    return key


def _new_array(kind: object, shape: object, code: object) -> Restored:
    if not isinstance(kind, _Named) or kind.name != "numpy.ndarray" or shape != (0,) or code not in (b"b", "b"):
        raise Refused("an array that does not begin as NumPy's do")
    return Restored()


def _from_buffer(content: object, kind: object, shape: object, order: object) -> Restored:
    return Restored(_array(content, kind, shape, order))


def _array(content: object, kind: object, shape: object, order: object) -> np.ndarray:
    """The array of these bytes."""
    if not isinstance(kind, _Type):
        raise Refused("an array of what is no type of numbers")
    lengths = shape if isinstance(shape, tuple) and len(shape) <= _MOST_DIMENSIONS else ()
    if lengths is not shape or not all(isinstance(length, int) and length >= 0 for length in lengths):
        raise Refused("an array with a shape that is none")
    if not isinstance(content, bytes) or len(content) != math.prod(lengths) * kind.value.itemsize:
        raise Refused(f"an array of {lengths} from bytes that are not as many")
    if order not in ("C", "F"):
        raise Refused("an array in an order other than C and F")
    return np.ndarray(lengths, kind.value, content, order="F" if order == "F" else "C")


def _new_type(code: object, *_: object) -> _Type:
    if not isinstance(code, str) or not _NUMBER.fullmatch(code):
        raise Refused(f"arrays of type {code[:40] if isinstance(code, str) else type(code).__name__!r}")
    return _Type(code)


def _number(kind: object, content: object) -> object:
    return _array(content, kind, (), "C").item()


def _bytes(text: object, encoding: object) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused("text in an encoding other than latin1")
    return text.encode("latin1")


_GLOBALS: dict[str, Callable[..., object] | None] = {
    "numpy.ndarray": None,
    "numpy.dtype": _new_type,
    "_codecs.encode": _bytes,
    # NumPy 2 has moved what NumPy 1 called `core`.
    **{f"numpy.{core}.multiarray._reconstruct": _new_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _number for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
