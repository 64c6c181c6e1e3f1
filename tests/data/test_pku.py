"""PKU-MMD's text, labels and splits: what is read, what is refused with its line. The arrays are in conformance."""

from pathlib import Path

import numpy as np
import pytest

from stars.data.dataset import describe, parts, split
from stars.data.packed import Packed
from stars.data.pku import Action, PkuDataSet, parse_frames, parse_labels, prepare_pku, read_split
from stars.data.skeleton import Unreadable
from tests.data.texts import moving

VIDEOS: dict[PkuDataSet, tuple[str, ...]] = {
    "pku1": ("0002-L", "0002-M", "0003-R"),
    "pku2": ("A01N02-L", "A01N02-M", "A03N01-R"),
}
SPLITS: dict[PkuDataSet, tuple[str, str]] = {
    "pku1": ("cross-subject.txt", "cross-view.txt"),
    "pku2": ("cross-subject_v2.txt", "cross-view_v2.txt"),
}


def video_text(num_frames: int, seed: int) -> str:
    """One person, then nobody."""
    frames = np.zeros((num_frames, 150))
    frames[:, :75] = moving(num_frames, seed).reshape(num_frames, 75)
    return "".join(" ".join(map(repr, frame)) + " \n" for frame in frames.tolist())


def write(folder: Path, data_set: PkuDataSet = "pku1") -> Path:
    (folder / "skeleton").mkdir(parents=True)
    (folder / "label").mkdir()
    videos = VIDEOS[data_set]
    for seed, video in enumerate(videos):
        (folder / "skeleton" / f"{video}.txt").write_text(video_text(60, seed))
        (folder / "label" / f"{video}.txt").write_text("7,10,30,1\n28,40,50,1\n")
    for name, training in zip(SPLITS[data_set], ((0, 1), (1,)), strict=True):
        train = ", ".join(videos[number] for number in training)
        test = ", ".join(video for number, video in enumerate(videos) if number not in training)
        (folder / name).write_text(f"Training:\n{train}\nValidation:\n{test}\n")
    return folder


def prepared(folder: Path, data_set: PkuDataSet = "pku1", *, strict: bool = False) -> Packed:
    out = folder / "store"
    prepare_pku(data_set, [folder / "skeleton"], [folder / "label"], folder, out, strict=strict)
    return Packed.open(out)


@pytest.mark.parametrize("data_set", VIDEOS)
def test_every_label_is_a_sample_and_the_split_files_are_the_protocols(tmp_path: Path, data_set: PkuDataSet) -> None:
    packed = prepared(write(tmp_path, data_set), data_set)
    packed.verify()
    first, second, third = VIDEOS[data_set]
    assert packed.names == [f"{video}-{line:03d}" for video in VIDEOS[data_set] for line in (1, 2)]
    assert packed.manifest.name == data_set
    assert packed.column("action").tolist() == [7, 28] * 3
    assert packed.column("camera").tolist() == [1, 1, 2, 2, 3, 3]
    for unknown in ("subject", "setup", "replication"):
        assert not packed.column(unknown).any()
    expected = np.float32(moving(60, 1)[40:50])
    np.testing.assert_array_equal(packed.sample(3)[:, 0], expected)
    for protocol, training in (("XSub", {first, second}), ("XView", {second})):
        given = split(describe(packed, protocol=protocol), packed)  # type: ignore[arg-type]
        assert {packed.names[row][:-4] for row in given.train} == training
        assert {packed.names[row][:-4] for row in given.measured} == {first, second, third} - training
        assert list(given.train) == sorted(given.train)


def test_the_splits_are_part_of_the_content(tmp_path: Path) -> None:
    one = prepared(write(tmp_path / "one"))
    write(tmp_path / "two")
    (tmp_path / "two" / "cross-view.txt").write_text("Training:\n0003-R\nValidation:\n")
    other = prepared(tmp_path / "two")
    assert one.manifest.content != other.manifest.content
    assert (one.path / "joints.npy").read_bytes() == (other.path / "joints.npy").read_bytes()


def test_what_the_files_do_not_say_is_refused(tmp_path: Path) -> None:
    packed = prepared(write(tmp_path))
    with pytest.raises(ValueError, match="'XSet', and the setup of 6 samples is not known"):
        parts(describe(packed, protocol="XSet"), packed)
    with pytest.raises(ValueError, match="'subjects', and the subject of 6 samples is not known"):
        parts(describe(packed, protocol="subjects", test_subjects=[1]), packed)
    with pytest.raises(ValueError, match="label_rule is 'action-setup', and the setup of 6 samples is not known"):
        split(describe(packed, label_rule="action-setup"), packed)


