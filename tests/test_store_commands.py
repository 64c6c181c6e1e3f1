"""`python -m stars store …`, as it is typed."""

import sys
from pathlib import Path

import pytest

import stars.__main__
from stars.drivers import begin
from stars.stage import fingerprint, kind
from stars.store import Store
from stars.store_commands import store_verify
from tests.data.exchange.stores import pack
from tests.stores import begun, end, finish_all, planned, snapshot, stranger


@pytest.fixture
def filled(tmp_path: Path) -> Store:
    """A finished sweep, a stage that failed, and one that was begun."""
    store = Store(tmp_path / "filled")
    finish_all(store, planned(store, decays=(0.2,), seeds=1))
    failed, unfinished = stranger()[:2]
    end(store, begun(store, failed), "diverged")
    begun(store, unfinished, checkpoint=True)
    return store


def run(monkeypatch: pytest.MonkeyPatch, store: Store, command: str, *more: str) -> int:
    """The exit status."""
    monkeypatch.setattr(sys, "argv", ["stars", "store", command, "--store", str(store.location), *more])
    try:
        stars.__main__.main()
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


Capture = pytest.CaptureFixture[str]


def test_ls_counts_stages_by_how_they_ended(filled: Store, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert run(monkeypatch, filled, "ls") == 0
    lines = {line.split("│")[1].strip(): line for line in capsys.readouterr().out.splitlines() if "│" in line}
    counts = [cell.strip() for cell in lines["pretrain"].split("│")[2:6]]
    assert counts == ["2", "1", "0", "0"], "finished (one of no epoch), diverged, out of memory, unfinished"
    assert lines["tune"].split("│")[5].strip() == "1"
    assert "results" in lines


def test_gc_lists_and_deletes_only_when_told(filled: Store, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    before = snapshot(filled.location)
    assert run(monkeypatch, filled, "gc", "--abandoned") == 0
    assert snapshot(filled.location) == before
    shown = capsys.readouterr().out
    assert "never finished; its checkpoints are lost: 1, " in shown
    assert f"{kind(stranger()[1])}/{fingerprint(stranger()[1])}  " in shown
    assert "2 removals" in shown
    assert "nothing was removed" in shown
    assert run(monkeypatch, filled, "gc", "--abandoned", "--delete") == 0
    assert "2 removals" in capsys.readouterr().out
    assert run(monkeypatch, filled, "gc", "--abandoned") == 0
    assert "0 removals" in capsys.readouterr().out
    assert run(monkeypatch, filled, "verify") == 0


def test_gc_refuses_beside_a_driver(filled: Store, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    driver = begin(command="python sweeps/lr_decay.py", sweep="lr_decay", run="sweeps/lr_decay/0")
    driver.write(filled)
    before = snapshot(filled.location)
    assert run(monkeypatch, filled, "gc", "--abandoned", "--delete") == 2
    problem = capsys.readouterr().err
    machine = driver.process.machine.partition(" ")[0]
    assert (
        f"driver {driver.name[:12]} (python sweeps/lr_decay.py) on {machine}, process {driver.process.pid}" in problem
    )
    assert snapshot(filled.location) == before
    assert run(monkeypatch, filled, "gc", "--abandoned") == 0
    assert "has not ended: driver" in capsys.readouterr().out


def test_copy_tells_what_came_and_what_was_there(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert run(monkeypatch, filled, "copy", "--to", str(tmp_path / "other"), "--sweep", "lr_decay") == 0
    assert "lr_decay" not in capsys.readouterr().err
    assert run(monkeypatch, Store(tmp_path / "other"), "verify") == 0
    next(filled.location.glob("knn/*/attempts/*/output/numbers.json")).write_text("[]")
    assert run(monkeypatch, filled, "copy", "--to", str(tmp_path / "third")) == 1
    assert "numbers.json: damaged" in capsys.readouterr().out.replace("\n", "")


def test_what_cannot_be_done_is_said_in_one_line(
    filled: Store, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert run(monkeypatch, filled, "copy", "--to", str(filled.location)) == 2
    assert capsys.readouterr().err.startswith("error: --to is ")


def test_verify_reads_prepared_data_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(tmp_path / "data")
    store = Store(tmp_path / "store")
    with pytest.raises(SystemExit) as ended:
        store_verify(store.location, (tmp_path / "data",))
    assert ended.value.code == 0
    with (tmp_path / "data" / "joints.npy").open("r+b") as file:
        file.seek(-5, 2)
        byte = file.read(1)
        file.seek(-5, 2)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(SystemExit) as ended:
        store_verify(store.location, (tmp_path / "data",))
    assert ended.value.code == 1
    assert "joints.npy: altered since it was written" in capsys.readouterr().out.replace("\n", "")
