"""Joint layouts: which joint is which, how they hang together, and how each becomes the 25 joints of NTU RGB+D.

One table a layout. A joint that the 25-joint layout names too keeps its place under its name; every other one of the
25 is filled, from one joint or from the mean of several, as the table says (`Layout.filled` lists it in words).

Orders as their publishers document them: Kinect for Windows SDK 1.8 (20 joints) and 2.0 (25, the order of NTU RGB+D,
where it counts from 1); COCO key points; OpenPose's COCO and BODY_25 output; MediaPipe Pose Landmarker; Human3.6M as
pose lifting uses it, right leg first, with the point between neck and nose before the top of the head; SMPL.
"""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from stars.data.packed import JOINT_LAYOUT

NO_PARENT = -1

# Per layout: `joint<parent` in order, the root without a parent, and what fills a joint of the 25 that has no namesake.
# The parents are for pictures; where the published bone stream begins a bone elsewhere, `_BONES` says so.
_TABLES: dict[str, tuple[str, dict[str, str]]] = {
    JOINT_LAYOUT: (
        """
        spine_base spine_mid<spine_base neck<spine_shoulder head<neck
        left_shoulder<spine_shoulder left_elbow<left_shoulder left_wrist<left_elbow left_hand<left_wrist
        right_shoulder<spine_shoulder right_elbow<right_shoulder right_wrist<right_elbow right_hand<right_wrist
        left_hip<spine_base left_knee<left_hip left_ankle<left_knee left_foot<left_ankle
        right_hip<spine_base right_knee<right_hip right_ankle<right_knee right_foot<right_ankle
        spine_shoulder<spine_mid left_hand_tip<left_hand left_thumb<left_hand
        right_hand_tip<right_hand right_thumb<right_hand
        """,
        {},
    ),
    "kinect-v1-20": (
        """
        hip_center spine<hip_center shoulder_center<spine head<shoulder_center
        left_shoulder<shoulder_center left_elbow<left_shoulder left_wrist<left_elbow left_hand<left_wrist
        right_shoulder<shoulder_center right_elbow<right_shoulder right_wrist<right_elbow right_hand<right_wrist
        left_hip<hip_center left_knee<left_hip left_ankle<left_knee left_foot<left_ankle
        right_hip<hip_center right_knee<right_hip right_ankle<right_knee right_foot<right_ankle
        """,
        {
            "spine_base": "hip_center",
            "spine_mid": "spine",
            "neck": "shoulder_center",
            "spine_shoulder": "shoulder_center",
            "*_hand_tip": "*_hand",
            "*_thumb": "*_hand",
        },
    ),
    "coco-17": (
        """
        nose left_eye<nose right_eye<nose left_ear<left_eye right_ear<right_eye
        left_shoulder<nose right_shoulder<nose left_elbow<left_shoulder right_elbow<right_shoulder
        left_wrist<left_elbow right_wrist<right_elbow left_hip<left_shoulder right_hip<right_shoulder
        left_knee<left_hip right_knee<right_hip left_ankle<left_knee right_ankle<right_knee
        """,
        {
            "spine_base": "left_hip right_hip",
            "spine_mid": "left_hip right_hip left_shoulder right_shoulder",
            "spine_shoulder": "left_shoulder right_shoulder",
            "neck": "left_shoulder right_shoulder",
            "head": "nose",
            "*_hand": "*_wrist",
            "*_hand_tip": "*_wrist",
            "*_thumb": "*_wrist",
            "*_foot": "*_ankle",
        },
    ),
    "openpose-18": (
        """
        nose<neck neck right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow
        left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow
        right_hip<neck right_knee<right_hip right_ankle<right_knee left_hip<neck left_knee<left_hip left_ankle<left_knee
        right_eye<nose left_eye<nose right_ear<right_eye left_ear<left_eye
        """,
        {
            "spine_base": "left_hip right_hip",
            "spine_mid": "left_hip right_hip neck neck",
            "spine_shoulder": "neck",
            "head": "nose",
            "*_hand": "*_wrist",
            "*_hand_tip": "*_wrist",
            "*_thumb": "*_wrist",
            "*_foot": "*_ankle",
        },
    ),
    "openpose-25": (
        """
        nose<neck neck<mid_hip right_shoulder<neck right_elbow<right_shoulder right_wrist<right_elbow
        left_shoulder<neck left_elbow<left_shoulder left_wrist<left_elbow
        mid_hip right_hip<mid_hip right_knee<right_hip right_ankle<right_knee
        left_hip<mid_hip left_knee<left_hip left_ankle<left_knee
        right_eye<nose left_eye<nose right_ear<right_eye left_ear<left_eye
        left_big_toe<left_ankle left_small_toe<left_big_toe left_heel<left_ankle
        right_big_toe<right_ankle right_small_toe<right_big_toe right_heel<right_ankle
        """,
        {
            "spine_base": "mid_hip",
            "spine_mid": "mid_hip neck",
            "spine_shoulder": "neck",
            "head": "nose",
            "*_hand": "*_wrist",
            "*_hand_tip": "*_wrist",
            "*_thumb": "*_wrist",
            "*_foot": "*_big_toe",
        },
    ),
    "mediapipe-33": (
        """
        nose left_eye_inner<nose left_eye<left_eye_inner left_eye_outer<left_eye
        right_eye_inner<nose right_eye<right_eye_inner right_eye_outer<right_eye
        left_ear<left_eye_outer right_ear<right_eye_outer mouth_left<nose mouth_right<nose
        left_shoulder<nose right_shoulder<nose left_elbow<left_shoulder right_elbow<right_shoulder
        left_wrist<left_elbow right_wrist<right_elbow left_pinky<left_wrist right_pinky<right_wrist
        left_index<left_wrist right_index<right_wrist left_thumb<left_wrist right_thumb<right_wrist
        left_hip<left_shoulder right_hip<right_shoulder left_knee<left_hip right_knee<right_hip
        left_ankle<left_knee right_ankle<right_knee left_heel<left_ankle right_heel<right_ankle
        left_foot_index<left_heel right_foot_index<right_heel
        """,
        {
            "spine_base": "left_hip right_hip",
            "spine_mid": "left_hip right_hip left_shoulder right_shoulder",
            "spine_shoulder": "left_shoulder right_shoulder",
            "neck": "left_shoulder right_shoulder",
            "head": "left_ear right_ear",
            "*_hand": "*_index *_pinky",
            "*_hand_tip": "*_index",
            "*_foot": "*_foot_index",
        },
    ),
    "h36m-17": (
        """
        hip right_hip<hip right_knee<right_hip right_ankle<right_knee
        left_hip<hip left_knee<left_hip left_ankle<left_knee
        spine<hip thorax<spine neck_nose<thorax head_top<neck_nose
        left_shoulder<thorax left_elbow<left_shoulder left_wrist<left_elbow
        right_shoulder<thorax right_elbow<right_shoulder right_wrist<right_elbow
        """,
        {
            "spine_base": "hip",
            "spine_mid": "spine",
            "spine_shoulder": "thorax",
            "neck": "thorax",
            "head": "neck_nose head_top",
            "*_hand": "*_wrist",
            "*_hand_tip": "*_wrist",
            "*_thumb": "*_wrist",
            "*_foot": "*_ankle",
        },
    ),
    "smpl-24": (
        """
        pelvis left_hip<pelvis right_hip<pelvis spine1<pelvis left_knee<left_hip right_knee<right_hip spine2<spine1
        left_ankle<left_knee right_ankle<right_knee spine3<spine2 left_foot<left_ankle right_foot<right_ankle
        neck<spine3 left_collar<spine3 right_collar<spine3 head<neck left_shoulder<left_collar
        right_shoulder<right_collar left_elbow<left_shoulder right_elbow<right_shoulder
        left_wrist<left_elbow right_wrist<right_elbow left_hand<left_wrist right_hand<right_wrist
        """,
        {
            "spine_base": "pelvis",
            "spine_mid": "spine2",
            "spine_shoulder": "left_collar right_collar",
            "*_hand_tip": "*_hand",
            "*_thumb": "*_hand",
        },
    ),
}

