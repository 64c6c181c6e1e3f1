"""A preparation that is killed goes on where it was, and ends with the same content."""

import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stars.data import prepare as module
from stars.data.journal import Journal
from stars.data.packed import Packed
from stars.data.packing import Packer
from stars.data.prepare import prepare_folder
from tests.data.prepare_killed import CHUNK
from tests.data.texts import moving, recorded, text_of

ROOT = Path(__file__).resolve().parents[2]
FILES = ("joints.npy", "index.parquet", "rejected.parquet", "manifest.json")
NUM_PARTS = 5


def write(folder: Path, count: int) -> Path:
    """Recordings of two people; every seventh cannot be used."""
    folder.mkdir()
    for number in range(1, count + 1):
        bodies = {"1": (0, moving(14, number)), "2": (1, moving(13, number + 1000))}
        text = text_of(recorded(bodies, 14)) if number % 7 else "1\n"
        (folder / f"S001C001P{number:03d}R001A001.skeleton").write_text(text)
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("unfinished") / "raw", 3 * NUM_PARTS)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", CHUNK)


def interrupted(raw: Path, out: Path, after: int) -> Path:
    """Stop after so many parts, and return the folder that is left."""

    def stop(done: int, total: int) -> None:
        if done == CHUNK * after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_folder(raw, out, progress=stop)
    return out.parent / f".{out.name}.unfinished"


def resumed(raw: Path, out: Path) -> list[int]:
    """Prepare to the end, and return how many recordings were done at each report."""
    told: list[int] = []
    prepare_folder(raw, out, progress=lambda done, total: told.append(done))
    return told


def assert_same(out: Path, other: Path) -> None:
    """Byte for byte, and nothing else is left."""
    Packed.open(out).verify()
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    for name in FILES:
        assert (out / name).read_bytes() == (other / name).read_bytes()
    assert not list(out.parent.glob(".*"))


@pytest.fixture(scope="module")
def whole(raw: Path) -> Path:
    prepare_folder(raw, raw.parent / "whole")
    return raw.parent / "whole"


@pytest.mark.parametrize("after", range(1, NUM_PARTS + 1))
def test_parts_are_not_done_again(raw: Path, whole: Path, tmp_path: Path, after: int) -> None:
    interrupted(raw, tmp_path / "out", after)
    assert resumed(raw, tmp_path / "out") == [CHUNK * part for part in range(after + 1, NUM_PARTS + 1)]
    assert_same(tmp_path / "out", whole)


@pytest.mark.parametrize("torn", ["joints.npy", "journal"])
@pytest.mark.parametrize("cut", [-1, -40, 7])
def test_what_is_half_written_is_done_again(raw: Path, whole: Path, tmp_path: Path, torn: str, cut: int) -> None:
    """Bytes that are missing at the end cost the last part, bytes too many nothing."""
    folder = interrupted(raw, tmp_path / "out", 3)
    content = (folder / torn).read_bytes()
    (folder / torn).write_bytes(content[:cut] if cut < 0 else content + b"x" * cut)
    assert resumed(raw, tmp_path / "out")[0] == CHUNK * (3 if cut < 0 else 4)
    assert_same(tmp_path / "out", whole)


def test_a_flipped_byte_costs_the_parts_from_there_on(raw: Path, whole: Path, tmp_path: Path) -> None:
    folder = interrupted(raw, tmp_path / "out", 4)
    content = bytearray((folder / "joints.npy").read_bytes())
    content[len(content) * 3 // 8] ^= 1  # in the second of four parts
    (folder / "joints.npy").write_bytes(content)
    assert resumed(raw, tmp_path / "out")[0] == CHUNK * 2
    assert_same(tmp_path / "out", whole)


def test_other_work_starts_from_the_beginning(raw: Path, tmp_path: Path) -> None:
    copied = write(tmp_path / "raw", 3 * NUM_PARTS)
    folder = interrupted(copied, tmp_path / "out", 3)
    (folder / "lists").mkdir()  # as a kill between the last steps leaves it
    (folder / "manifest.json").write_text("{}")
    (copied / "S001C001P001R001A001.skeleton").write_text("changed")
    assert resumed(copied, tmp_path / "out")[0] == CHUNK
    prepare_folder(copied, tmp_path / "whole")
    assert_same(tmp_path / "out", tmp_path / "whole")


def test_two_at_the_same_work_are_told_so(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Packer(out, name="x", source="x", work="w"), pytest.raises(FileExistsError, match="by another process"):
        prepare_folder(raw, out)
    assert not list(tmp_path.iterdir()), "and who leaves without finishing leaves nothing"


def test_what_the_input_is_to_blame_for_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "S001C001P001R001A001.skeleton").write_text("1\n")
    with pytest.raises(ValueError, match="none of 1 recordings is usable"):
        prepare_folder(tmp_path / "raw", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_a_journal_ends_at_the_first_line_that_is_not_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, "work")
    for number in range(3):
        journal.add({"number": number})
    journal.close()
    whole = path.read_bytes()
    for length in range(0, len(whole), 3):
        path.write_bytes(whole[:length])
        again = Journal(path, "work")
        again.close()
        assert [part["number"] for part in again.parts] == list(range(whole[:length].count(b"\n") - 1))
    path.write_bytes(whole)
    other = Journal(path, "other work")
    other.close()
    assert other.parts == []
    assert path.stat().st_size < len(whole) / 2


def start(raw: Path, out: Path, num_processes: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.data.prepare_killed", str(raw), str(out), str(num_processes)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"begins\n"
    return process


def num_lines(folder: Path) -> int:
    """Lines of the journal: the name of the work, and a line a part."""
    journal = folder / ".out.unfinished" / "journal"
    return journal.read_bytes().count(b"\n") if journal.exists() else 0


def wait_for(folder: Path, lines: int) -> None:
    deadline = time.monotonic() + 60
    while num_lines(folder) < lines:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.communicate()


def test_killed_at_random_moments_it_ends_with_the_same_content(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", 90)
    prepare_folder(raw, tmp_path / "whole")
    moments = random.Random(4)
    safe = 0
    for _ in range(3):
        process = start(raw, tmp_path / "out", 1)
        wait_for(tmp_path, safe + moments.randint(1, 6))
        time.sleep(moments.uniform(0, 0.03))
        kill(process)
        assert num_lines(tmp_path) > safe, "nothing that was safe is lost"
        safe = num_lines(tmp_path) - 1  # the last one may be torn
    assert len(resumed(raw, tmp_path / "out")) <= 90 // CHUNK - safe + 1
    assert_same(tmp_path / "out", tmp_path / "whole")


def test_workers_leave_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", 90)
    process = start(raw, tmp_path / "out", 2)
    wait_for(tmp_path, 2)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    kill(process)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    prepare_folder(raw, tmp_path / "out")
    prepare_folder(raw, tmp_path / "whole")
    assert_same(tmp_path / "out", tmp_path / "whole")