def test_what_cannot_be_used_is_listed_with_file_and_line(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "label" / "0002-L.txt").write_text("7,10,30,1\n7,59,59,1\n3,90,99,1\n4,50,999,1\n")
    (tmp_path / "label" / "0002-M.txt").write_text("7,10,30,1\n52,10,30,1\n")
    (tmp_path / "skeleton" / "0004-L.txt").write_text(video_text(3, 0))
    (tmp_path / "skeleton" / "notes.txt").write_text("words")
    (tmp_path / "label" / "0009-L.txt").write_text("7,10,30,1\n")
    with pytest.raises(Unreadable, match=r"label/0009-L.txt: there is no video of this name"):
        prepared(tmp_path, strict=True)
    packed = prepared(tmp_path)
    assert packed.names == ["0002-L-001", "0002-L-004", "0003-R-001", "0003-R-002"]
    assert packed.column("num_frames").tolist() == [20, 10, 20, 10], "a slice ends where the video does"
    rejected = [(entry["file"], entry["line"], entry["reason"].split(";")[0]) for entry in packed.rejected.to_pylist()]
    assert rejected == [
        ("label/0009-L.txt", None, "there is no video of this name"),
        ("label/0002-L.txt", 2, "its frames sum to 0, or it has none"),
        ("label/0002-L.txt", 3, "its frames sum to 0, or it has none"),
        ("label/0002-M.txt", 2, "the class is 52"),
        ("0004-L.txt", None, "there is no label file of this name"),
        ("notes.txt", None, "no name of a video of pku1"),
    ]
    with pytest.raises(ValueError, match="All samples of pku1 are in the other part"):
        split(describe(packed, protocol="XView"), packed)


def test_an_action_has_three_hundred_frames_at_most(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "skeleton" / "0002-L.txt").write_text("0 " * 150 + "\n" + video_text(349, 0))
    (tmp_path / "label" / "0002-L.txt").write_text("7,0,350,1")
    packed = prepared(tmp_path)
    assert packed.column("num_frames")[0] == 300
    assert packed.column("valid")[0] == 299


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1 2 3", "a frame has 3 numbers; allowed: 150"),
        (b"1 " * 151, "a frame has 151 numbers"),
        (b"1 " * 149 + b"x", "a frame holds what is no number"),
        (b"1 " * 149 + b"1_0", "a frame holds what is no number"),
        (b"1 " * 149 + b"1.2.3", "a frame holds what is no number"),
        (b"1 " * 149 + b"\xff", "a frame holds what is no number"),
        (b"1 " * 149 + b"1e39", "no finite 32-bit number"),
        (b"1 " * 149 + b"-inf", "no finite 32-bit number"),
    ],
)
def test_frames_that_cannot_be_read_are_named(line: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=rf"^v.txt, line 2: .*{reason}"):
        parse_frames(b"0 " * 150 + b"\r\n" + line + b"\r\n", "v")


def test_frames_are_read_with_missing_coordinates() -> None:
    frames = parse_frames(b"nan " + b"1.5\t" * 149, "v")
    assert frames.shape == (1, 2, 25, 3)
    assert np.isnan(frames[0, 0, 0, 0])
    assert (frames.reshape(-1)[1:] == 1.5).all()
    with pytest.raises(Unreadable, match="the file is empty"):
        parse_frames(b"\n\n", "v")


@pytest.mark.parametrize(
    "line", [b"1,2", b"1,2,3,4,5", b"a,2,3,4", b"1,-2,3,4", b"1.5,2,3,4", b"1,2,9999999999,1", b""]
)
def test_labels_that_cannot_be_read_are_named(line: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^v.txt, line 2: a label is class, first frame"):
        parse_labels(b"1,2,3,1\n" + line + b"\n1,2,3,1\n", "v")


def test_labels_are_read() -> None:
    assert parse_labels(b"51, 0, 20, 2\r\n", "v") == [Action(1, 51, 0, 20)], "one line is enough"
    with pytest.raises(Unreadable, match=r"line 1: it has 0 labels; allowed: 1 to 999"):
        parse_labels(b"\n", "v")
    with pytest.raises(Unreadable, match="it has 1000 labels"):
        parse_labels(b"1,2,3,1\n" * 1000, "v")


def test_split_files_are_read_and_others_refused(tmp_path: Path) -> None:
    path = tmp_path / "cross-subject.txt"
    path.write_text("﻿Training:\na-L, b-M,\nValidation:\nc-R\n", encoding="utf-8")
    assert read_split(path) == (frozenset({"a-L", "b-M"}), frozenset({"c-R"}))
    path.write_text("Training:\n")
    with pytest.raises(ValueError, match=r"cross-subject.txt: line 2 names no video"):
        read_split(path)
    with pytest.raises(ValueError, match=r"absent.txt: the data set's split file cannot be read"):
        read_split(tmp_path / "absent.txt")


def test_a_line_longer_than_a_frame_is_not_taken_apart() -> None:
    with pytest.raises(Unreadable, match=r"^v.txt, line 2: the line has 20001 characters; allowed: at most 16384"):
        parse_frames(b" ".join([b"1"] * 150) + b"\n" + b"1 " * 10_000 + b"x", "v")


def test_lines_end_in_any_way() -> None:
    frame = b" ".join([b"1"] * 150)
    assert len(parse_frames(frame + b"\r" + frame + b"\r\n" + frame + b"\n \n", "v")) == 3


def test_labels_that_all_cover_everything_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "raw")
    (folder / "label" / "0002-L.txt").write_text("1,0,60,1\n" * 4)
    (folder / "label" / "0002-M.txt").write_text("1,0,99999,1\n" * 5)
    packed = prepared(folder)
    assert sum(name.startswith("0002-L") for name in packed.names) == 4
    (rejected,) = packed.rejected.to_pylist()
    assert rejected["file"] == "label/0002-M.txt"
    assert rejected["reason"] == "its labels cover 300 frames of a video of 60; allowed: at most 4 times as many"