# Published code: its bones hang from the shoulders' middle, and a hand's tip from the thumb.
_BONES: dict[str, dict[str, str]] = {
    JOINT_LAYOUT: {
        "spine_base": "spine_mid",
        "spine_mid": "spine_shoulder",
        "spine_shoulder": "spine_shoulder",
        "left_hand_tip": "left_thumb",
        "right_hand_tip": "right_thumb",
    }
}

NAMES = tuple(_TABLES)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A way of numbering the joints of a body.

    Attributes:
        name: as recorded in stores and typed on the command line.
        joints: their names, in order.
        parents: per joint the 0-based joint nearer to the root, `NO_PARENT` for the root.
        sources: per joint of the 25-joint layout, the joints whose mean it is; a joint that counts twice stands twice.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    sources: tuple[tuple[int, ...], ...]

    def filled(self) -> dict[str, str]:
        """The joints of the 25 that this layout does not name, each with the joint or the mean that fills it."""
        words: dict[str, str] = {}
        for joint, sources in zip(layout(JOINT_LAYOUT).joints, self.sources, strict=True):
            names = [self.joints[source] for source in sources]
            if names != [joint]:
                words[joint] = names[0] if len(names) == 1 else f"mean({', '.join(names)})"
        return words

    def bones(self) -> tuple[int, ...]:
        """Per joint the one at which its bone begins: its parent, unless published otherwise; the root at itself."""
        published = _BONES.get(self.name, {})
        return tuple(
            self.joints.index(published[joint]) if joint in published else number if parent == NO_PARENT else parent
            for number, (joint, parent) in enumerate(zip(self.joints, self.parents, strict=True))
        )

    def mirrored(self) -> tuple[int, ...]:
        """Per joint the one of the same name on the other side, itself if it has no side: the joints in a mirror."""
        other = {"left": "right", "right": "left"}
        names = ("_".join(other.get(word, word) for word in joint.split("_")) for joint in self.joints)
        return tuple(self.joints.index(name) for name in names)

    def lacks(self) -> tuple[str, ...]:
        """This layout's joints that the 25 leave out."""
        used = {source for sources in self.sources for source in sources}
        return tuple(name for number, name in enumerate(self.joints) if number not in used)


