"""Joint layouts: trees whose joints become the 25 of NTU RGB+D where they should."""

import re

import numpy as np
import pytest

from stars.data.layouts import NAMES, NO_PARENT, layout, to_kinect
from stars.data.packed import JOINT_LAYOUT

KINECT = layout(JOINT_LAYOUT)

# A person who stands upright and faces the sensor: the height of what can be named, in metres, and the side.
HEIGHTS = {
    "ankle": 0.1,
    "foot": 0.05,
    "toe": 0.05,
    "heel": 0.05,
    "knee": 0.5,
    "hip": 0.95,
    "pelvis": 0.95,
    "base": 0.95,
    "spine1": 1.05,
    "spine2": 1.2,
    "spine3": 1.35,
    "mid": 1.2,
    "spine": 1.2,
    "collar": 1.4,
    "thorax": 1.42,
    "shoulder": 1.42,
    "elbow": 1.15,
    "wrist": 0.9,
    "hand": 0.85,
    "tip": 0.8,
    "index": 0.8,
    "pinky": 0.8,
    "thumb": 0.85,
    "neck": 1.45,
    "nose": 1.6,
    "mouth": 1.55,
    "eye": 1.65,
    "ear": 1.62,
    "head": 1.65,
    "top": 1.75,
}
ALIASES = {"hip_center": "base", "mid_hip": "base", "shoulder_center": "thorax", "spine_shoulder": "thorax"}
ALIASES |= {"neck_nose": "nose", "head_top": "top", "spine_mid": "mid", "spine_base": "base"}
OUT = {"wrist": 0.5, "hand": 0.5, "tip": 0.5, "index": 0.5, "pinky": 0.5, "thumb": 0.45, "elbow": 0.4, "shoulder": 0.2}


def standing(joint: str) -> list[float]:
    """Where a joint of this name is; the person's left is at positive x."""
    words = ALIASES.get(joint, joint).split("_")
    if "foot" in words:
        words = ["foot", words[0]]
    part = next(word for word in reversed(words) if word in HEIGHTS)
    side = ("left" in words) - ("right" in words)
    return [side * OUT.get(part, 0.1), HEIGHTS[part], 3.0]


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_is_one_tree_of_as_many_joints_as_its_name_says(name: str) -> None:
    found = layout(name)
    assert len(found.joints) == len(set(found.joints)) == int(name.rpartition("-")[2])
    assert found.parents.count(NO_PARENT) == 1
    for joint in range(len(found.joints)):
        path = [joint]
        while found.parents[path[-1]] != NO_PARENT:
            path.append(found.parents[path[-1]])
            assert len(path) <= len(found.joints), f"{found.joints[joint]} hangs on itself"
    for joint, parent in enumerate(found.parents):
        sides = {side for side in ("left", "right") for at in (joint, parent) if side in found.joints[at] and at >= 0}
        assert len(sides) < 2, f"{found.joints[joint]} hangs on the other side"


@pytest.mark.parametrize("name", NAMES)
def test_a_person_who_stands_becomes_one(name: str) -> None:
    source = layout(name)
    person = np.array([standing(joint) for joint in source.joints], np.float32)
    found = to_kinect(np.stack([person, person * 0])[None].transpose(1, 0, 2, 3), source)
    assert found.shape == (2, 1, 25, 3)
    assert not found[1].any()
    for number, joint in enumerate(KINECT.joints):
        expected = standing(joint)
        x, height, depth = found[0, 0, number].tolist()
        assert np.sign(round(x, 6)) == np.sign(expected[0]), joint
        # A foot filled from an ankle, or a neck from the shoulders, is a hand's breadth off, and nothing more.
        assert abs(height - expected[1]) < 0.16, joint
        assert abs(depth - 3) < 1e-5


def test_the_order_is_that_of_the_published_pairs() -> None:
    """1-based pairs of NTU RGB+D whose meaning its documentation spells out."""
    meant = {
        1: "spine_base",
        2: "spine_mid",
        3: "neck",
        4: "head",
        5: "left_shoulder",
        8: "left_hand",
        12: "right_hand",
    }
    meant |= {13: "left_hip", 16: "left_foot", 20: "right_foot", 21: "spine_shoulder", 22: "left_hand_tip"}
    meant |= {23: "left_thumb", 24: "right_hand_tip", 25: "right_thumb"}
    assert {number: KINECT.joints[number - 1] for number in meant} == meant
    assert KINECT.filled() == {}
    assert KINECT.lacks() == ()


