"""Hostile pickles of annotations. None of them does more than create an empty file, if somebody executes it."""

# ruff: noqa: ARG001, ARG005 - every way of being hostile is offered a generator, and many need none

import functools
import pickle
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from benchmarks.hostile.case import Case, Named, altered

CANARY = "canary"
"""The file that appears in the working directory when a pickle is executed."""
_COMMAND = f"touch {CANARY}"


def program(*parts: bytes) -> bytes:
    """A pickle of these instructions."""
    return b"\x80\x04" + b"".join(parts) + b"."


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _named(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + b"\x93"


def annotations(random: Random) -> dict[str, Any]:
    """A good value."""
    draws = np.random.default_rng(random.randrange(2**32))
    samples = [
        {
            "frame_dir": f"S001C001P{number:03d}R001A00{number}",
            "total_frames": 5,
            "label": number,
            "keypoint": draws.normal(size=(1 + number % 2, 5, 25, 3)).astype(random.choice(("f4", "f2", "f8"))),
        }
        for number in (1, 2, 3)
    ]
    return {"split": {"xsub_train": [samples[0]["frame_dir"]]}, "annotations": samples}


def good(random: Random) -> bytes:
    """A good pickle."""
    return pickle.dumps(annotations(random), random.randint(2, 5))


_CALLS = {
    "os.system": program(_named("posix", "system"), _text(_COMMAND), b"\x85R"),
    "os.system by GLOBAL": b"cposix\nsystem\n(S'" + _COMMAND.encode() + b"'\ntR.",
    "os.system by INST": b"(S'" + _COMMAND.encode() + b"'\niposix\nsystem\n.",
    "os.system by OBJ": b"(cposix\nsystem\nS'" + _COMMAND.encode() + b"'\no.",
    "eval": program(_named("builtins", "eval"), _text(f"open({CANARY!r}, 'w')"), b"\x85R"),
    "exec by its old name": b'c__builtin__\nexec\n(S\'open("canary", "w")\'\ntR.',
    "subprocess": program(_named("subprocess", "getoutput"), _text(_COMMAND), b"\x85R"),
    "getattr": program(_named("builtins", "getattr"), _named("os", "path"), _text("os"), b"\x86R"),
    "a dotted name": program(_named("numpy", "ndarray.tofile")),
    "numpy.load": program(_named("numpy", "load"), _text("x.npy"), b"\x85R"),
    "NEWOBJ": program(_named("numpy", "ndarray"), b")\x81"),
    "NEWOBJ_EX": program(_named("numpy", "ndarray"), b")}\x92"),
    "the state of a function": program(
        _named("numpy._core.multiarray", "_reconstruct"), b"}", _text("__code__"), b"Nsb"
    ),
    "the state of a list": program(b"]}b"),
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent name": b"Pabc\n.",
    "a module of one's own": program(_named("evil", "run"), b")R"),
    "a name of 100,000 letters": program(_named("numpy", "a" * 100_000)),
}
_GREED = {
    "bytes of a terabyte": program(b"\x8e" + struct.pack("<Q", 2**40)),
    "changeable bytes of a terabyte": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "text of a billion": program(b"X" + struct.pack("<I", 10**9)),
    "a frame of a terabyte": program(b"\x95" + struct.pack("<Q", 2**40)),
    "a number of two gigabytes": program(b"\x8b" + struct.pack("<i", 2**31 - 1)),
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "a memo of four billion": program(b"N", b"r" + struct.pack("<I", 2**32 - 1)),
    "a memo of a text's billion": b"Np999999999999999999\n.",
    "lists in lists": program(b"]" * 100_000, b"a" * 99_999),
    "tuples in tuples": program(b")", b"\x85" * 100_000),
    "two hundred thousand lists": program(b"(", b"]\x94" * 200_000, b"l"),
    "a shape of many numbers": program(
        _named("numpy._core.multiarray", "_reconstruct") + b"(" + _named("numpy", "ndarray") + b"K\x00\x85C\x01btR",
        b"(K\x01J\x00\x00\x00\x7f\x85" + _named("numpy", "dtype") + _text("f4") + b"\x85R\x89C\x04abcdtb",
    ),
}
_MORE = b"\x86\x94"  # a pair of the two before, remembered


def _doubled(times: int) -> bytes:
    """A pair of two times the same pair of two times the same pair …"""
    return _text("a") + b"\x94" + b"".join((b"h" + bytes([number])) * 2 + _MORE for number in range(times))


def _as_entry(key: str, value: bytes) -> bytes:
    """A pickle of annotations whose only one has this value under this key."""
    entry = b"}" + _text(key) + value + b"s"
    return program(b"}", _text("annotations"), b"]", entry, b"as")


_WHERE = ("frame_dir", "label", "keypoint", "total_frames", "keypoint_score", "subject")


def _in_an_entry(value: bytes) -> Callable[[Random], bytes]:
    return lambda random: _as_entry(random.choice(_WHERE), value)


def _always(content: bytes, random: Random) -> bytes:
    return content


def _repeated_array(random: Random) -> bytes:
    """One array as the joints of a thousand samples."""
    keypoint = np.ones((1, 200, 25, 3), np.float32)
    samples = [
        {"frame_dir": f"s{number:04d}", "total_frames": 200, "label": 1, "keypoint": keypoint} for number in range(1000)
    ]
    return pickle.dumps({"annotations": samples}, 4)


def _odd_value(random: Random) -> bytes:
    document = annotations(random)
    odd: Any = random.choice(
        (None, -1, 10**30, 1e300, "x", b"x", [], {}, (), True, float("nan"), [[]], "é" * 300, "\0")
    )
    if random.randrange(4) == 0:
        document[random.choice(sorted(document))] = odd
    else:
        sample = random.choice(document["annotations"])
        sample[random.choice(sorted(sample))] = odd
    return pickle.dumps(document, 4)


NAMED: Named = {
    **{name: functools.partial(_always, content) for name, content in (_CALLS | _GREED).items()},
    "pairs of pairs without end": _in_an_entry(b"(" + _doubled(60) + b"t"),
    "pairs of pairs as a name": lambda random: _as_entry("frame_dir", b"(" + _doubled(60) + b"t"),
    "lists in lists as a name": lambda random: _as_entry("frame_dir", b"]" * 50_000 + b"a" * 49_999),
    "a number of many digits as a name": lambda random: _as_entry(
        "frame_dir", b"\x8b\x00\x40\x00\x00" + b"\x7f" * 2**14
    ),
    "one array a thousand times": _repeated_array,
    "an odd value": _odd_value,
    "cut anywhere": lambda random: (content := good(random))[: random.randrange(len(content))],
    "random bytes": lambda random: random.randbytes(random.randrange(300)),
}
LARGE_NAMED: Named = {
    "ten million dicts": lambda random: program(b"(", b"}\x94" * 10_000_000, b"l"),
    "ten million numbers": lambda random: program(b"(", b"K\x01" * 10_000_000, b"l"),
}


def draw(random: Random) -> Case:
    """A good pickle with any bytes changed, or one of the named ones."""
    if random.randrange(3) == 0:
        name = random.choice(sorted(NAMED))
        return Case("pickle", name, NAMED[name](random))
    return Case("pickle", "bytes", altered(random, good(random)))
