"""The restricted reader of pickles: arrays of every kind come through, and nothing else does anything."""

import collections
import io
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from stars.data.exchange import unpickle
from stars.data.exchange.unpickle import Refused, Restored, load

ARRAYS = [
    np.arange(24, dtype=dtype).reshape(2, 3, 4) for dtype in ("<f4", ">f4", "f2", "f8", "i1", "<i8", ">i2", "u1", "u8")
]
ARRAYS += [np.asfortranarray(ARRAYS[0]), ARRAYS[0][:, ::2], np.zeros((2, 0, 3), np.float32), np.array([True, False])]


def same(found: Any, expected: Any) -> None:
    if isinstance(expected, np.ndarray):
        assert isinstance(found, Restored)
        assert found.value is not None
        assert found.value.dtype == expected.dtype
        np.testing.assert_array_equal(found.value, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_arrays_and_plain_values_come_through(tmp_path: Path, protocol: int) -> None:
    document = {
        "arrays": ARRAYS,
        "again": ARRAYS[0],
        "plain": [None, True, -1, 2**70, 1.5, "ä", b"b" * 300, (1, (2, ())), {"a": {3: []}}],
        "numbers": [np.int64(7), np.float32(0.5)],
    }
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(document, protocol=protocol))
    same(load(path), document)


def test_the_spelling_of_numpy_1_is_read(tmp_path: Path) -> None:
    content = pickle.dumps({"a": ARRAYS[0]}, protocol=3)
    assert b"numpy._core" in content
    (tmp_path / "a.pkl").write_bytes(content.replace(b"numpy._core", b"numpy.core"))
    same(load(tmp_path / "a.pkl"), {"a": ARRAYS[0]})


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any], *given: Any) -> None:
        self.reduced = function, given

    def __reduce__(self) -> Any:
        return self.reduced


class Plain:
    """An object with state, as ordinary programs pickle them."""

    def __init__(self) -> None:
        self.a = 1


def program(*parts: bytes) -> bytes:
    return b"\x80\x04" + b"".join(parts) + b"."


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


RECONSTRUCT = named("numpy._core.multiarray", "_reconstruct")
NDARRAY = named("numpy", "ndarray")
FLOATS = named("numpy", "dtype") + text("f4") + b"\x85R"
MARKER = "open_me"

MALICIOUS: dict[str, tuple[bytes, str]] = {
    **{
        f"a call, protocol {protocol}": (pickle.dumps(Calls(os.system, f"touch {MARKER}"), protocol), "posix.system")
        for protocol in range(6)
    },
    "eval": (pickle.dumps(Calls(eval, f"open({MARKER!r}, 'w')")), "builtins.eval"),
    "exec by its old name": (program(b"c__builtin__\nexec\n", text("1"), b"\x85R"), "__builtin__.exec"),
    "getattr": (pickle.dumps(Calls(getattr, "a", "upper")), "builtins.getattr"),
    "a class": (pickle.dumps(Plain()), "Plain"),
    "an ordered dict": (pickle.dumps(collections.OrderedDict(a=1)), "collections.OrderedDict"),
    "a file of numpy": (program(named("numpy", "load"), text(MARKER), b"\x85R"), "numpy.load"),
    "a dotted name": (program(named("numpy", "ndarray.tofile")), "numpy.ndarray.tofile"),
    "a name of another module": (program(named("numpy.os", "system"), text("true"), b"\x85R"), "numpy.os.system"),
    "numpy's own memory map": (program(named("numpy", "memmap")), "numpy.memmap"),
    "INST": (b"(S'true'\nios\nsystem\n.", "the instruction INST"),
    "OBJ": (program(b"(", NDARRAY, b"o"), "the instruction OBJ"),
    "NEWOBJ": (program(NDARRAY, b")\x81"), "the instruction NEWOBJ"),
    "NEWOBJ_EX": (program(NDARRAY, b")}\x92"), "the instruction NEWOBJ_EX"),
    "a persistent name": (b"Pabc\n.", "the instruction PERSID"),
    "a persistent value": (program(text("a"), b"Q"), "the instruction BINPERSID"),
    "an extension": (b"\x80\x02\x82\x01.", "the instruction EXT1"),
    "an outside buffer": (b"\x80\x05\x97.", "the instruction NEXT_BUFFER"),
    "an object array": (pickle.dumps(np.array([{"a": 1}], object)), "arrays of type 'O8'"),
    "a type with fields": (pickle.dumps(np.zeros(2, [("a", "f4")])), "arrays of type 'V4'"),
    "calling the class": (program(NDARRAY, b"K\x03\x85R"), "a call of numpy.ndarray"),
    "calling a value": (program(text("a"), b")R"), "a call of str"),
    "state of a function": (program(RECONSTRUCT, b"}", text("__code__"), b"Nsb"), "the state of a Named"),
    "state of a dict": (program(b"}}b"), "the state of a dict"),
    "an array of a million to begin with": (
        program(RECONSTRUCT, b"(", NDARRAY, b"J\x00\x00\x00\x7f\x85", text("b"), b"tR"),
        "does not begin as NumPy's do",
    ),
    "an array larger than its bytes": (
        program(
            RECONSTRUCT, b"(", NDARRAY, b"K\x00\x85C\x01btR", b"(K\x01J\x00\x00\x00\x7f\x85", FLOATS, b"\x89C\x04abcdtb"
        ),
        "not as many",
    ),
    "an array of a negative shape": (
        program(
            RECONSTRUCT, b"(", NDARRAY, b"K\x00\x85C\x01btR", b"(K\x01J\xff\xff\xff\xff\x85", FLOATS, b"\x89C\x04abcdtb"
        ),
        "a shape that is none",
    ),
    "a deeply nested key": (program(b"}", b")", b"\x85" * 200_000, b"Ns"), "a tuple as its key"),
    "a deeply nested key among many": (program(b"}(", b")", b"\x85" * 1_000, b"Nu"), "a tuple as its key"),
    "a deeply nested key of a dict": (b"(" + b")" + b"\x85" * 1_000 + b"Nd.", "a tuple as its key"),
}


