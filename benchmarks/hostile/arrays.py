"""Hostile npz files of the published layout, and hostile folders of `.npy` and `.csv` files."""

import io
import zipfile
from collections.abc import Callable, Mapping
from random import Random

import numpy as np

from benchmarks.hostile.case import Case, Named, altered, altered_lines

_LARGE = 300_000
_Folder = dict[str, bytes]


def _header(descr: str, shape: str, *, fortran: str = "False", version: bytes = b"\x01\x00") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY" + version + len(text + b"\n").to_bytes(2, "little") + text + b"\n"


def _code(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


_HEADERS: Mapping[str, bytes] = {
    "a billion rows": _header("'<f4'", "(1000000000, 6, 150)"),
    "a negative length": _header("'<f4'", "(-1, 6, 150)"),
    "more numbers than there are": _header("'<f4'", f"({10**18 - 1}, {10**18 - 1}, 150)"),
    "an empty axis and a long one": _header("'<f4'", f"(0, {10**18 - 1}, 150)"),
    "no axis": _header("'<f4'", "()"),
    "forty axes": _header("'<f4'", "(" + "1, " * 40 + ")"),
    "a length of 9000 digits": _header("'<f4'", "(" + "9" * 9000 + ",)"),
    "objects": _header("'|O'", "(2,)"),
    "fields": _header("[('a', '<f4')]", "(2,)"),
    "numbers of 99 bytes": _header("'<f99'", "(2,)"),
    "text": _header("'<U3'", "(2,)"),
    "Fortran": _header("'<f4'", "(2, 6, 150)", fortran="True"),
    "nested brackets": _code(b"(" * 9000),
    "nested signs": _code(b"-" * 9000 + b"1"),
    "keys of any kind": _code(b"{1: 2, 'a': 3, (): 4}"),
    "code": _code(b"__import__('os').system('touch canary')"),
    "a quote without an end": _code(b"{'descr': '''<f4"),
    "version 3": _header("'<f4'", "(2, 6, 150)", version=b"\x03\x00"),
    "a header that ends early": b"\x93NUMPY\x01\x00\xff\xff{",
    "no header": b"rubbish" * 9,
    "nothing": b"",
}


def _npz(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def _array(numbers: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, numbers)
    return file.getvalue()


def _members(random: Random) -> dict[str, bytes]:
    draws = np.random.default_rng(random.randrange(2**32))
    members = {}
    for part, rows in (("train", 2), ("test", 1)):
        members[f"x_{part}"] = _array(draws.normal(size=(rows, 6, 150)).astype(np.float32))
        members[f"y_{part}"] = _array(np.eye(3)[draws.integers(0, 3, rows)])
    return members


def _with_header(header: bytes) -> Callable[[Random], bytes]:
    def build(random: Random) -> bytes:
        members = _members(random)
        return _npz(members | {random.choice(sorted(members)): header + members["x_train"][128:]})

    return build


def _with_x(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Random], bytes]:
    def build(random: Random) -> bytes:
        return _npz(_members(random) | {"x_train": _array(change(np.ones((2, 6, 150), np.float32)))})

    return build


NPZ: Named = {
    **{name: _with_header(header) for name, header in _HEADERS.items()},
    "a file of arrays that is a bomb": lambda random: _npz(
        _members(random) | {"x_train": _array(np.zeros((2, 4000, 150)))}, zipfile.ZIP_DEFLATED
    ),
    "arrays by bzip2": lambda random: _npz(_members(random), zipfile.ZIP_BZIP2),
    "a member is missing": lambda random: _npz({"x_train": _members(random)["x_train"]}),
    "149 columns": _with_x(lambda x: x[:, :, :149]),
    "whole numbers": _with_x(lambda x: x.astype(np.int32)),
    "infinity": _with_x(lambda x: x * np.float32(np.inf)),
    "nan": _with_x(lambda x: x * np.float32(np.nan)),
    "no row": _with_x(lambda x: x[:0]),
    "no frame": _with_x(lambda x: x[:, :0]),
    "cut anywhere": lambda random: (content := _npz(_members(random)))[: random.randrange(len(content))],
}
LARGE_NPZ: Named = {
    "rows that no one uses, megabytes of them": lambda random: _npz(
        {
            **_members(random),
            "x_train": _header("'<f2'", f"({_LARGE}, 1, 150)") + bytes(_LARGE * 300),
            "y_train": _header("'|b1'", f"({_LARGE}, 1)") + b"\1" * _LARGE,
        }
    ),
}


def draw_npz(random: Random) -> Case:
    """A good file with any bytes changed, or one of the named ones."""
    if random.randrange(3) == 0:
        name = random.choice(sorted(NPZ))
        return Case("npz", name, NPZ[name](random))
    members = _members(random)
    if random.randrange(2):
        return Case("npz", "bytes", altered(random, _npz(members)))
    name = random.choice(sorted(members))
    # In the header mostly: every change elsewhere only gives other numbers.
    changed = altered(random, members[name][:128]) + members[name][128:]
    return Case("npz", "bytes of an array", _npz(members | {name: changed}))


def _csv(random: Random) -> bytes:
    return b"".join(b",".join(b"%.5g" % random.gauss(0, 1) for _ in range(75)) + b"\n" for _ in range(3))


def _folder(random: Random) -> _Folder:
    draws = np.random.default_rng(random.randrange(2**32))
    return {
        "labels.csv": b"file,label,subject\na.csv,1,1\nb.npy,2,1\nc.npy,1,2\n",
        "a.csv": _csv(random),
        "b.npy": _array(draws.normal(size=(4, 25, 3)).astype(np.float32)),
        "c.npy": _array(draws.normal(size=(4, 2, 25, 3))),
    }


def _with_file(name: str, content: bytes) -> Callable[[Random], _Folder]:
    return lambda random: _folder(random) | {name: content}


_TABLES: Mapping[str, bytes] = {
    "files elsewhere": b"file,label\n../../etc/passwd.csv,1\n",
    "an absolute file": b"file,label\n/etc/passwd.csv,1\n",
    "a file with NUL": b"file,label\na\0b.csv,1\n",
    "a file of a long name": b"file,label\n" + b"x" * 5000 + b".csv,1\n",
    "a label of many digits": b"file,label\na.csv," + b"9" * 5000 + b"\n",
    "an odd subject": "file,label,subject\na.csv,1,٣\n".encode(),
    "no line": b"file,label\n",
    "other columns": b"a,b\n1,2\n",
    "the same file twice": b"file,label\na.csv,1\na.csv,2\n",
    "a quote without an end": b'file,label\n"a.csv,1\n' + b"b.csv,1\n" * 100,
    "no UTF-8": b"file,label\n\xff\xfe.csv,1\n",
    "empty": b"",
}
_NUMBERS: Mapping[str, bytes] = {
    "74 numbers": b",".join([b"1"] * 74) + b"\n",
    "words": b",".join([b"x"] * 75) + b"\n" + b",".join([b"y"] * 75) + b"\n",
    "large numbers": b",".join([b"1e300"] * 75) + b"\n",
    "numbers of a hundred thousand digits": b",".join([b"1" * 3000] * 75) + b"\n",
    "a line of a million commas": b"," * 1_000_000,
    "a line of a million numbers": b"1," * 1_000_000,
    "ends of lines in quotes": b'"\n",' * 200_000,
    "NUL in text": b"1,2\0,3\n",
    "twenty thousand and one frames": (b",".join([b"1"] * 75) + b"\n") * 20_001,
}
FOLDERS: Named = {
    **{f"a table with {name}": _with_file("labels.csv", content) for name, content in _TABLES.items()},
    **{f"text with {name}": _with_file("a.csv", content) for name, content in _NUMBERS.items()},
    **{f"an array with {name}": _with_file("b.npy", content) for name, content in _HEADERS.items()},
}
LARGE_FOLDERS: Named = {
    "text with 30 megabytes of commas": _with_file("a.csv", b"," * 30_000_000),
    "text with 30 megabytes of ones": _with_file("a.csv", b"1," * 15_000_000),
    "text with 30 megabytes of quotes": _with_file("a.csv", b'"\n",' * 7_500_000),
    "text with 30 megabytes of ends of lines": _with_file("a.csv", b"\n" * 30_000_000),
}


def draw_folder(random: Random) -> Case:
    """A good folder with one file changed, or one of the named ones."""
    if random.randrange(3) == 0:
        name = random.choice(sorted(FOLDERS))
        return Case("folder", name, FOLDERS[name](random))
    files = _folder(random)
    name = random.choice(sorted(files))
    change = altered_lines if name.endswith(".csv") and random.randrange(2) else altered
    return Case("folder", f"changes in {name}", files | {name: change(random, files[name])})
