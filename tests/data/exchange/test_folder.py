"""Folders of recordings with a table of labels."""

import os
from pathlib import Path

import numpy as np
import pytest

from stars.data import dataset
from stars.data.exchange.bodies import Arrangement, OutOfDomain
from stars.data.exchange.folder import import_folder
from stars.data.layouts import layout
from stars.data.packed import Packed
from tests.data.exchange.stores import sequence

KINECT = Arrangement(layout=layout("kinect-v2-25"))


def table(folder: Path, *lines: str, header: str = "file,label", name: str = "labels.csv") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return folder


def as_csv(path: Path, joints: np.ndarray, header: str | None = None) -> None:
    lines = [",".join(map(repr, frame.ravel().tolist())) for frame in joints]
    path.write_text("\n".join([header, *lines] if header else lines), encoding="utf-8")


def test_arrays_and_text_hold_the_same(tmp_path: Path) -> None:
    folder = table(tmp_path / "mine", "walk/a.npy,2", "b.npy,1", "c.csv,2", "d.csv,4")
    (folder / "walk").mkdir()
    one, two = sequence(1, 7), sequence(0, 9, 2)
    np.save(folder / "walk" / "a.npy", one[:, 0].astype(np.float64))
    np.save(folder / "b.npy", two)
    as_csv(folder / "c.csv", one)
    as_csv(folder / "d.csv", two, header=",".join(f"joint{number}" for number in range(150)))
    manifest = import_folder(folder, tmp_path / "store", arrangement=KINECT)
    packed = Packed.open(tmp_path / "store")
    packed.verify()
    assert manifest.name == "mine"
    assert packed.names == ["b", "c", "d", "walk/a"]
    assert packed.column("action").tolist() == [1, 2, 4, 2]
    assert packed.column("num_bodies").tolist() == [2, 1, 2, 1]
    for row, expected in enumerate((two, one, two, one)):
        np.testing.assert_array_equal(packed.sample(row)[:, : expected.shape[1]], expected)
    for protocol, column in (("XSub", "subject"), ("XView", "camera"), ("XSet", "setup")):
        with pytest.raises(ValueError, match=f"the {column} of 4 samples is not known"):
            dataset.parts(dataset.describe(packed, protocol=protocol), packed)  # type: ignore[arg-type]


def test_known_numbers_make_protocols(tmp_path: Path) -> None:
    lines = [f"{number}.npy,{number % 2 + 1},{number // 2 + 1}" for number in range(4)]
    folder = table(tmp_path / "mine", *lines, header="file,label,subject")
    for number in range(4):
        np.save(folder / f"{number}.npy", sequence(number + 1, 5)[:, 0])
    import_folder(folder, tmp_path / "store", arrangement=KINECT)
    packed = Packed.open(tmp_path / "store")
    data = dataset.describe(packed, protocol="subjects", test_subjects=(2,))
    assert dataset.split(data, packed).train.tolist() == [0, 1]


def test_words_are_numbered_and_recorded(tmp_path: Path) -> None:
    folder = table(tmp_path / "mine", "a.npy,walk", 'b.npy,"sit, stand"', "c.npy,walk", "d.npy,jump")
    for name in "abcd":
        np.save(folder / f"{name}.npy", sequence(1, 5)[:, 0])
    manifest = import_folder(folder, tmp_path / "store", arrangement=KINECT)
    assert Packed.open(tmp_path / "store").column("action").tolist() == [3, 2, 3, 1]
    assert "actions: 1 jump, 2 sit, stand, 3 walk" in manifest.source


def test_layouts_flatness_and_centring(tmp_path: Path) -> None:
    folder = table(tmp_path / "mine", "a.npy,1")
    random = np.random.default_rng(0)
    joints = random.uniform(1, 2, (6, 17, 3)).astype(np.float32)
    joints[0] = 0
    np.save(folder / "a.npy", joints)
    coco = layout("coco-17")
    with pytest.warns(OutOfDomain):
        manifest = import_folder(
            folder, tmp_path / "a", arrangement=Arrangement(layout=coco, center=True), num_dimensions=2
        )
    assert (manifest.num_joints, manifest.joint_layout) == (25, "kinect-v2-25")
    assert "origin moved" in manifest.source
    found = Packed.open(tmp_path / "a").sample(0)
    assert not found[0].any()
    np.testing.assert_allclose(found[1, 0, 1], 0, atol=1e-6)
    shift = joints[1, [5, 6, 11, 12], :2].mean(axis=0)
    np.testing.assert_allclose(found[2, 0, 6, :2], joints[2, 9, :2] - shift, atol=1e-6)

    own = Arrangement(layout=coco, own_joints=True)
    manifest = import_folder(folder, tmp_path / "b", arrangement=own)
    assert (manifest.num_joints, manifest.joint_layout) == (17, "coco-17")
    np.testing.assert_array_equal(Packed.open(tmp_path / "b").sample(0)[:, 0], joints)


