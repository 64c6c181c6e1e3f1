"""From raw text to a packed store: what is used, what is rejected, and that the number of processes is irrelevant."""

from pathlib import Path

import pytest

from stars.data import prepare as module
from stars.data import preparing
from stars.data.packed import Packed
from stars.data.prepare import prepare, prepare_folder
from stars.data.skeleton import Unreadable
from tests.data.texts import moving, recorded, text_of


def name_of(number: int) -> str:
    return f"S001C001P{number:03d}R001A001"


def text(name: str) -> str:
    """A recording of two people that depends on its name."""
    seed = int(name[9:12])
    return text_of(recorded({"1": (0, moving(14, seed)), "2": (1, moving(13, seed + 1000))}, 14))


def write(folder: Path, count: int) -> Path:
    (folder / "deep" / "er").mkdir(parents=True)
    for number in range(1, count + 1):
        place = folder / "deep" / "er" if number % 3 == 0 else folder
        (place / f"{name_of(number)}.skeleton").write_text(text(name_of(number)))
    return folder


def test_a_folder_is_packed_in_the_order_of_names(tmp_path: Path) -> None:
    raw = write(tmp_path / "recordings", 4)
    (raw / "readme.txt").write_text("not a recording")
    told: list[tuple[int, int]] = []
    manifest = prepare_folder(raw, tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    packed = Packed.open(tmp_path / "out")
    packed.verify()
    assert packed.names == [name_of(number) for number in (1, 2, 3, 4)]
    assert packed.column("subject").tolist() == [1, 2, 3, 4]
    assert (manifest.name, manifest.num_samples, manifest.num_rejected) == ("recordings", 4, 0)
    assert told[-1] == (4, 4)
    assert str(tmp_path) not in manifest.text()
    again = prepare([name_of(n) for n in (4, 2, 3, 1)], text, tmp_path / "other", name="x", source="tests")
    assert again.content == manifest.content


def test_what_cannot_be_used_is_rejected_and_the_rest_prepared(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", 2)
    whole = text(name_of(7)).splitlines()
    (raw / f"{name_of(7)}.skeleton").write_text("\n".join(whole[:40]))
    (raw / f"{name_of(8)}.skeleton").write_text(text_of([{}, {}]))
    (raw / f"{name_of(9)}.skeleton").write_text(text_of(recorded({"1": (0, moving(3)), "2": (0, moving(3))}, 3)))
    (raw / "S001.skeleton").write_text("whatever")
    manifest = prepare_folder(raw, tmp_path / "out", name="mine")
    assert (manifest.name, manifest.num_samples, manifest.num_rejected) == ("mine", 2, 4)
    rejected = Packed.open(tmp_path / "out").rejected.to_pylist()
    assert [(entry["file"], entry["line"]) for entry in rejected] == [
        ("S001.skeleton", None),
        (f"{name_of(7)}.skeleton", 41),
        (f"{name_of(8)}.skeleton", 1),
        (f"{name_of(9)}.skeleton", None),
    ]
    for entry, reason in zip(
        rejected, ("SsssCcccPpppRrrrAaaa", "text ends", "none of the 2", "no body is"), strict=True
    ):
        assert reason in entry["reason"]


def test_strict_stops_at_the_first_in_the_order_of_names(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", 2)
    (raw / f"{name_of(7)}.skeleton").write_text("1\n")
    (raw / f"{name_of(9)}.skeleton").write_text("")
    with pytest.raises(Unreadable, match=rf"{name_of(7)}.skeleton, line 2: the text ends"):
        prepare_folder(raw, tmp_path / "out", strict=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_input_without_anything_usable_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="is no folder"):
        prepare_folder(tmp_path / "absent", out)
    raw = tmp_path / "raw"
    raw.mkdir()
    with pytest.raises(ValueError, match=r"holds no .skeleton file"):
        prepare_folder(raw, out)
    with pytest.raises(ValueError, match="none of 0 recordings is usable"):
        prepare([], text, out, name="x", source="x")
    (raw / f"{name_of(1)}.skeleton").write_text("")
    with pytest.raises(
        ValueError, match=rf"none of 1 recordings is usable; the first, {name_of(1)}.skeleton: the file is empty"
    ):
        prepare_folder(raw, out)
    with pytest.raises(ValueError, match="num_processes is 0; allowed: 1 or more"):
        prepare_folder(raw, out, num_processes=0)
    assert not out.exists()


def test_one_name_twice_is_refused(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", 3)
    (raw / f"{name_of(3)}.skeleton").write_text("")
    with pytest.raises(ValueError, match=rf"{name_of(3)}.skeleton and .*{name_of(3)}.skeleton have the same name"):
        prepare_folder(raw, tmp_path / "out")
    with pytest.raises(ValueError, match="'a' occurs twice"):
        prepare(["a", "b", "a"], text, tmp_path / "out", name="x", source="x")


def test_problems_that_are_not_the_recordings_are_raised(tmp_path: Path) -> None:
    def broken(name: str) -> str:
        raise PermissionError(name)

    with pytest.raises(PermissionError):
        prepare([name_of(1)], broken, tmp_path / "out", name="x", source="x")


def test_the_number_of_processes_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = write(tmp_path / "raw", 5)
    (raw / "S001.skeleton").write_text("whatever")
    monkeypatch.setattr(module, "_CHUNK", 2)
    both = prepare_folder(raw, tmp_path / "two", num_processes=2)
    monkeypatch.setattr(preparing, "ProcessPoolExecutor", None)  # one process must not ask for a pool
    alone = prepare_folder(raw, tmp_path / "one", num_processes=1)
    assert alone == both
    for name in ("joints.npy", "index.parquet", "rejected.parquet", "manifest.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_file_that_cannot_be_opened_is_rejected_and_the_rest_prepared(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", 3)
    (raw / f"{name_of(9)}.skeleton").symlink_to(tmp_path / "nowhere")
    manifest = prepare_folder(raw, tmp_path / "out")
    assert (manifest.num_samples, manifest.num_rejected) == (3, 1)
    assert "cannot be opened" in Packed.open(tmp_path / "out").rejected["reason"][0].as_py()


def test_chunks_end_by_number_and_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "MOST_BYTES", 10)
    sizes = {"a": 4, "b": 6, "c": 1, "d": 30, "e": 2, "f": 2, "g": 2}
    assert list(preparing.cut("abcdefg", 3, sizes)) == [("a", "b"), ("c",), ("d",), ("e", "f", "g")]
    assert list(preparing.cut("abcdefg", 3)) == [("a", "b", "c"), ("d", "e", "f"), ("g",)]
    assert list(preparing.cut("", 3)) == []