@pytest.mark.parametrize("what", MALICIOUS)
def test_everything_else_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    content, name = MALICIOUS[what]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(content)
    with pytest.raises(Refused) as problem:
        load(tmp_path / "a.pkl")
    assert name in str(problem.value)
    assert not (tmp_path / MARKER).exists()


def test_the_corpus_does_what_it_says_elsewhere(tmp_path: Path) -> None:
    """Otherwise the test above would refuse what is harmless."""
    (tmp_path / "a.pkl").write_bytes(MALICIOUS["a call, protocol 4"][0])
    program = "import pickle; pickle.load(open('a.pkl', 'rb'))"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert (tmp_path / MARKER).exists()


GREEDY = {
    "bytes of a terabyte": program(b"\x8e" + struct.pack("<Q", 2**40)),
    "changeable bytes of a terabyte": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "text of a terabyte": program(b"\x8d" + struct.pack("<Q", 2**40)),
    "a frame of a terabyte": program(b"\x95" + struct.pack("<Q", 2**40)),
    "a number of two gigabytes": program(b"\x8b" + struct.pack("<i", 2**31 - 1)),
    "a number of fewer than no bytes": program(b"\x8b" + struct.pack("<i", -1)),
    "a text number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "a memo that is not there": program(b"j" + struct.pack("<I", 2**32 - 1)),
    "nothing": b"",
    "a value too few": program(b"u"),
    "an unknown instruction": program(b"\xff"),
    "no pickle": b"hello",
}


@pytest.mark.parametrize("what", GREEDY)
def test_what_is_announced_is_not_believed(tmp_path: Path, what: str) -> None:
    (tmp_path / "a.pkl").write_bytes(GREEDY[what])
    with pytest.raises(ValueError, match="is no pickle that can be read"):
        load(tmp_path / "a.pkl")


def test_a_memo_of_four_billion_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(program(b"N", b"r" + struct.pack("<I", 2**32 - 1)))
    assert load(tmp_path / "a.pkl") is None


WHOLE = pickle.dumps({"annotations": [{"frame_dir": "a", "label": np.int64(1), "keypoint": ARRAYS[0]}]}, 4)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_mutations_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        content = content or bytearray(b".")
    path = tmp_path_factory.getbasetemp() / "mutated.pkl"
    path.write_bytes(content)
    try:
        load(path)
    except ValueError as problem:
        assert str(path) in str(problem)  # noqa: PT017 - either of both is right


def test_a_cut_anywhere_is_no_pickle(tmp_path: Path) -> None:
    for end in range(len(WHOLE)):
        (tmp_path / "a.pkl").write_bytes(WHOLE[:end])
        with pytest.raises(ValueError, match="no pickle that can be read"):
            load(tmp_path / "a.pkl")
    assert pickle.load(io.BytesIO(WHOLE))


def test_instructions_are_counted_against_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickle, "_MOST_INSTRUCTIONS", 1000)
    (tmp_path / "a.pkl").write_bytes(program(b"(", b"}\x94" * 400, b"l"))
    assert load(tmp_path / "a.pkl") == [{}] * 400
    (tmp_path / "a.pkl").write_bytes(program(b"(", b"}\x94" * 600, b"l"))
    with pytest.raises(ValueError, match=r"it has more than 1075 instructions, too many for its size"):
        load(tmp_path / "a.pkl")
    # Bytes of arrays allow for more of them.
    (tmp_path / "a.pkl").write_bytes(
        program(b"B" + struct.pack("<I", 16_000) + bytes(16_000), b"0(", b"}\x94" * 600, b"l")
    )
    assert load(tmp_path / "a.pkl") == [{}] * 600


def test_what_is_too_large_or_no_file_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pkl").write_bytes(WHOLE)
    monkeypatch.setattr(unpickle, "MOST_BYTES", len(WHOLE) - 1)
    with pytest.raises(ValueError, match=rf"has {len(WHOLE)} bytes; allowed: at most {len(WHOLE) - 1}"):
        load(tmp_path / "a.pkl")
    os.mkfifo(tmp_path / "b.pkl")
    with pytest.raises(ValueError, match="no regular file"):
        load(tmp_path / "b.pkl")
