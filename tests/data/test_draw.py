"""Pictures of skeletons: what they show, and that they are pictures."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from PIL import Image

from stars.data.draw import animated, draw_animation, draw_strip, draw_summary, poses
from stars.data.layouts import layout
from stars.data.ntu import NtuName
from stars.data.packed import Packed
from stars.data.packing import Packer
from stars.data.summary import summarize
from tests.data.exchange.stores import pack, unknown

TWO, ONE = "S001C001P001R001A001", "S001C001P001R001A002"


def test_a_strip_shows_frames_from_the_first_to_the_last(tmp_path: Path) -> None:
    packed = pack(tmp_path / "store")
    shown = poses(packed, TWO)
    assert shown.frames == (0, 1, 2, 3, 5, 6, 7, 8)
    assert shown.title == f"{TWO} (action 1, subject 1, camera 1, setup 1)"
    np.testing.assert_array_equal(shown.points, packed.sample(0)[list(shown.frames)][..., :2])
    assert shown.there.tolist() == [[True, 2 <= frame <= 6 and frame != 4] for frame in shown.frames]
    seen = shown.points[shown.there]
    assert (np.nanmin(seen, axis=(0, 1)) > shown.low).all()
    assert (np.nanmax(seen, axis=(0, 1)) < shown.high).all()
    assert len(shown.bones) == 24


def test_an_animation_shows_every_second_frame(tmp_path: Path) -> None:
    packed = pack(tmp_path / "store")
    assert list(animated(packed, ONE)) == [0, 2, 4, 6, 8]
    draw_animation(poses(packed, ONE, animated(packed, ONE)), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert image.format == "GIF"
        assert getattr(image, "n_frames", 1) == 5


def colours(path: Path) -> set[str]:
    """Which of the two bodies' colours there are."""
    pixels = matplotlib.image.imread(path)[..., :3]
    blue, orange = np.array([0, 0x72, 0xB2]) / 255, np.array([0xD5, 0x5E, 0]) / 255
    return {
        name for name, colour in (("first", blue), ("second", orange)) if (abs(pixels - colour).max(-1) < 0.01).any()
    }


def test_bodies_have_colours_of_their_own_and_absent_ones_none(tmp_path: Path) -> None:
    packed = pack(tmp_path / "store")
    draw_strip(poses(packed, TWO), tmp_path / "two.png")
    draw_strip(poses(packed, ONE), tmp_path / "one.png")
    draw_strip(poses(packed, TWO, [0]), tmp_path / "late.png")
    found = {name: colours(tmp_path / f"{name}.png") for name in ("two", "one", "late")}
    assert found == {"two": {"first", "second"}, "one": {"first"}, "late": {"first"}}


def test_layouts_have_bones_of_their_own(tmp_path: Path) -> None:
    packed = pack(tmp_path / "store", num_joints=17, layout="coco-17", names=unknown("a"))
    shown = poses(packed, "a")
    assert len(shown.bones) == 16
    assert shown.title == "a (action 1)"


@pytest.mark.parametrize("downwards", [True, False])
def test_people_stand_on_their_feet_wherever_y_grows(tmp_path: Path, downwards: bool) -> None:
    layout_of = layout("coco-17")
    person = np.zeros((4, 1, 17, 3), np.float32)
    for number, name in enumerate(layout_of.joints):
        height = {"ankle": 0.1, "knee": 0.5, "hip": 0.9, "wrist": 0.9, "elbow": 1.1, "shoulder": 1.4}
        person[:, 0, number, 1] = height.get(name.rpartition("_")[2], 1.6)
        person[:, 0, number, 0] = -0.2 if name.startswith("left") else 0.2
    person[..., 1] = 1000 - 100 * person[..., 1] if downwards else person[..., 1]
    person[1, 0, 5] = np.nan
    with Packer(tmp_path / "store", name="x", source="x", num_joints=17, joint_layout="coco-17") as packer:
        packer.append("a", NtuName(0, 0, 0, 0, 1), person)
        packer.finish()
    shown = poses(Packed.open(tmp_path / "store"), "a")
    assert shown.downwards == downwards
    draw_strip(shown, tmp_path / "a.png")
    assert colours(tmp_path / "a.png") == {"first"}


def test_a_body_without_shoulders_is_drawn_upwards(tmp_path: Path) -> None:
    person = np.ones((2, 1, 25, 3), np.float32)
    person[:, :, [4, 8]] = np.nan
    with Packer(tmp_path / "store", name="x", source="x") as packer:
        packer.append("a", NtuName(0, 0, 0, 0, 1), person)
        packer.finish()
    assert not poses(Packed.open(tmp_path / "store"), "a").downwards


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    packed = pack(tmp_path / "store")
    with pytest.raises(ValueError, match="sample is 'no'; allowed: a name in the store, such as 'S001"):
        poses(packed, "no")
    with pytest.raises(ValueError, match=r"frames are \[9\]; allowed: one or more from 0 to 8"):
        poses(packed, TWO, [9])
    with pytest.raises(ValueError, match="has no joint to draw in the frames"):
        poses(packed, TWO, [4])
    with pytest.raises(ValueError, match="layout is 'mine'"):
        poses(pack(tmp_path / "mine", layout="mine", names=unknown("a")), "a")


def test_a_summary_counts_what_is_there(tmp_path: Path) -> None:
    packed = pack(tmp_path / "store")
    summary = summarize(packed)
    assert summary.counts["action"] == {1: 12, 2: 12, 4: 12}
    assert summary.counts["camera"] == {1: 12, 2: 12, 3: 12}
    assert summary.num_bodies == {1: 24, 2: 12}
    assert (summary.nan_samples, summary.nan_coordinates) == (8, 8)
    assert summary.num_invalid == 36, "every sequence has a frame of zeros"
    assert summary.lengths.tolist() == [9 + number % 6 for number in range(36)]
    text = "\n".join(summary.lines())
    assert "action       3: 1 × 12, 2 × 12, 4 × 12" in text
    assert "frames       9 to 14, half of them" in text
    assert packed.manifest.content in text
    draw_summary(summary, tmp_path / "a.png")
    assert colours(tmp_path / "a.png") == {"first", "second"}


def test_what_is_unknown_is_called_so(tmp_path: Path) -> None:
    summary = summarize(pack(tmp_path / "store", names=unknown("a", "b")))
    assert "subject      unknown" in summary.lines()
    draw_summary(summary, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
