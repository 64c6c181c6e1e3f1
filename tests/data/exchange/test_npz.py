"""The published npz layout: what goes out comes back, in published order, row by row, and nothing odd gets in."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stars.data import dataset
from stars.data.exchange.npz import COLUMNS, export_npz, import_npz, spelled, split_of
from stars.data.packed import Damaged, Packed
from tests.data.exchange.stores import pack, unknown


def arrays(num_train: int = 3, num_test: int = 2, num_frames: int = 6, num_classes: int = 4) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    for part, count in (("train", num_train), ("test", num_test)):
        x = random.normal(size=(count, num_frames, COLUMNS)).astype(np.float32)
        x[:, 4:] = 0
        x[1:, :, COLUMNS // 2 :] = 0
        found[f"x_{part}"] = x
        found[f"y_{part}"] = np.eye(num_classes)[np.arange(count) % num_classes]
    return found


def saved(path: Path, **changed: np.ndarray) -> Path:
    found: dict[str, Any] = {**arrays(), **changed}
    np.savez(path, **found)
    return path


def test_export_is_the_published_layout(tmp_path: Path) -> None:
    packed = pack(tmp_path / "store")
    export_npz(packed, tmp_path / "out.npz", protocol="XView", num_classes=60)
    train, test = dataset.parts(dataset.describe(packed, protocol="XView"), packed)
    with np.load(tmp_path / "out.npz") as found:
        assert set(found) == {"x_train", "y_train", "x_test", "y_test"}
        for part, rows in (("train", train), ("test", test)):
            x, y = found[f"x_{part}"], found[f"y_{part}"]
            assert x.dtype == np.float32
            assert y.dtype == np.float64
            assert x.shape == (len(rows), 300, 150)
            assert y.shape == (len(rows), 60)
            assert (y.sum(axis=1) == 1).all()
            for place, row in enumerate(rows.tolist()):
                assert np.where(y[place] > 0)[0] == [packed.column("action")[row] - 1]
                expected = np.zeros((300, 2, 25, 3), np.float32)
                sequence = packed.sample(row)
                expected[: len(sequence)] = sequence
                np.testing.assert_array_equal(x[place], expected.reshape(300, 150))


@pytest.mark.parametrize("second_body", ["zero", "copy"])
@pytest.mark.parametrize("protocol", ["XSub", "XView", "XSet"])
def test_a_round_trip_keeps_joints_actions_split_and_order(tmp_path: Path, second_body: str, protocol: str) -> None:
    first = pack(tmp_path / "first", second_body=second_body)  # type: ignore[arg-type]
    file = tmp_path / f"{'NTU120' if second_body == 'copy' else 'NTU60'}_{protocol}.npz"
    export_npz(first, file, protocol=protocol)  # type: ignore[arg-type]
    manifest = import_npz(file, tmp_path / "second")
    second = Packed.open(tmp_path / "second")
    second.verify()
    assert manifest.second_body == second_body
    before, after = split_of(first, protocol), split_of(second, None)  # type: ignore[arg-type]
    for part in ("train", "test"):
        assert len(before[part]) == len(after[part]) > 0
        for row, other in zip(before[part].tolist(), after[part].tolist(), strict=True):
            np.testing.assert_array_equal(first.sample(row), second.sample(other))
            for column in ("action", "num_frames", "valid", "num_bodies", "num_nan"):
                assert first.column(column)[row] == second.column(column)[other], column
    # From the second store on nothing is left to lose.
    export_npz(second, tmp_path / "again" / file.name)
    assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    assert import_npz(tmp_path / "again" / file.name, tmp_path / "third").content == manifest.content


def test_the_files_own_split_is_its_protocol_and_others_are_refused(tmp_path: Path) -> None:
    import_npz(saved(tmp_path / "NTU60_CS.npz"), tmp_path / "store")
    packed = Packed.open(tmp_path / "store")
    assert packed.manifest.name == "NTU60_XSub"
    train, test = dataset.parts(dataset.describe(packed, protocol="XSub"), packed)
    assert [packed.names[row] for row in train] == ["train-0000000", "train-0000001", "train-0000002"]
    assert [packed.names[row] for row in test] == ["test-0000000", "test-0000001"]
    for protocol, column in (("XView", "camera"), ("XSet", "setup")):
        with pytest.raises(ValueError, match=f"the {column} of 5 samples is not known"):
            dataset.split(dataset.describe(packed, protocol=protocol), packed)  # type: ignore[arg-type]


def test_a_name_that_says_no_protocol_leaves_a_list(tmp_path: Path) -> None:
    manifest = import_npz(saved(tmp_path / "mine.npz"), tmp_path / "store")
    assert list(manifest.protocols) == ["list"]
    packed = Packed.open(tmp_path / "store")
    data = dataset.describe(packed, protocol="list", train_list=manifest.protocols["list"])
    assert len(dataset.parts(data, packed)[0]) == 3
    assert list(import_npz(tmp_path / "mine.npz", tmp_path / "other", protocol="XSet").protocols) == ["XSet"]


def test_both_spellings_and_compressed_members_are_the_same(tmp_path: Path) -> None:
    expected = import_npz(saved(tmp_path / "a.npz"), tmp_path / "a").content
    other: dict[str, Any] = {f"{name[2:]}_{name[0]}": array for name, array in arrays().items()}
    np.savez_compressed(tmp_path / "b.npz", **other)
    assert import_npz(tmp_path / "b.npz", tmp_path / "b").content == expected
    assert [spelled(stem) for stem in ("NTU60_CS", "NTU60_CV", "NTU120_CSub", "NTU120_CSet", "PKUv1_XSub")] == [
        *("NTU60_XSub", "NTU60_XView", "NTU120_XSub", "NTU120_XSet", "PKUv1_XSub")
    ]


def test_an_empty_second_slot_survives_beside_copies_and_not_beside_zeros(tmp_path: Path) -> None:
    changed = arrays()
    copied = changed["x_train"][1].reshape(6, 2, 75)
    copied[:, 1] = copied[:, 0]
    expected = {"copy": [2, 2, 2, 1, 2], "zero": [2, 1, 2, 2, 1]}
    for second_body, num_bodies in expected.items():
        out = tmp_path / second_body
        import_npz(saved(tmp_path / "a.npz", **changed), out, second_body=second_body)  # type: ignore[arg-type]
        assert Packed.open(out).column("num_bodies").tolist() == num_bodies


def test_rows_that_cannot_be_used_are_recorded(tmp_path: Path) -> None:
    changed = arrays(num_train=6)
    changed["x_train"][0] = 0
    changed["y_train"][1] = 0
    changed["y_train"][2] = 1
    changed["x_train"][3, 2, 7] = np.inf
    manifest = import_npz(saved(tmp_path / "a.npz", **changed), tmp_path / "a")
    packed = Packed.open(tmp_path / "a")
    assert manifest.num_samples == 4
    reasons = packed.rejected.to_pydict()
    assert reasons["file"] == ["x_train", "y_train", "y_train", "x_train"]
    for reason, expected in zip(
        reasons["reason"],
        ["row 0: every frame sums to 0", "row 1 marks 0 classes", "row 2 marks 4 classes", "row 3 has an infinite"],
        strict=True,
    ):
        assert reason.startswith(expected)


WRONG = {
    "no header": (b"rubbish" * 10, "no header of a NumPy array"),
    "version 3": (b"\x93NUMPY\x03\x00" + b"\xff" * 40, "version"),
    "a header of objects": (
        b"\x93NUMPY\x01\x00\x46\x00"
        + b"{'descr': '|O', 'fortran_order': False, 'shape': (3, 6, 150), }".ljust(69)
        + b"\n",
        "allowed: an array of numbers",
    ),
    "a header that is code": (
        b"\x93NUMPY\x01\x00\x46\x00" + b"__import__('os').system('true')".ljust(69) + b"\n",
        "no header of a NumPy array",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_members_that_are_no_arrays_are_refused(tmp_path: Path, what: str) -> None:
    content, message = WRONG[what]
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x_test.npy", content)
        archive.writestr("y_test.npy", content)
    with pytest.raises(ValueError, match=message):
        import_npz(tmp_path / "a.npz", tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_test": np.zeros((2, 6, 149), np.float32)}, r"x_test is float32 \(2, 6, 149\)"),
        ({"x_test": np.zeros((2, 6, 150), np.int32)}, "allowed: floating"),
        ({"x_test": np.zeros((1, 6, 150), np.float32)}, "y_test has 2 rows; allowed: 1"),
        ({"y_test": np.zeros(2)}, "allowed: one-hot"),
        ({"x_test": np.asfortranarray(np.ones((2, 6, 150), np.float32))}, "Fortran"),
    ],
)
def test_other_shapes_are_refused(tmp_path: Path, changed: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        import_npz(saved(tmp_path / "a.npz", **changed), tmp_path / "a")


def test_a_missing_member_and_a_bomb_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x_test=np.ones(3))
    with pytest.raises(ValueError, match="'y_test' is missing; there are x_test"):
        import_npz(tmp_path / "a.npz", tmp_path / "a")
    bomb: dict[str, Any] = {**arrays(), "x_test": np.zeros((2, 2000, 150), np.float32)}
    np.savez_compressed(tmp_path / "b.npz", **bomb)
    with pytest.raises(ValueError, match="allowed: 200 times as many"):
        import_npz(tmp_path / "b.npz", tmp_path / "b")


def test_a_file_cut_or_altered_anywhere_is_refused(tmp_path: Path) -> None:
    content = saved(tmp_path / "a.npz").read_bytes()
    for cut in range(0, len(content), len(content) // 40):
        (tmp_path / "cut.npz").write_bytes(content[:cut])
        with pytest.raises(ValueError, match="no npz that can be read"):
            import_npz(tmp_path / "cut.npz", tmp_path / "cut")
    flipped = bytearray(content)
    flipped[len(content) // 3] ^= 1
    (tmp_path / "cut.npz").write_bytes(flipped)
    with pytest.raises(ValueError, match="CRC"):
        import_npz(tmp_path / "cut.npz", tmp_path / "cut")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "cut.npz"]


def test_exports_that_cannot_be_are_refused(tmp_path: Path) -> None:
    packed = pack(tmp_path / "store")
    with pytest.raises(ValueError, match="protocol is not given, and the store brings 0"):
        export_npz(packed, tmp_path / "a.npz")
    with pytest.raises(ValueError, match="the store brings no list"):
        export_npz(packed, tmp_path / "a.npz", protocol="list")
    with pytest.raises(ValueError, match="num_classes is 3; allowed: 4 or more"):
        export_npz(packed, tmp_path / "a.npz", protocol="XSub", num_classes=3)
    with pytest.raises(ValueError, match="has 17 joints"):
        export_npz(pack(tmp_path / "coco", num_joints=17), tmp_path / "a.npz", protocol="XSub")
    with pytest.raises(ValueError, match="the subject of 2 samples is not known"):
        export_npz(pack(tmp_path / "no", names=unknown("a", "b")), tmp_path / "a.npz", protocol="XSub")
    assert not list(tmp_path.glob("*.npz"))
    (tmp_path / "a.npz").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="allowed: a new file"):
        export_npz(packed, tmp_path / "a.npz", protocol="XSub")
    assert (tmp_path / "a.npz").read_bytes() == b"mine"


def test_an_altered_list_is_noticed(tmp_path: Path) -> None:
    import_npz(saved(tmp_path / "mine.npz"), tmp_path / "store")
    (found,) = (tmp_path / "store" / "lists").iterdir()
    found.chmod(0o644)
    found.write_text("train-0000001\n")
    with pytest.raises(Damaged):
        export_npz(Packed.open(tmp_path / "store"), tmp_path / "out.npz")


MEASURE = """
import resource, sys
from pathlib import Path
from stars.data.exchange.npz import import_npz
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
import_npz(Path(sys.argv[1]), Path(sys.argv[2]))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_large_file_is_never_whole_in_memory(tmp_path: Path) -> None:
    """250 MB of x, in which each sample has few frames, as padded recordings have."""
    packed = pack(tmp_path / "store")
    export_npz(packed, tmp_path / "small.npz", protocol="XSub")
    with np.load(tmp_path / "small.npz") as small, zipfile.ZipFile(tmp_path / "large.npz", "w") as archive:
        for name in ("x_train", "y_train", "x_test", "y_test"):
            array = small[name]
            times = 1400 // len(array) if name.endswith("train") else 1
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {
                    "descr": array.dtype.str,
                    "fortran_order": False,
                    "shape": (len(array) * times, *array.shape[1:]),
                }
                np.lib.format.write_array_header_1_0(member, header)
                for _ in range(times):
                    member.write(array.tobytes())
    assert (tmp_path / "large.npz").stat().st_size > 230 * 2**20
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "large.npz"), str(tmp_path / "large")]
    megabytes = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert megabytes < 100
    (tmp_path / "large.npz").unlink()


def test_joints_of_another_layout_are_not_passed_off_as_those_of_ntu(tmp_path: Path) -> None:
    packed = pack(tmp_path / "store", layout="openpose-25")
    with pytest.raises(ValueError, match="joints are openpose-25; allowed in an npz: kinect-v2-25"):
        export_npz(packed, tmp_path / "out.npz", protocol="XSub")
