"""Reading a pickle without executing anything that it asks for.

A pickle is a program: it names functions and calls them. This reader knows the few that NumPy's arrays need, and puts
its own in their place; it calls nothing else, sets no attribute and imports nothing. Everything that a pickle may ask
for besides plain values is refused by name; `stars.checkpoints.pickled` knows the few names more that tensors need.
Memory stays in proportion to the file: no length is believed that goes beyond its end, and of instructions, each of
which may cost a hundred bytes, no more are followed than files of arrays have. In Python, since the memo table of the
compiled reader grows to any size that four bytes can ask for.
"""

import math
import pickle
import pickletools
import re
import stat
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar, NoReturn

import numpy as np

MOST_DIMENSIONS = 8
MOST_BYTES = 8 * 2**30
"""Of a file of annotations, which is whole in memory: that of NTU RGB+D 120 in three dimensions has below 3 GB."""
_MOST_INSTRUCTIONS = 1_000_000
_BYTES_AN_INSTRUCTION = 16
"""Above so many instructions a file has at least so many bytes for each: an annotation takes about 80 instructions,
and the joints of a second take 4 KB."""
FAULTS = (
    *(pickle.UnpicklingError, EOFError, LookupError, TypeError, ValueError, AttributeError, OverflowError),
    *(AssertionError, struct.error),
)
"""What the pickle machine raises for bytes that are no pickle."""

_NUMBER = re.compile(r"f[248]|[iu][1248]|b1")
_VALUES = """
    PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT
    BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT
    SETITEM SETITEMS PUT BINPUT LONG_BINPUT GET BINGET LONG_BINGET MEMOIZE GLOBAL STACK_GLOBAL REDUCE BUILD
"""


class Refused(ValueError):  # noqa: N818 — it reads as what it says
    """A pickle asks for something that reading an array does not need. Names it."""


class Stateful:
    """What a pickle may give a state: a stand-in of ours, never an object of its own."""

    def fill(self, state: Any) -> None:
        """Take the state. Raises Refused for one that is not expected."""
        raise NotImplementedError(type(self).__name__)


@dataclass(eq=False)
class Restored(Stateful):
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
class _Type(Stateful):
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
class Named:
    """What stands for a global of the pickle; without `make` it cannot be called."""

    name: str
    make: Callable[..., object] | None = None


def load(path: Path) -> object:
    """The value in a pickle: lists, tuples, dicts, text, bytes, numbers, and arrays as `Restored`.

    Raises:
        Refused: it asks for anything else; the message names what.
        ValueError: it is cut, too large, or no pickle.
        OSError: it cannot be opened.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is no regular file; allowed: a pickle")
    if status.st_size > MOST_BYTES:
        raise ValueError(f"{path} has {status.st_size} bytes; allowed: at most {MOST_BYTES}, since all are in memory")
    with path.open("rb") as file:
        try:
            most = _MOST_INSTRUCTIONS + status.st_size // _BYTES_AN_INSTRUCTION
            return Reader(Bounded(file, status.st_size), most).load()
        except Refused as problem:
            raise Refused(f"{path} is refused: it asks for {problem}") from problem
        except FAULTS as problem:
            raise ValueError(f"{path} is no pickle that can be read: {problem}") from problem


class Bounded:
    """A file that reads no further than its end."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        """A file of `size` bytes."""
        self.file, self.size = file, size

    def read(self, length: int) -> bytes:
        """The next `length` bytes. Raises EOFError where there are fewer."""
        # Python allocates what is asked for before it reads.
        if length > self.size - self.file.tell():
            raise EOFError(f"{length} bytes are announced where fewer are left")
        return self.file.read(length)

    def readline(self) -> bytes:
        """What comes before the next end of a line, and that."""
        return self.file.readline()


class _Counted(dict[int, Callable[[pickle.Unpickler], None]]):
    """The instructions of the pickle machine, so many times."""

    def __init__(self, dispatch: Mapping[int, Callable[[pickle.Unpickler], None]], most: int) -> None:
        super().__init__(dispatch)
        self.most = self.left = most

    def __getitem__(self, code: int) -> Callable[[pickle.Unpickler], None]:
        self.left -= 1
        if self.left < 0:
            raise pickle.UnpicklingError(f"it has more than {self.most} instructions, too many for its size")
        return super().__getitem__(code)


class Reader(pickle._Unpickler):
    """The pickle machine with everything taken out that could reach beyond values.

    `load` raises Refused, and one of FAULTS for what is no pickle.
    """

    stack: list[Any]
    allowed: ClassVar[Mapping[str, Callable[..., object] | None]]
    """What stands for each global that is known; None for one that is only passed on."""

    def __init__(self, file: Bounded, most_instructions: int | None = None) -> None:
        """A reader of what `file` holds, which follows so many instructions at most; None follows all."""
        super().__init__(file)
        if most_instructions is not None:
            self.dispatch = _Counted(type(self).dispatch, most_instructions)  # type: ignore[misc]

    def find_class(self, module: str, name: str) -> Any:
        """Our own stand-in for a global. Raises Refused for all that no array needs."""
        asked = f"{module}.{name}"
        if asked not in self.allowed:
            raise Refused(asked[:200])
        return Named(asked, self.allowed[asked])

    def load_reduce(self) -> None:
        """Call one of our own functions."""
        given = self.stack.pop()
        named = self.stack[-1]
        if not isinstance(named, Named) or named.make is None or not isinstance(given, tuple):
            raise Refused(f"a call of {named.name if isinstance(named, Named) else type(named).__name__}")
        self.stack[-1] = named.make(*given)

    def load_build(self) -> None:
        """Give a stand-in its state."""
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, Stateful):
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
    "REDUCE": Reader.load_reduce,
    "BUILD": Reader.load_build,
    "BYTEARRAY8": Reader.load_bytearray8,
    "SETITEM": Reader.load_setitem,
    "SETITEMS": Reader.load_setitems,
    "DICT": Reader.load_dict,
}
Reader.dispatch = {
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
    if not isinstance(kind, Named) or kind.name != "numpy.ndarray" or shape != (0,) or code not in (b"b", "b"):
        raise Refused("an array that does not begin as NumPy's do")
    return Restored()


def _from_buffer(content: object, kind: object, shape: object, order: object) -> Restored:
    return Restored(_array(content, kind, shape, order))


def _array(content: object, kind: object, shape: object, order: object) -> np.ndarray:
    """The array of these bytes."""
    if not isinstance(kind, _Type):
        raise Refused("an array of what is no type of numbers")
    lengths = shape if isinstance(shape, tuple) and len(shape) <= MOST_DIMENSIONS else ()
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


Reader.allowed = {
    "numpy.ndarray": None,
    "numpy.dtype": _new_type,
    "_codecs.encode": _bytes,
    # NumPy 2 has moved what NumPy 1 called `core`.
    **{f"numpy.{core}.multiarray._reconstruct": _new_array for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": _number for core in ("core", "_core")},
    **{f"numpy.{core}.numeric._frombuffer": _from_buffer for core in ("core", "_core")},
}