BROKEN: dict[str, tuple[bytes, str]] = {
    "long.npy": (
        b"\x93NUMPY\x01\x00\x46\x00"
        + b"{'descr': '|i1', 'fortran_order': False, 'shape': (20001, 25, 3)}".ljust(69)
        + b"\n"
        + bytes(20001 * 75),
        "allowed: 1 to 20000 frames",
    ),
    "endless.csv": (b"0," * 74 + b"0\n" + (b"1," * 74 + b"1\n") * 20000, "line 20001: a frame too many"),
    "nothing.npy": (b"", ""),
    "cut.npy": (b"\x93NUMPY\x01\x00", ""),
    "objects.npy": (b"\x93NUMPY\x01\x00\x36\x00{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n", ""),
    "huge.npy": (
        b"\x93NUMPY\x01\x00\x56\x00"
        + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 25, 3)}".ljust(85)
        + b"\n",
        "",
    ),
    "zip.npy": (b"PK\x05\x06" + b"\0" * 18, ""),
    "empty.csv": (b"", "there is no frame"),
    "header.csv": (b"a,b\n", "there is no frame"),
    "short.csv": (b"1,2,3\n", "line 1: 3 numbers; allowed: 75 or 100 or 150 or 200"),
    "ragged.csv": (b",".join([b"1"] * 75) + b"\n" + b",".join([b"1"] * 74), "line 2: 74 numbers; allowed: 75"),
    "words.csv": (b",".join([b"1"] * 75) + b"\n" + b",".join([b"x"] * 75), "line 2: 'x' is no number"),
    "infinite.csv": (b",".join([b"inf"] * 75), "infinite"),
    "zero.csv": (b",".join([b"0"] * 75), "every frame sums to 0"),
    "binary.csv": (b"1,2\n\xff\xfe\x00", "no UTF-8 text"),
}


def test_what_cannot_be_used_is_recorded_and_the_rest_is_packed(tmp_path: Path) -> None:
    folder = table(tmp_path / "mine", "good.npy,1", "absent.npy,1", *(f"{name},1" for name in BROKEN))
    np.save(folder / "good.npy", sequence(1, 5)[:, 0])
    for name, (content, _) in BROKEN.items():
        (folder / name).write_bytes(content)
    for shape in ((5, 24, 3), (5, 7, 25, 3), (5, 25, 2), (5, 25, 5), (0, 25, 3), (5, 75)):
        name = f"shape{'x'.join(map(str, shape))}.npy"
        np.save(folder / name, np.ones(shape))
        with (folder / "labels.csv").open("a") as file:
            file.write(f"{name},1\n")
    manifest = import_folder(folder, tmp_path / "store", arrangement=KINECT)
    assert manifest.num_samples == 1
    rejected = {row["file"]: row for row in Packed.open(tmp_path / "store").rejected.to_pylist()}
    assert len(rejected) == len(BROKEN) + 7
    for name, (_, reason) in BROKEN.items():
        line = f"line {rejected[name]['line']}: " if rejected[name]["line"] else ""
        assert reason in line + rejected[name]["reason"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["../outside.npy,1"], "line 2: the file is '../outside.npy'; allowed: one within"),
        (["/etc/passwd.npy,1"], "line 2: the file is '/etc/passwd.npy'; allowed: one within"),
        (["link/a.npy,1"], "line 2: the file is 'link/a.npy'; allowed: one within"),
        ([",1"], "line 2: the file is ''"),
        (["a.txt,1"], "line 2: the file is 'a.txt'; allowed: .npy or .csv"),
        (["a.npy,1", "a.csv,1"], "line 3: 'a' is in line 2 already"),
        (["a.npy,1", "b.npy"], "line 3: 1 fields; allowed: 2"),
        (["a.npy,"], "line 2: the label is empty"),
        (["a.npy,0"], "line 2: the label is '0'; allowed: whole numbers from 1"),
        (["a.npy,1", "b.npy,walk"], "line 2: the label is '1' where others are words, such as 'walk'"),
        (["a.npy,99999999999999999999"], "line 2: the label is '9999"),
        ([], "has no line after its header"),
    ],
)
def test_a_defective_table_is_refused_with_its_line(tmp_path: Path, lines: list[str], message: str) -> None:
    folder = table(tmp_path / "mine", *lines)
    (tmp_path / "elsewhere").mkdir()
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        import_folder(folder, tmp_path / "store", arrangement=KINECT)


