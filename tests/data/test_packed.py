"""The packed store: what goes in comes out, nothing is overwritten, and damage is found and named."""

import json
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from stars.data.ntu import NtuName
from stars.data.packed import INDEX, JOINTS, MANIFEST, REJECTED, Damaged, Manifest, Packed
from stars.data.packing import Packer, count_valid

LABELS = NtuName(setup=2, camera=3, subject=4, replication=1, action=5)
VALUES = st.sampled_from([0.0, 0.0, 0.0, 1.5, -2.25, np.nan, 1e-38, 1e30])


@st.composite
def sequences(draw: st.DrawFn) -> np.ndarray:
    """Few joints, many zeros, some NaN; at least one valid frame."""
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 2)), 2, 3
    size = int(np.prod(shape))
    values = np.array(draw(st.lists(VALUES, min_size=size, max_size=size)), np.float32).reshape(shape)
    kept = draw(st.lists(st.booleans(), min_size=2 * shape[0], max_size=2 * shape[0]))
    values *= np.array(kept).reshape(shape[0], 2, 1, 1)[:, : shape[1]]
    values[draw(st.integers(0, shape[0] - 1)), 0, 0, 0] += np.float32(7)
    return values


def pack(out: Path, samples: list[np.ndarray], name: str = "test", source: str = "tests") -> Manifest:
    with Packer(out, name=name, source=source, num_joints=samples[0].shape[2]) as packer:
        for number, sequence in enumerate(samples):
            packer.append(f"sample {number:03d}", LABELS, sequence)
        return packer.finish()


def some(num_samples: int = 3) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.normal(size=(5 + i, 1 + i % 2, 4, 3)).astype(np.float32) for i in range(num_samples)]


@given(st.lists(sequences().filter(count_valid), min_size=1, max_size=4))
@settings(deadline=None, max_examples=60)
def test_what_goes_in_comes_out(tmp_path_factory: pytest.TempPathFactory, samples: list[np.ndarray]) -> None:
    out = tmp_path_factory.mktemp("round") / "store"
    manifest = pack(out, samples)
    packed = Packed.open(out)
    packed.verify()
    assert packed.manifest == manifest
    assert packed.manifest.max_frames == max(map(len, samples))
    for row, sequence in enumerate(samples):
        dense = np.zeros((len(sequence), 2, *sequence.shape[2:]), np.float32)
        dense[:, : sequence.shape[1]] = sequence
        np.testing.assert_array_equal(packed.sample(row), dense)
        assert packed.column("num_frames")[row] == len(sequence)
        assert packed.column("num_bodies")[row] == sequence.shape[1]
        assert packed.column("num_nan")[row] == np.isnan(sequence).sum()
        assert packed.column("valid")[row] == count_valid(dense)


def test_only_frames_with_a_body_take_room(tmp_path: Path) -> None:
    sequence = np.zeros((9, 2, 4, 3), np.float32)
    sequence[[2, 4], 0] = 1
    sequence[5, 1] = np.nan
    pack(tmp_path / "store", [sequence])
    packed = Packed.open(tmp_path / "store")
    assert packed.joints.shape == (4, 4, 3)
    assert packed.spans.tolist() == [[[2, 3, 0], [5, 1, 3]]]
    assert packed.column("valid").tolist() == [3]
    assert isinstance(packed.joints, np.memmap)
    assert not packed.joints.flags.writeable


def test_content_is_what_the_store_says(tmp_path: Path) -> None:
    content = pack(tmp_path / "a", some()).content
    assert pack(tmp_path / "b" / "deeper", some(), name="other", source="elsewhere").content == content
    for change in range(3):
        samples = some()
        samples[change][1, 0, 2, 1] += 1
        assert pack(tmp_path / f"changed {change}", samples).content != content
    longer = some()
    longer[0] = np.concatenate((longer[0], np.zeros_like(longer[0][:1])))
    assert pack(tmp_path / "longer", longer).content != content


