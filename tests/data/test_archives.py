"""Raw files in folders and archives: found, read member by member, and what a hostile archive holds refused by name."""

import os
import stat
import zipfile
from pathlib import Path

import pytest

from stars.data import archives
from stars.data.archives import Files, find
from stars.data.packed import Packed
from stars.data.prepare import prepare_folder
from stars.data.skeleton import Unreadable
from tests.data.texts import moving, recorded, text_of

SUFFIX = ".skeleton"


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as writer:
        for name, content in members.items():
            writer.writestr(name, content)
    return path


def recording(number: int) -> tuple[str, bytes]:
    name = f"S001C001P{number:03d}R001A001"
    return name, text_of(recorded({"1": (0, moving(14, number))}, 14)).encode()


def test_folders_and_archives_give_the_same_store(tmp_path: Path) -> None:
    texts = dict(recording(number) for number in (1, 2, 3, 4))
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    (tmp_path / "zips").mkdir()
    for name, content in texts.items():
        (tmp_path / "folder" / "deep" / f"{name}{SUFFIX}").write_bytes(content)
    members = {f"nturgb+d_skeletons/{name}{SUFFIX}": content for name, content in texts.items()}
    members["nturgb+d_skeletons/readme.txt"] = b"not a recording"
    names = list(members)
    archive(tmp_path / "zips" / "a.zip", {name: members[name] for name in names[:1]})
    archive(tmp_path / "zips" / "b.ZIP", {name: members[name] for name in names[1:]})
    contents = {
        prepare_folder(raw, tmp_path / f"out {number}", num_processes=number).content
        for number, raw in enumerate((tmp_path / "folder", tmp_path / "zips"), 1)
    }
    assert len(contents) == 1
    assert Packed.open(tmp_path / "out 2").names == list(texts)
    assert not list(tmp_path.glob("zips/*/")), "nothing is unpacked"


def test_a_byte_order_mark_and_crlf_are_read(tmp_path: Path) -> None:
    name, content = recording(1)
    (tmp_path / "plain").mkdir()
    (tmp_path / "marked").mkdir()
    (tmp_path / "plain" / f"{name}{SUFFIX}").write_bytes(content)
    (tmp_path / "marked" / f"{name}{SUFFIX}").write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    contents = {prepare_folder(tmp_path / raw, tmp_path / f"{raw} out").content for raw in ("plain", "marked")}
    assert len(contents) == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../x", "leads elsewhere"),
        ("a/../../x", "leads elsewhere"),
        ("a\\..\\x", "leads elsewhere"),
        ("/etc/x", "absolute"),
        ("C:\\x", "absolute"),
        ("\\x", "absolute"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str, reason: str) -> None:
    path = archive(tmp_path / "a.zip", {f"{name}{SUFFIX}": b"1", f"good{SUFFIX}": b"1"})
    found = find([path], SUFFIX)
    assert list(found.places) == ["good"]
    (problem,) = found.refused
    assert reason in problem.reason
    assert problem.file.startswith("a.zip:")
    assert problem.file.endswith(f"x{SUFFIX}")


@pytest.mark.parametrize(("kind", "allowed"), [(stat.S_IFLNK, False), (stat.S_IFIFO, False), (stat.S_IFREG, True)])
def test_links_are_refused(tmp_path: Path, kind: int, allowed: bool) -> None:
    entry = zipfile.ZipInfo(f"x{SUFFIX}")
    entry.external_attr = (kind | 0o644) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as writer:
        writer.writestr(entry, "/etc/passwd")
    found = find([tmp_path / "a.zip"], SUFFIX)
    assert list(found.places) == (["x"] if allowed else [])
    assert all("it is a link" in problem.reason for problem in found.refused)
    assert len(found.refused) == (0 if allowed else 1)


def test_bombs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.zip", {f"bomb{SUFFIX}": bytes(3 * 2**20), f"small{SUFFIX}": bytes(2**19)})
    found = find([path], SUFFIX)
    assert list(found.places) == ["small"]
    assert "it shrank to 1/" in found.refused[0].reason
    monkeypatch.setattr(archives, "MAX_BYTES", 2**18)
    assert [problem.reason.split(";")[0] for problem in find([path], SUFFIX).refused] == [
        f"it has {3 * 2**20} bytes",
        f"it has {2**19} bytes",
    ]
    (tmp_path / f"long{SUFFIX}").write_bytes(bytes(2**18 + 1))
    with pytest.raises(Unreadable, match=rf"^long.skeleton: it has {2**18 + 1} bytes; allowed: at most {2**18}"):
        Files(find([tmp_path], SUFFIX).places, SUFFIX)("long")


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"x{SUFFIX}"
    path.write_bytes(b"1")
    files = Files(find([tmp_path], SUFFIX).places, SUFFIX)
    path.write_bytes(bytes(20))
    monkeypatch.setattr(archives, "MAX_BYTES", 10)
    with pytest.raises(Unreadable, match="it has more than 10 bytes"):
        files("x")


