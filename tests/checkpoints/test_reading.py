"""Files of weights are read as torch reads them; whatever else a file may be is refused with a reason."""

import argparse
import collections
import io
import json
import pickle
import struct
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from stars.checkpoints.layouts import read_weights
from stars.checkpoints.pickled import Settings
from stars.checkpoints.reading import CheckpointError, Stored, opened
from tests.checkpoints.files import (
    SHAPE,
    mamp_file,
    number,
    program,
    saved,
    stage2,
    storage,
    tensor,
    torch_archive,
    word,
)


def tensors_of(path: Path) -> dict[str, Tensor]:
    with opened(path) as contents:
        return contents.load({k: v for k, v in contents.document.items() if isinstance(v, Stored)})


@pytest.mark.parametrize(
    "value",
    [
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3), "c": torch.zeros(0, 4)},
        {"transposed": torch.arange(6.0).reshape(2, 3).T, "cut": torch.arange(9, dtype=torch.int16)[2:5]},
        {"shared": (whole := torch.arange(8.0)), "half": whole[4:], "again": whole},
        {str(kind): torch.ones(3).to(kind) for kind in (torch.float16, torch.bfloat16, torch.float64, torch.bool)},
        {"parameter": torch.nn.Parameter(torch.ones(2))},
        collections.OrderedDict(a=torch.ones(2)),
        torch.nn.BatchNorm1d(3).state_dict(),
    ],
)
def test_tensors_are_those_that_torch_reads(tmp_path: Path, value: dict[str, Tensor]) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(saved(value))
    expected = torch.load(path, weights_only=True)
    found = tensors_of(path)
    assert list(found) == list(expected)
    for name, read in found.items():
        assert read.dtype == expected[name].dtype
        assert torch.equal(read, expected[name].detach())
        assert read.is_contiguous()


def test_plain_values_and_settings_are_kept(tmp_path: Path) -> None:
    settings = argparse.Namespace(lr=1e-3, model_args={"num_heads": 8}, names=["a", None], seed=2**70)
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    (tmp_path / "a.pth").write_bytes(saved({"args": settings, "epoch": "last", "optimizer": optimiser.state_dict()}))
    with opened(tmp_path / "a.pth") as contents:
        read = contents.document["args"]
        assert isinstance(read, Settings)
        assert read.values == vars(settings)
        assert contents.document["epoch"] == "last"


def foreign(tmp_path: Path) -> dict[str, tuple[bytes, str]]:
    weights = saved(stage2())
    return {
        "empty": (b"", "is empty"),
        "a picture": (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, "is no file of weights"),
        "text": (b"hello, weights\n" * 10, "is no file of weights"),
        "a bare pickle": (pickle.dumps({"a": 1}), "is a bare pickle"),
        "the format before 1.6": (legacy(), "is in torch's format before version 1.6"),
        "a zip of something else": (zipped({"a.txt": b"hello"}), "a zip archive that torch did not write"),
        "a zip of several folders": (zipped({"a/data.pkl": b"", "b/x": b""}), "a zip archive that torch did not write"),
        "a name twice": (zipped([("a/data.pkl", b"."), ("a/data.pkl", b".")]), "that torch did not write"),
        "no pickle in it": (zipped({"a/data.pkl": b"no"}), "a pickle that cannot be read"),
        "an empty pickle": (zipped({"a/data.pkl": b""}), "a pickle that cannot be read"),
        "a list": (zipped({"a/data.pkl": pickle.dumps([1], 2)}), "holds a list; allowed: tensors by name"),
        "no tensors": (zipped({"a/data.pkl": pickle.dumps({"epoch": 3}, 2)}), "holds no encoder: 0 tensors"),
        "another model": (
            saved(torch.nn.Linear(2, 2).state_dict()),
            "holds no encoder: 2 tensors, such as bias, weight",
        ),
        "big-endian": (zipped({"a/data.pkl": b"}.", "a/byteorder": b"big"}), "another byte order"),
        "a program": (zipped({"a/data.pkl": b"}.", "a/constants.pkl": b"."}), "a TorchScript program"),
        "a storage that is absent": (without(weights, "data/3"), "data/3 is absent; allowed: 64 bytes"),
        "a storage that is short": (without(weights, "data/3", b"\0" * 8), "data/3 has 8 bytes; allowed: 64 bytes"),
        "a safetensors header of an exabyte": (struct.pack("<Q", 2**60) + b"{}" * 50, "announces a header of"),
        "a safetensors header that is cut": (struct.pack("<Q", 40) + b'{"a":', "is cut, or announces a header"),
        "a safetensors header of nonsense": (struct.pack("<Q", 5) + b"{aaaa" + b"\0" * 9, "is cut or damaged"),
    }


