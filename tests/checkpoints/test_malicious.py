"""Pickles that ask for more than tensors are refused by name, and nothing that they ask for is executed."""

import argparse
import builtins
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stars.checkpoints.layouts import read_weights
from stars.checkpoints.reading import CheckpointError
from tests.checkpoints.files import entry, number, program, storage, tensor, torch_archive, word

CANARY = "executed"


class Calls:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any], *given: Any) -> None:
        self.reduced = function, given

    def __reduce__(self) -> Any:
        return self.reduced


class Restores:
    """Pickled as an object that is given a state."""

    def __setstate__(self, state: object) -> None:
        Path(CANARY).touch()

    def __getstate__(self) -> object:
        return {"a": 1}


def touch() -> Calls:
    return Calls(os.system, f"touch {CANARY}")


ONE = number(0) + number(1) + b"\x85" + number(1) + b"\x85"
NAMESPACE = b"cargparse\nNamespace\n"

MALICIOUS: dict[str, tuple[bytes, str]] = {
    "a call": (pickle.dumps(touch(), 2), "posix.system"),
    "a call in a dict": (pickle.dumps({"model": {"a": touch()}}, 2), "posix.system"),
    "a call in a Namespace": (pickle.dumps({"args": argparse.Namespace(a=[touch()])}, 2), "posix.system"),
    "a Namespace in a Namespace": (
        pickle.dumps(argparse.Namespace(a=argparse.Namespace(b=(touch(),))), 2),
        "posix.system",
    ),
    "eval": (pickle.dumps(Calls(eval, f"open({CANARY!r}, 'w')"), 2), "__builtin__.eval"),
    "exec, protocol 4": (pickle.dumps(Calls(exec, f"open({CANARY!r}, 'w')"), 4), "builtins.exec"),
    "import": (pickle.dumps(Calls(builtins.__import__, "antigravity"), 2), "__builtin__.__import__"),
    "getattr": (pickle.dumps(Calls(getattr, "a", "upper"), 2), "__builtin__.getattr"),
    "torch.load": (entry(b"ctorch\nload\n" + word(CANARY) + b"\x85R"), "torch.load"),
    "torch.hub": (entry(b"ctorch.hub\nload\n" + word(CANARY) + b"\x85R"), "torch.hub.load"),
    "an object with a state": (pickle.dumps(Restores(), 2), "Restores"),
    "an object with a state, protocol 4": (pickle.dumps(Restores(), 4), "Restores"),
    "a class as a tensor": (entry(tensor(b"cposix\nsystem\n", ONE)), "posix.system"),
    "a Namespace that is called": (entry(NAMESPACE + b")R"), "a call of argparse.Namespace"),
    "a Namespace with arguments": (entry(NAMESPACE + number(1) + b"\x85\x81"), "an object of argparse.Namespace"),
    "a Namespace of a list": (entry(NAMESPACE + b")\x81]b"), "a Namespace of something other"),
    "a Namespace with slots": (entry(NAMESPACE + b")\x81N}\x86b"), "a Namespace of something other"),
    "a Namespace of numbers": (entry(NAMESPACE + b")\x81}K\x01K\x02sb"), "a Namespace of something other"),
    "the class Namespace given a state": (entry(NAMESPACE + b"}" + word("__init__") + b"Nsb"), "the state of a Named"),
    "a new object of another class": (entry(b"ccollections\nOrderedDict\n)\x81"), "an object of collections"),
    "an OrderedDict of pairs": (entry(b"ccollections\nOrderedDict\n]\x85R"), "that does not begin empty"),
    "an OrderedDict with a bad state": (entry(b"ccollections\nOrderedDict\n)RK\x01b"), "the state of an OrderedDict"),
    "a bytearray of a petabyte": (entry(b"c__builtin__\nbytearray\n\x8a\x070000000\x85R"), "bytearray"),
    "another persistent value": (entry(word("a") + b"Q"), "a persistent value"),
    "a storage of a class": (entry(storage(1, kind="cargparse\nNamespace\n")), "a storage of something other"),
    "a storage by another path": (entry(storage(1, record="../../etc/passwd")), "without a number"),
    "a storage of negative length": (entry(storage(-1)), "a length that is none"),
    "a tensor of a word": (entry(tensor(word("a"), ONE)), "a tensor of what is no storage"),
    "a tensor that is expanded": (
        entry(tensor(storage(1), number(0), number(2**30), b"\x85", number(0), b"\x85")),
        "a tensor of (1073741824,) from a storage of 1",
    ),
    "a tensor beyond its storage": (
        entry(tensor(storage(4), number(3), number(2), b"\x85", number(1), b"\x85")),
        "a tensor of (2,) from a storage of 4",
    ),
    "a tensor before its storage": (
        entry(tensor(storage(4), number(-1), number(2), b"\x85", number(1), b"\x85")),
        "a tensor with a shape that is none",
    ),
    "a negative stride": (
        entry(tensor(storage(4), number(3), number(2), b"\x85", number(-1), b"\x85")),
        "a tensor with a shape that is none",
    ),
    "a parameter of a word": (
        entry(b"ctorch._utils\n_rebuild_parameter\n(" + word("a") + b"\x89NtR"),
        "a parameter of what is no tensor",
    ),
    "a sparse tensor": (entry(b"ctorch._utils\n_rebuild_sparse_tensor\n"), "_rebuild_sparse_tensor"),
    "a subclass of tensors": (entry(b"ctorch._tensor\n_rebuild_from_type_v2\n"), "_rebuild_from_type_v2"),
    "INST": (b"(S'true'\nios\nsystem\n.", "the instruction INST"),
    "OBJ": (program(b"(", NAMESPACE, b"o"), "the instruction OBJ"),
    "NEWOBJ_EX": (b"\x80\x04" + NAMESPACE + b")}\x92.", "the instruction NEWOBJ_EX"),
    "an extension": (b"\x80\x02\x82\x01.", "the instruction EXT1"),
}


@pytest.mark.parametrize(("pickled", "words"), MALICIOUS.values(), ids=MALICIOUS)
def test_malicious_pickles_are_refused_by_name(
    pickled: bytes, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = torch_archive(tmp_path / "a.pth", pickled, data__0=b"\0" * 16)
    with pytest.raises(CheckpointError) as refused:
        read_weights(path)
    assert str(refused.value).startswith(f"{path} is refused: it asks for ")
    assert words in str(refused.value)
    assert not Path(CANARY).exists()


def test_the_canary_sings_when_it_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its silence would say nothing."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps({"args": argparse.Namespace(a=[touch()])}, 2))
    assert Path(CANARY).exists()


def test_no_global_beyond_the_few_is_known(tmp_path: Path) -> None:
    """Harmless ones included: a list of what is known is short, a list of what is dangerous never ends."""
    for module, name in [("torch", "_utils"), ("torch.nn", "Module"), ("numpy", "load"), ("torch", "device"), ("", "")]:
        path = torch_archive(tmp_path / "a.pth", entry(f"c{module}\n{name}\n".encode()))
        with pytest.raises(CheckpointError, match="is refused: it asks for"):
            read_weights(path)