def test_damaged_members_are_rejected_and_the_rest_prepared(tmp_path: Path) -> None:
    texts = dict(recording(number) for number in (1, 2))
    path = archive(tmp_path / "a.zip", {f"{name}{SUFFIX}": content for name, content in texts.items()})
    content = bytearray(path.read_bytes())
    content[200] ^= 255  # in the first member's compressed text
    path.write_bytes(content)
    manifest = prepare_folder(path, tmp_path / "out")
    assert (manifest.num_samples, manifest.num_rejected) == (1, 1)
    (entry,) = Packed.open(tmp_path / "out").rejected.to_pylist()
    assert entry["file"] == f"{next(iter(texts))}{SUFFIX}"
    assert "cannot be read from a.zip" in entry["reason"]


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {f"x{SUFFIX}": b"1"})
    content = path.read_bytes().replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00")
    path.write_bytes(content)
    (problem,) = find([path], SUFFIX).refused
    assert "encrypted" in problem.reason


def test_refused_members_are_listed_and_strict_stops_at_them(tmp_path: Path) -> None:
    name, content = recording(1)
    path = archive(tmp_path / "a.zip", {f"{name}{SUFFIX}": content, f"../evil{SUFFIX}": b"1"})
    with pytest.raises(Unreadable, match=r"a.zip:../evil.skeleton: its name"):
        prepare_folder(path, tmp_path / "out", strict=True)
    manifest = prepare_folder(path, tmp_path / "out")
    assert (manifest.num_samples, manifest.num_rejected) == (1, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


def test_what_cannot_be_searched_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(ValueError, match=r"a.zip is no .zip archive that can be read"):
        find([tmp_path], SUFFIX)
    with pytest.raises(ValueError, match=r"absent is no folder; allowed: one with .skeleton files or .zip archives"):
        find([tmp_path / "absent"], SUFFIX)
    with pytest.raises(ValueError, match="no path is given"):
        find([], SUFFIX)
    archive(tmp_path / "a.zip", {f"x/n{SUFFIX}": b"1", f"y/n{SUFFIX}": b"2"})
    with pytest.raises(ValueError, match=r"a.zip:x/n.skeleton and .*a.zip:y/n.skeleton have the same name"):
        find([tmp_path], SUFFIX)


def test_identity_follows_the_content(tmp_path: Path) -> None:
    both = {f"x{SUFFIX}": b"1", f"y{SUFFIX}": b"2"}
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    first = find([archive(tmp_path / "1" / "a.zip", both)], SUFFIX)
    moved = find([archive(tmp_path / "2" / "b.zip", both)], SUFFIX)
    other = find([archive(tmp_path / "c.zip", both | {f"y{SUFFIX}": b"3"})], SUFFIX)
    names = frozenset("xy")
    assert first.identity(names) == moved.identity(names) != other.identity(names)
    assert first.identity(frozenset("x")) == other.identity(frozenset("x"))


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / f"x{SUFFIX}")
    with pytest.raises(Unreadable, match=r"^x.skeleton: it is no regular file"):
        Files(find([tmp_path], SUFFIX).places, SUFFIX)("x")


def test_names_that_cannot_be_written_down_are_refused_and_the_rest_is_prepared(tmp_path: Path) -> None:
    name, content = recording(1)
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / f"{name}{SUFFIX}").write_bytes(content)
    with open(os.fsencode(tmp_path / "raw") + b"/caf\xe9.skeleton", "wb") as file:  # noqa: PTH123 - no text
        file.write(content)
    manifest = prepare_folder(tmp_path / "raw", tmp_path / "store")
    assert (manifest.num_samples, manifest.num_rejected) == (1, 1)
    (rejected,) = Packed.open(tmp_path / "store").rejected.to_pylist()
    assert rejected["file"] == "caf\\xe9.skeleton"
    assert "not UTF-8" in rejected["reason"]


def test_a_link_to_a_folder_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    name, content = recording(1)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / f"{name}{SUFFIX.upper()}").write_bytes(content)
    assert prepare_folder(tmp_path / "elsewhere", tmp_path / "store").num_samples == 1
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="more is a link to a folder, which is not followed"):
        find([tmp_path / "raw"], SUFFIX)
