"""`python -m stars import | export | show | describe`, as they are typed."""

import sys
from pathlib import Path

import numpy as np
import pytest

import stars.__main__
from stars.data.packed import Packed
from tests.data.exchange.stores import NAMES, pack, sequence

Capture = pytest.CaptureFixture[str]


def run(monkeypatch: pytest.MonkeyPatch, *typed: str | Path) -> int:
    """The exit status."""
    monkeypatch.setattr(sys, "argv", ["stars", *map(str, typed)])
    try:
        stars.__main__.main()
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


def test_export_and_import_by_either_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    packed = pack(tmp_path / "store")
    file = tmp_path / "NTU60_XSub.npz"
    assert run(monkeypatch, "export", "npz", tmp_path / "store", "--out", file, "--protocol", "XSub") == 0
    assert run(monkeypatch, "import", "npz", file, "--out", tmp_path / "npz") == 0
    assert "36 sequences in" in capsys.readouterr().out
    assert list(Packed.open(tmp_path / "npz").manifest.protocols) == ["XSub"]
    assert run(monkeypatch, "export", "pickle", tmp_path / "store", "--out", tmp_path / "a.pkl") == 0
    assert run(monkeypatch, "import", "pickle", tmp_path / "a.pkl", "--out", tmp_path / "pickle", "--name", "mine") == 0
    manifest = Packed.open(tmp_path / "pickle").manifest
    assert (manifest.name, manifest.content) == ("mine", packed.manifest.content)


def test_import_folder_tells_what_it_did_to_the_joints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "labels.csv").write_text("file,label\na.npy,walk\nb.npy,run\n")
    np.save(folder / "a.npy", sequence(1, 5, num_joints=17)[:, 0, :, :2])
    layout = ("--layout", "coco-17", "--dimensions", "2")
    assert run(monkeypatch, "import", "folder", folder, "--out", tmp_path / "store", *layout) == 0
    shown = capsys.readouterr()
    assert "1 sequences in" in shown.out
    assert "rejected.parquet" in shown.out
    assert "actions: 1 run, 2 walk; joints from coco-17: " in shown.out
    assert shown.err.startswith("warning: 1 samples have two dimensions; ")
    assert run(monkeypatch, "import", "folder", folder, "--out", tmp_path / "other", "--layout", "coco") == 2
    assert "allowed: kinect-v2-25, kinect-v1-20" in capsys.readouterr().err


def test_show_and_describe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    pack(tmp_path / "store")
    for out in ("a.png", "a.gif"):
        assert run(monkeypatch, "show", tmp_path / "store", NAMES[0], "--out", tmp_path / out) == 0
        assert (tmp_path / out).stat().st_size > 10_000
    assert run(monkeypatch, "show", tmp_path / "store", NAMES[0], "--out", tmp_path / "a.mp4") == 2
    assert "allowed: .png for a strip, .gif for an animation" in capsys.readouterr().err
    assert run(monkeypatch, "describe", tmp_path / "store", "--figure", tmp_path / "b.png") == 0
    assert "camera       3: 1 × 12, 2 × 12, 3 × 12" in capsys.readouterr().out
    assert (tmp_path / "b.png").stat().st_size > 10_000


def test_hostile_pickles_end_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    (tmp_path / "a.pkl").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    assert run(monkeypatch, "import", "pickle", tmp_path / "a.pkl", "--out", tmp_path / "store") == 2
    assert capsys.readouterr().err.endswith("is refused: it asks for posix.system\n")
    assert not (tmp_path / "store").exists()