@functools.cache
def layout(name: str) -> Layout:
    """A layout by its name. Raises ValueError naming those that there are."""
    if name not in _TABLES:
        raise ValueError(f"layout is {name!r}; allowed: {', '.join(NAMES)}")
    table, fills = _TABLES[name]
    pairs = [entry.partition("<")[::2] for entry in table.split()]
    joints = tuple(joint for joint, _ in pairs)
    parents = tuple(joints.index(parent) if parent else NO_PARENT for _, parent in pairs)
    of_kinect = [entry.partition("<")[0] for entry in _TABLES[JOINT_LAYOUT][0].split()]
    sources = tuple(tuple(map(joints.index, _sources(joint, joints, fills))) for joint in of_kinect)
    return Layout(name=name, joints=joints, parents=parents, sources=sources)


def to_kinect(
    sequence: Float32[np.ndarray, "frame body joint 3"], source: Layout
) -> Float32[np.ndarray, "frame body joint=25 3"]:
    """The 25 joints of NTU RGB+D, filled as `Layout.filled` says; units and axes stay.

    A joint is NaN where any of its sources is, and a body that is zero stays zero.

    Raises:
        ValueError: the sequence has another number of joints than the layout.
    """
    if sequence.shape[2] != len(source.joints):
        raise ValueError(
            f"the sequence has {sequence.shape[2]} joints; allowed: the {len(source.joints)} of {source.name}"
        )
    joints = np.empty((*sequence.shape[:2], len(source.sources), 3), np.float32)
    for joint, sources in enumerate(source.sources):
        # Not one product with a matrix: it would spread the NaN of one joint to all.
        joints[:, :, joint] = sequence[:, :, sources[0]] if len(sources) == 1 else sequence[:, :, sources].mean(axis=2)
    return joints


def _sources(joint: str, joints: tuple[str, ...], fills: dict[str, str]) -> list[str]:
    if joint in joints:
        return [joint]
    side, _, part = joint.partition("_")
    return (fills[joint] if joint in fills else fills[f"*_{part}"].replace("*", side)).split()
