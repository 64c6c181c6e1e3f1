"""NTU RGB+D as published: what is left out, the counts beside the published ones, and which names are absent."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from stars.__main__ import application
from stars.data.dataset import describe
from stars.data.missing import missing_skeletons
from stars.data.ntu import parse_name
from stars.data.packed import Packed
from stars.data.packing import Packer
from stars.data.prepare import prepare_ntu
from stars.data.published import Count, counts, ntu_difference, pku_difference
from stars.data.skeleton import Unreadable
from tests.data import test_pku
from tests.data.texts import moving, recorded, text_of

MISSING = "S001C002P005R002A008"
LATER = "S018C001P008R001A061"


def sha256(names: list[str]) -> str:
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(names)).encode()).hexdigest()


def test_the_lists_of_missing_skeletons_are_the_published_ones() -> None:
    names = list(missing_skeletons())
    first = [name for name in names if parse_name(name).setup <= 17]
    assert (len(names), len(first)) == (535, 302)
    assert sha256(names) == "f8abc124c4fc4b4e8f144caa34948f8307e5d7dcba17acf96132c9f311ff93cf"
    assert sha256(first) == "4a964781573e86c3f3bb24d489d2b4768d2d03ede396d20ea9c09ddc92b6df18"


def write(path: Path, names: list[str]) -> Path:
    """An archive of recordings, `.skeleton` text each; what is called broken is."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, name in enumerate(names):
            text = text_of(recorded({"1": (0, moving(14, number))}, 14))
            archive.writestr(f"nturgb+d_skeletons/{name}.skeleton", text if name != BROKEN else "1\n")
    return path


BROKEN = "S001C001P001R001A060"
NAMES = ["S001C001P001R001A001", "S001C001P003R002A002", "S002C002P001R001A001", BROKEN, MISSING, LATER]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("published") / "ntu.zip", NAMES)


def test_what_has_no_skeleton_is_left_out_and_counted(raw: Path, tmp_path: Path) -> None:
    prepared = prepare_ntu("ntu60", [raw], tmp_path / "out")
    packed = Packed.open(tmp_path / "out")
    assert packed.names == NAMES[:3]
    assert (prepared.left_out, prepared.num_foreign) == ((MISSING,), 1)
    assert (prepared.manifest.name, prepared.manifest.second_body) == ("ntu60", "zero")
    assert "second_body" not in prepared.manifest.text(), "stores stay as they were"
    rejected = {entry["file"]: entry["reason"] for entry in packed.rejected.to_pylist()}
    assert rejected.keys() == {f"{MISSING}.skeleton", f"{BROKEN}.skeleton"}
    assert "left out as published" in rejected[f"{MISSING}.skeleton"]
    with pytest.raises(Unreadable, match=BROKEN):
        prepare_ntu("ntu60", [raw], tmp_path / "strict", strict=True)


def test_the_store_of_ntu120_says_that_the_body_is_copied(raw: Path, tmp_path: Path) -> None:
    prepared = prepare_ntu("ntu120", [raw], tmp_path / "out")
    packed = Packed.open(tmp_path / "out")
    packed.verify()
    assert packed.names == [*NAMES[:3], LATER]
    assert (prepared.left_out, prepared.num_foreign) == ((MISSING,), 0)
    assert packed.manifest.second_body == "copy"
    data = describe(packed)
    assert data.second_body == "copy"
    assert data.filling() == {"zero_missing": False, "copy_body": True}


def test_archives_without_a_recording_of_the_data_set_are_refused(tmp_path: Path) -> None:
    raw = write(tmp_path / "late.zip", [LATER])
    with pytest.raises(ValueError, match=r"late.zip holds no recording of ntu60; allowed: one or more"):
        prepare_ntu("ntu60", [raw], tmp_path / "out")
    with pytest.raises(ValueError, match="none of 0 recordings is usable; the first"):
        prepare_ntu("ntu60", [write(tmp_path / "left.zip", [MISSING])], tmp_path / "out")


def test_counts_stand_beside_the_published_ones(raw: Path, tmp_path: Path) -> None:
    prepare_ntu("ntu120", [raw], tmp_path / "out")
    found = counts("ntu120", Packed.open(tmp_path / "out"))
    assert [(count.protocol, count.part, count.found) for count in found] == [
        ("XSub", "train", 3),
        ("XSub", "test", 1),
        ("XSet", "train", 2),
        ("XSet", "test", 2),
    ]
    assert [count.published[0] for count in found] == [63026, 50919, 54468, 59477]
    assert not any(count.agrees for count in found)
    assert Count(protocol="XSub", part="test", published=(50919, 50922), found=50922).agrees
    assert Count(protocol="XView", part="test", published=(), found=3).agrees


def test_absent_recordings_are_named(tmp_path: Path) -> None:
    """Of one setup, subject and replication all is there but two, one of them since it cannot be read."""
    group = [f"S001C{camera:03d}P005R002A{action:03d}" for camera in (1, 2, 3) for action in range(1, 61)]
    group = [name for name in group if name not in missing_skeletons()]
    unread = "S001C003P006R001A009"
    with Packer(tmp_path / "store", name="ntu60", source="tests") as packer:
        for name in sorted({*group[1:], "S001C001P005R002A061"}):
            packer.append(name, parse_name(name), moving(1)[:, None])
        packer.reject(f"{unread}.skeleton", 1, "why")
        packer.reject("S001.skeleton", None, "the name")
        packer.finish()
    found = ntu_difference("ntu60", Packed.open(tmp_path / "store"))
    assert {group[0], unread} < set(found.absent)
    assert all(name == group[0] or name[8:16] == "P006R001" for name in found.absent)
    assert not missing_skeletons() & set(found.absent)
    assert found.unexpected == ("S001C001P005R002A061",)


def test_the_command_tells_what_differs(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    application().cli(args=["prepare", "ntu60", "--raw", str(raw), "--out", str(out), "--processes", "1"])
    told = capsys.readouterr().out
    assert f"3 sequences in {out}, 1 rejected" in told
    assert "1 recordings without a skeleton left out as published" in told
    assert "1 recordings of later setups passed over" in told
    assert "40,091" in told
    assert "warning: the numbers differ" in told
    assert "and 693 more" in told
    Packed.open(out).verify()


def test_the_command_for_pku_finds_the_splits_beside_the_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = test_pku.write(tmp_path / "raw", "pku2")
    (raw / "skeleton" / "A01N02-M.txt").unlink()
    where = ["--raw", str(raw / "skeleton"), "--labels", str(raw / "label"), "--processes", "1"]
    application().cli(args=["prepare", "pku2", *where, "--out", str(tmp_path / "out")])
    told = capsys.readouterr().out
    assert f"4 sequences in {tmp_path / 'out'}, 1 rejected" in told
    assert "5,332" in told
    assert "2 absent: A01N02-M label/A01N02-M.txt" in told
    packed = Packed.open(tmp_path / "out")
    assert pku_difference(packed, {"A01N02-L"}).unexpected == ("A03N01-R",)
    with pytest.raises(ValueError, match=r"cross-subject.txt: the data set's split file cannot be read"):
        application().cli(args=["prepare", "pku1", *where, "--out", str(tmp_path / "other")])
    with pytest.raises(ValueError, match="--labels names no path"):
        application().cli(args=["prepare", "pku1", *where[:2], "--labels", "--out", str(tmp_path / "other")])