def test_the_orders_of_other_publishers() -> None:
    """A few numbers of each that only the right order gets right."""
    known = {
        "kinect-v1-20": {2: "shoulder_center", 7: "left_hand", 12: "left_hip", 19: "right_foot"},
        "coco-17": {0: "nose", 5: "left_shoulder", 10: "right_wrist", 16: "right_ankle"},
        "openpose-18": {1: "neck", 4: "right_wrist", 8: "right_hip", 14: "right_eye", 17: "left_ear"},
        "openpose-25": {8: "mid_hip", 14: "left_ankle", 15: "right_eye", 19: "left_big_toe", 24: "right_heel"},
        "mediapipe-33": {0: "nose", 7: "left_ear", 11: "left_shoulder", 22: "right_thumb", 31: "left_foot_index"},
        "h36m-17": {0: "hip", 1: "right_hip", 4: "left_hip", 8: "thorax", 10: "head_top", 11: "left_shoulder"},
        "smpl-24": {1: "left_hip", 3: "spine1", 12: "neck", 15: "head", 19: "right_elbow", 23: "right_hand"},
    }
    assert {*known, JOINT_LAYOUT} == set(NAMES)
    for name, joints in known.items():
        assert {number: layout(name).joints[number] for number in joints} == joints


def test_what_is_filled_is_said() -> None:
    coco = layout("coco-17")
    words = coco.filled()
    assert words["head"] == "nose"
    assert words["left_hand_tip"] == "left_wrist"
    assert words["spine_base"] == "mean(left_hip, right_hip)"
    assert "left_wrist" not in words
    assert coco.lacks() == ("left_eye", "right_eye", "left_ear", "right_ear")


def test_a_missing_joint_is_missing_only_where_it_is_needed() -> None:
    coco = layout("coco-17")
    joints = np.ones((1, 1, 17, 3), np.float32)
    joints[0, 0, coco.joints.index("left_hip"), 1] = np.nan
    missing = np.flatnonzero(np.isnan(to_kinect(joints, coco)).any(axis=(0, 1, 3)))
    assert [KINECT.joints[joint] for joint in missing] == ["spine_base", "spine_mid", "left_hip"]


def test_single_sources_keep_their_bits() -> None:
    joints = np.random.default_rng(0).normal(size=(3, 2, 25, 3)).astype(np.float32)
    np.testing.assert_array_equal(to_kinect(joints, KINECT), joints)


def test_other_layouts_and_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"layout is 'coco'; allowed: kinect-v2-25, .*smpl-24"):
        layout("coco")
    with pytest.raises(ValueError, match="has 25 joints; allowed: the 17 of coco-17"):
        to_kinect(np.zeros((1, 1, 25, 3), np.float32), layout("coco-17"))


def test_bones_begin_where_the_published_ones_do() -> None:
    """Numbered from 1: every joint with the one at which its bone begins."""
    published = (
        "(1,2)(2,21)(3,21)(4,3)(5,21)(6,5)(7,6)(8,7)(9,21)(10,9)(11,10)(12,11)(13,1)(14,13)(15,14)(16,15)(17,1)"
        "(18,17)(19,18)(20,19)(21,21)(22,23)(23,8)(24,25)(25,12)"
    )
    pairs = {int(child): int(start) for child, start in re.findall(r"\((\d+),(\d+)\)", published)}
    assert [start + 1 for start in layout("kinect-v2-25").bones()] == [pairs[joint] for joint in range(1, 26)]


@pytest.mark.parametrize("name", NAMES)
def test_bones_lead_to_one_joint_without_a_bone(name: str) -> None:
    starts = layout(name).bones()
    (root,) = {joint for joint, start in enumerate(starts) if joint == start}
    for joint in range(len(starts)):
        reached = joint
        for _ in starts:
            reached = starts[reached]
        assert reached == root


@pytest.mark.parametrize("name", NAMES)
def test_a_mirror_exchanges_the_sides_and_twice_is_nothing(name: str) -> None:
    source = layout(name)
    mirrored = source.mirrored()
    assert [mirrored[joint] for joint in mirrored] == list(range(len(source.joints)))
    for joint, other in zip(source.joints, mirrored, strict=True):
        here, there = standing(joint), standing(source.joints[other])
        assert there == pytest.approx([-here[0], *here[1:]]), joint


def test_the_mirror_of_the_25_is_the_published_permutation() -> None:
    expected = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 20, 23, 24, 21, 22]
    assert list(KINECT.mirrored()) == expected
