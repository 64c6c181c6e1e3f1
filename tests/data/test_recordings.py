"""Real recordings go the whole road, from `.skeleton` text by `prepare ntu-folder` to protocols, without a loss.

The recordings are no part of the repository. They are looked for in the folder that the variable STARS_RECORDINGS
names, by default in `shared/data` beside the repository, and without them these tests are skipped. With
STARS_RECORDINGS_ALL=1 all of UI-PRMD is prepared instead of a part.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from stars.data import dataset
from stars.data.packed import Packed

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("STARS_RECORDINGS", ROOT.parent / "shared" / "data"))
ALL = os.environ.get("STARS_RECORDINGS_ALL") == "1"
TRAINING = (1, 2, 4, 5, 8, 9)  # of both packs, among subjects 1 to 10: the published rule
EVERY = 1 if ALL else 12

Array = np.ndarray
Choice = Callable[[dict[str, Array]], Array]


@dataclass(frozen=True, kw_only=True)
class Pack:
    """A pack of recordings, and what its description says of it.

    Attributes:
        place: below the folder.
        chosen: which of its recordings are prepared.
        num_recordings: in all of it.
        num_classes: of actions.
        num_train: training samples of XSub among the chosen; None where only a part is chosen and nothing is stated.
        num_test: test samples.
    """

    place: str
    chosen: Choice
    num_recordings: int
    num_classes: int
    num_train: int | None = None
    num_test: int | None = None


def everything(pack: dict[str, Array]) -> Array:
    return np.arange(len(pack["name"]))


def a_part(pack: dict[str, Array]) -> Array:
    return everything(pack)[::EVERY]


PACKS = {
    "UI-PRMD, mini": Pack(
        place="uiprmd/uiprmd_mini.npz",
        chosen=everything,
        num_recordings=200,
        num_classes=10,
        num_train=120,
        num_test=80,
    ),
    "UI-PRMD": Pack(place="uiprmd/uiprmd.npz", chosen=a_part, num_recordings=3979, num_classes=10),
    "HDM05": Pack(
        place="hdm05/hdm05.npz", chosen=everything, num_recordings=287, num_classes=11, num_train=188, num_test=99
    ),
}


def loaded(place: str) -> dict[str, Array]:
    path = FOLDER / place
    if not path.is_file():
        pytest.skip(f"{path} is not there; STARS_RECORDINGS names the folder with real recordings")
    with np.load(path) as pack:
        return {name: pack[name] for name in pack.files}


def write(pack: dict[str, Array], rows: Array, folder: Path) -> None:
    """The text of an NTU file, as the packs' own writer spells it."""
    folder.mkdir()
    unit, starts = float(pack["unit_m"]), pack["offsets"]
    for row in rows:
        # Double precision, and six digits after the point.
        joints = pack["data"][starts[row] : starts[row + 1]] * unit + pack["origin"][row]
        lines = [str(len(joints))]
        for frame in joints:
            lines += ["1", f"{72057594037900000 + row} 0 0 0 0 0 0 0 0 2", "25"]
            lines += [f"{x:.6f} {y:.6f} {z:.6f} 0 0 0 0 0 0 0 0 2" for x, y, z in frame.tolist()]
        (folder / f"{pack['name'][row]}.skeleton").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("name", PACKS)
def test_real_recordings_go_the_whole_road(name: str, tmp_path: Path) -> None:
    expected = PACKS[name]
    pack = loaded(expected.place)
    assert len(pack["name"]) == expected.num_recordings
    rows = expected.chosen(pack)
    write(pack, rows, tmp_path / "raw")
    command = [sys.executable, "-m", "stars", "prepare", "ntu-folder"]
    options = ["--raw", str(tmp_path / "raw"), "--out", str(tmp_path / "out"), "--strict", "--processes", "1"]
    subprocess.run([*command, *options], check=True, cwd=ROOT, capture_output=True)

    packed = Packed.open(tmp_path / "out")
    rows = rows[np.argsort(pack["name"][rows])]
    assert packed.names == pack["name"][rows].tolist()
    assert packed.manifest.num_rejected == 0
    assert packed.column("action").tolist() == (pack["label"][rows] + 1).tolist()
    assert set(packed.column("action").tolist()) == set(range(1, expected.num_classes + 1))
    for column in ("subject", "camera", "setup", "replication"):
        assert packed.column(column).tolist() == pack[column][rows].tolist()
    train, test = dataset.parts(dataset.describe(packed, protocol="XSub"), packed)
    assert {packed.names[row] for row in train} == {str(n) for n in pack["name"][rows] if subject_of(n) in TRAINING}
    assert len(train) + len(test) == len(rows)
    if expected.num_train is not None:
        assert (len(train), len(test)) == (expected.num_train, expected.num_test)
    assert_same_joints(packed, pack, rows)


def subject_of(name: str) -> int:
    """From SsssCcccPpppRrrrAaaa."""
    return int(str(name)[9:12])


def assert_same_joints(packed: Packed, pack: dict[str, Array], rows: Array) -> None:
    """Every sequence as it was, moved to the middle of the spine of its first frame."""
    starts = pack["offsets"]
    for sample, row in enumerate(rows):
        joints = pack["data"][starts[row] : starts[row + 1]] * float(pack["unit_m"])
        found = packed.sample(sample)[:, 0]
        assert found.shape == joints.shape
        np.testing.assert_allclose(found, joints - joints[0, 1], atol=3e-6)
