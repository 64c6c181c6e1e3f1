"""Archives with more members than fit into memory are refused before they are listed."""

import struct
import zipfile
from pathlib import Path

import pytest

from stars.data import zipped
from stars.data.archives import Files, find
from stars.data.exchange.npz import import_npz
from stars.data.skeleton import Unreadable
from stars.data.zipped import Zipped

SUFFIX = ".skeleton"


def archive(path: Path, num_members: int, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as writer:
        for number in range(num_members):
            writer.writestr(f"{number}{SUFFIX}", b"1\n" * number)
    return path


def test_an_archive_is_read_and_its_file_closed(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", 3)
    with Zipped(path) as opened:
        assert [opened.read(f"{number}{SUFFIX}") for number in range(3)] == [b"", b"1\n", b"1\n1\n"]
        watched = opened._watched
    assert watched.closed


def test_more_members_than_allowed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipped, "MAX_MEMBERS", 3)
    assert list(find([archive(tmp_path / "a.zip", 3)], SUFFIX).places) == ["0", "1", "2"]
    path = archive(tmp_path / "b.zip", 4)
    with pytest.raises(ValueError, match=r"b.zip is no .zip archive that can be read \(it has 4 members; allowed: at"):
        find([path], SUFFIX)
    with pytest.raises(ValueError, match=r"b.zip is no npz that can be read: it has 4 members"):
        import_npz(path, tmp_path / "out")


def test_a_large_table_of_contents_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.zip", 30)
    monkeypatch.setattr(zipped, "MAX_CONTENTS", 1000)
    with pytest.raises(ValueError, match=r"its table of contents has \d+ bytes; allowed: at most 1000"):
        find([path], SUFFIX)


@pytest.mark.parametrize(
    ("method", "name"), [(zipfile.ZIP_BZIP2, "by bzip2; allowed: deflated"), (zipfile.ZIP_LZMA, "by lzma")]
)
def test_what_can_only_be_inflated_as_a_whole_is_refused(tmp_path: Path, method: int, name: str) -> None:
    (problem, *_) = find([archive(tmp_path / "a.zip", 2, method)], SUFFIX).refused
    assert name in problem.reason


def test_a_member_that_lies_about_its_size_is_inflated_no_further(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr(f"x{SUFFIX}", bytes(2**22))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    place = content.index(b"PK\x01\x02") + 24
    content[place : place + 4] = struct.pack("<I", 100)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(Unreadable, match=r"cannot be read from a.zip .*CRC-32"):
        Files(find([tmp_path / "a.zip"], SUFFIX).places, SUFFIX)("x")


def test_what_is_no_archive_is_closed_again(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x05\x06")
    with pytest.raises(zipfile.BadZipFile):
        Zipped(tmp_path / "a.zip")