def test_columns_and_numbers_are_checked(tmp_path: Path) -> None:
    folder = table(tmp_path / "mine", "a.npy,1,0", header="file,label,camera")
    with pytest.raises(ValueError, match="line 2: the camera is '0'; allowed: a whole number from 1"):
        import_folder(folder, tmp_path / "store", arrangement=KINECT)
    for header in ("file,class", "file,label,label", "file,label,colour", ""):
        table(folder, "a.npy,1", header=header)
        with pytest.raises(ValueError, match="line 1: the columns are"):
            import_folder(folder, tmp_path / "store", arrangement=KINECT)
    with pytest.raises(FileNotFoundError):
        import_folder(folder, tmp_path / "store", arrangement=KINECT, labels=folder / "absent.csv")


def test_a_table_with_mark_and_carriage_returns_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    np.save(folder / "a.npy", sequence(1, 5)[:, 0])
    (folder / "labels.csv").write_bytes(b"\xef\xbb\xbffile,label\r\na.npy,3\r\n")
    import_folder(folder, tmp_path / "store", arrangement=KINECT)
    assert Packed.open(tmp_path / "store").column("action").tolist() == [3]


def test_pipes_circles_and_long_lines_are_refused(tmp_path: Path) -> None:
    folder = table(tmp_path / "mine", "good.npy,1", "pipe.csv,1", "pipe2.npy,1", "wide.csv,1", "quotes.csv,1")
    np.save(folder / "good.npy", sequence(1, 5)[:, 0])
    os.mkfifo(folder / "pipe.csv")
    os.mkfifo(folder / "pipe2.npy")
    (folder / "wide.csv").write_bytes(b"1," * 100_000)
    (folder / "quotes.csv").write_bytes(b'"\n",' * 100)
    import_folder(folder, tmp_path / "store", arrangement=KINECT)
    rejected = {row["file"]: row["reason"] for row in Packed.open(tmp_path / "store").rejected.to_pylist()}
    assert "no regular file" in rejected["pipe.csv"]
    assert "no regular file" in rejected["pipe2.npy"]
    assert "line 1: over 32768 characters" in rejected["wide.csv"]
    assert "line 1: unexpected end of data" in rejected["quotes.csv"]
    (folder / "circle.npy").symlink_to(folder / "circle.npy")
    table(folder, "circle.npy,1")
    with pytest.raises(ValueError, match=r"circle.npy.*allowed: one within the folder|none of 1 files is usable"):
        import_folder(folder, tmp_path / "other", arrangement=KINECT)


def test_arrays_in_fortran_order_and_of_whole_numbers_are_read(tmp_path: Path) -> None:
    folder = table(tmp_path / "mine", "a.npy,1", "b.npy,1")
    joints = np.arange(1, 376).reshape(5, 25, 3)
    np.save(folder / "a.npy", np.asfortranarray(joints))
    np.save(folder / "b.npy", joints.astype(">i2"))
    import_folder(folder, tmp_path / "store", arrangement=KINECT)
    for row in (0, 1):
        np.testing.assert_array_equal(Packed.open(tmp_path / "store").sample(row)[:, 0], joints)


def test_coordinates_that_overflow_when_moved_are_refused(tmp_path: Path) -> None:
    folder = table(tmp_path / "mine", "a.npy,1")
    joints = np.full((2, 25, 3), 3e38, np.float32)
    joints[1] *= -1
    np.save(folder / "a.npy", joints)
    centered = Arrangement(layout=layout("kinect-v2-25"), center=True)
    with pytest.raises(ValueError, match="too large to be averaged or moved"):
        import_folder(folder, tmp_path / "store", arrangement=centered)


@pytest.mark.parametrize("header", [None, ",".join(f"j{number}" for number in range(75))])
def test_cells_that_a_tracker_leaves_empty_are_nan_and_their_frames_stay(tmp_path: Path, header: str | None) -> None:
    joints = np.random.default_rng(0).normal(size=(6, 25, 3)).astype(np.float32)
    lines = [[repr(number) for number in frame.ravel().tolist()] for frame in joints]
    lines[0][4] = ""
    lines[3] = [""] * 75
    folder = table(tmp_path / "mine", "a.csv,1")
    text = "\n\n".join([*([header] if header else []), *(",".join(line) for line in lines)])
    (folder / "a.csv").write_text(text + "\n", encoding="utf-8")
    import_folder(folder, tmp_path / "store", arrangement=KINECT)
    packed = Packed.open(tmp_path / "store")
    assert packed.column("num_frames").tolist() == [6]
    assert packed.column("num_nan").tolist() == [76]
    found = packed.sample(0)[:, 0]
    np.testing.assert_array_equal(found[[1, 2, 4, 5]], joints[[1, 2, 4, 5]])
    assert np.isnan(found[3]).all()
    assert np.isnan(found[0]).sum() == 1