def test_rejected_files_are_listed_and_no_content(tmp_path: Path) -> None:
    content = pack(tmp_path / "a", some(1)).content
    with Packer(tmp_path / "b", name="b", source="tests", num_joints=4) as packer:
        packer.append("sample 000", LABELS, some(1)[0])
        packer.reject("broken.skeleton", 12, "why")
        packer.reject("odd.skeleton", None, "the name")
        assert packer.finish().content == content
    packed = Packed.open(tmp_path / "b")
    assert packed.manifest.num_rejected == 2
    assert packed.rejected.to_pylist() == [
        {"file": "broken.skeleton", "line": 12, "reason": "why"},
        {"file": "odd.skeleton", "line": None, "reason": "the name"},
    ]


def test_a_store_is_never_overwritten(tmp_path: Path) -> None:
    first = pack(tmp_path / "store", some())
    assert pack(tmp_path / "store", some(), name="again") == first
    with pytest.raises(FileExistsError, match="packed store with other content"):
        pack(tmp_path / "store", some(2))
    Packed.open(tmp_path / "store").verify()
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_other_folders_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(FileExistsError, match="no packed store"):
        pack(tmp_path / "mine", some())
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "words"


def test_nothing_is_left_behind_by_a_failure(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        pack_and_stop(tmp_path / "store")
    with (
        pytest.raises(ValueError, match="not one sample"),
        Packer(tmp_path / "store", name="x", source="x") as packer,
    ):
        packer.finish()
    assert list(tmp_path.iterdir()) == []


def pack_and_stop(out: Path) -> None:
    with Packer(out, name="x", source="x", num_joints=4) as packer:
        packer.append("a", LABELS, some()[0])
        raise ZeroDivisionError


def test_samples_are_checked(tmp_path: Path) -> None:
    good = some()[0]
    with Packer(tmp_path / "store", name="x", source="x", num_joints=4) as packer:
        packer.append("b", LABELS, good)
        for name in ("b", "a"):
            with pytest.raises(ValueError, match="follows 'b'; allowed: ascending names"):
                packer.append(name, LABELS, good)
        for wrong in (good[:, :, :3], np.concatenate((good, good, good), axis=1), good[:, :0]):
            with pytest.raises(ValueError, match=r"allowed: \(frames, 1 or 2, 4, 3\)"):
                packer.append("c", LABELS, wrong)
        with pytest.raises(ValueError, match="no valid frame"):
            packer.append("c", LABELS, good * 0)


@pytest.mark.parametrize("name", [JOINTS, INDEX, REJECTED, MANIFEST])
@pytest.mark.parametrize("place", [0.0, 0.5, 0.99])
def test_a_flipped_byte_is_found_and_its_file_named(tmp_path: Path, name: str, place: float) -> None:
    pack(tmp_path / "store", some())
    path = tmp_path / "store" / name
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged, match=name):
        Packed.open(tmp_path / "store").verify()


def test_damage_that_size_tells_is_found_on_opening(tmp_path: Path) -> None:
    out = tmp_path / "store"
    with pytest.raises(Damaged, match="no packed store"):
        Packed.open(out)
    pack(out, some())
    (out / REJECTED).rename(tmp_path / "away")
    with pytest.raises(Damaged, match=f"{REJECTED}: missing"):
        Packed.open(out)
    (tmp_path / "away").rename(out / REJECTED)
    with (out / JOINTS).open("ab") as file:
        file.write(b"more")
    with pytest.raises(Damaged, match=rf"{JOINTS}: \d+ bytes; \d+ according to"):
        Packed.open(out)


@pytest.mark.parametrize("name", [JOINTS, INDEX])
def test_unreadable_files_of_the_right_size_are_named(tmp_path: Path, name: str) -> None:
    pack(tmp_path / "store", some())
    path = tmp_path / "store" / name
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(Damaged, match=name):
        _ = Packed.open(tmp_path / "store").index


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 99}, "schema version 99; this code reads 1"),
        ({"name": "mine"}, "checksum"),
        ({"x": 1}, "not the"),
    ],
)
def test_foreign_manifests_are_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    pack(tmp_path / "store", some())
    path = tmp_path / "store" / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(Damaged, match=message):
        Packed.open(tmp_path / "store")


def test_valid_frames_are_a_count_of_signed_sums() -> None:
    sequence = np.ones((4, 1, 2, 3), np.float32)
    sequence[1, 0, 0] = -1
    sequence[2] = 0
    assert count_valid(sequence) == 2
    sequence[2, 0, 0, 0] = np.nan
    assert count_valid(sequence) == 3