def zipped(members: Any, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    pairs = members.items() if isinstance(members, dict) else members
    with zipfile.ZipFile(buffer, "w", compression) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in pairs:
            archive.writestr(name, content)
    return buffer.getvalue()


def without(archive: bytes, record: str, instead: bytes | None = None) -> bytes:
    """An archive with one record less, or another in its place."""
    with zipfile.ZipFile(io.BytesIO(archive)) as given:
        members = {name: given.read(name) for name in given.namelist()}
    name = next(name for name in members if name.endswith(f"/{record}"))
    del members[name]
    return zipped(members if instead is None else {**members, name: instead})


def legacy() -> bytes:
    buffer = io.BytesIO()
    torch.save(stage2(), buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def test_foreign_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    for name, (content, words) in foreign(tmp_path).items():
        path = tmp_path / "a.pth"
        path.write_bytes(content)
        with pytest.raises(CheckpointError) as refused:
            read_weights(path, heads=2)
        assert str(refused.value).startswith(f"{path}"), name
        assert words in str(refused.value), name


def test_folders_and_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder; allowed: a file of weights"):
        read_weights(tmp_path)
    with pytest.raises(CheckpointError, match="is not there"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize("container", ["mamp", "stars", "safetensors"])
def test_cut_files_are_refused(tmp_path: Path, container: str) -> None:
    whole = content_of(container, tmp_path)
    for place in range(50):
        path = tmp_path / "cut"
        path.write_bytes(whole[: len(whole) * place // 50])
        with pytest.raises(CheckpointError):
            read_weights(path, heads=2)


def content_of(container: str, folder: Path) -> bytes:
    path = folder / "whole"
    if container == "mamp":
        return mamp_file(path).read_bytes()
    if container == "stars":
        return saved(stage2())
    save_file(stage2(), path)
    return path.read_bytes()


@pytest.mark.parametrize("container", ["mamp", "stars"])
def test_a_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path, container: str) -> None:
    """Every part of an archive that counts has a checksum; what is left is dates, padding and what is not read."""
    whole = content_of(container, tmp_path)
    path = tmp_path / "flipped"
    path.write_bytes(whole)
    sound = read_weights(path, heads=2)
    dice = torch.Generator().manual_seed(0)
    refused = 0
    for place in torch.randint(8 * len(whole), (150,), generator=dice).tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            found = read_weights(path, heads=2)
        except CheckpointError:
            refused += 1
        else:
            assert (found.content(), found.shape) == (sound.content(), sound.shape), f"bit {place}"
    assert refused > 50


def test_bits_flipped_in_the_directory_and_the_pickle(tmp_path: Path) -> None:
    """Where the structure of an archive is: its last kilobytes, and its first record."""
    whole = content_of("mamp", tmp_path)
    path = tmp_path / "flipped"
    path.write_bytes(whole)
    sound = read_weights(path).content()
    start, refused = whole.index(b"PK\x01\x02"), 0
    for place in [*range(0, 400, 3), *range(start, start + 400, 3), *range(len(whole) - 60, len(whole))]:
        flipped = bytearray(whole)
        flipped[place] ^= 0x41
        path.write_bytes(flipped)
        try:
            found = read_weights(path).content()
        except CheckpointError:
            refused += 1
        else:
            assert found == sound, f"byte {place}"
    assert refused > 100


MEASURE = """
import json, re, sys
from pathlib import Path
from stars.checkpoints.layouts import read_weights

def kilobytes(which):
    return int(re.search(which + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

told = []
for path in sys.argv[1:]:
    # The greatest memory so far begins anew; getrusage's would begin with that of the parent.
    Path("/proc/self/clear_refs").write_text("5")
    before = kilobytes("VmRSS")
    try:
        read_weights(Path(path), heads=1)
    except ValueError as problem:
        told.append((str(problem), kilobytes("VmHWM") - before))
print(json.dumps(told))
"""


def bombs(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files below 3 MB that ask for gigabytes."""
    zeros, million = b"\0" * 4_000_000, number(1_000_000)
    many = b"".join(
        word(f"encoder_student.{'temp_embed' if i == 0 else i}")
        + tensor(storage(10**6), number(0), million, b"\x85", number(1), b"\x85")
        + b"s"
        for i in range(3000)
    )
    wide = {"temp_embed": torch.zeros(1, 2, 1, 100_000), "pos_embed": torch.zeros(1, 1, 1, 100_000)}
    wide |= {"joints_embed.proj.weight": torch.zeros(100_000, 3, 1, 1)}
    wide |= {f"blocks.{i}.mlp.fc1.weight": torch.zeros(1, 1) for i in range(50)}
    deep = program(b"]" * 2_000_000, b"0" * 1_999_999)
    compressed = zipped({"a/data.pkl": b"}.", "a/data/0": b"\0" * 300_000_000}, zipfile.ZIP_DEFLATED)
    return {
        "compressed": (write(folder / "zip.pth", compressed), "is compressed; allowed: stored"),
        "one storage, three thousand tensors": (
            torch_archive(folder / "many.pth", program(b"}", many), data__0=zeros),
            "its tensors take 12000000000 bytes",
        ),
        "a width that no block has": (write(folder / "wide.pth", saved(wide)), "blocks.0.attn.qkv.weight is missing"),
        "two million lists": (torch_archive(folder / "deep.pth", deep), "holds a list"),
        "a memo of four billion": (torch_archive(folder / "memo.pth", program(b"Nr\xff\xff\xff\xff")), "a NoneType"),
    }


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_memory_stays_in_proportion_to_the_file(tmp_path: Path) -> None:
    made = bombs(tmp_path)
    paths = [str(path) for path, _ in made.values()]
    done = subprocess.run([sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=True)
    for (name, (path, words)), (problem, kilobytes) in zip(made.items(), json.loads(done.stdout), strict=True):
        assert path.stat().st_size < 10_000_000, name
        assert words in problem, name
        assert kilobytes < 400_000, f"{name}: {kilobytes} kB"


def test_what_the_file_says_of_its_heads_is_used(tmp_path: Path) -> None:
    assert read_weights(mamp_file(tmp_path / "a.pth", heads=2)).shape == SHAPE
