"""The 25-joint Kinect v2 body: bone lengths, pose channels, and the joints that a pose of a given build gives.

The torso follows from joint angles. Arms and legs are two-bone chains that reach for a wrist or ankle target, solved in
closed form, so that feet stay planted and hands meet what they act on whatever the proportions, and every bone keeps
its length. Everything is vectorised over time.

Body space: metres, y up, the floor at y = 0, origin between the feet, the person faces -z with the right hand at +x.
Poses are written for a "lead" and an "other" side, so that a left-handed person is the mirror image.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]


class Joint(IntEnum):
    """Kinect v2 joint indices, 0-based, in the order of NTU files."""

    SPINE_BASE = 0
    SPINE_MID = 1
    NECK = 2
    HEAD = 3
    SHOULDER_LEFT = 4
    ELBOW_LEFT = 5
    WRIST_LEFT = 6
    HAND_LEFT = 7
    SHOULDER_RIGHT = 8
    ELBOW_RIGHT = 9
    WRIST_RIGHT = 10
    HAND_RIGHT = 11
    HIP_LEFT = 12
    KNEE_LEFT = 13
    ANKLE_LEFT = 14
    FOOT_LEFT = 15
    HIP_RIGHT = 16
    KNEE_RIGHT = 17
    ANKLE_RIGHT = 18
    FOOT_RIGHT = 19
    SPINE_SHOULDER = 20
    HAND_TIP_LEFT = 21
    THUMB_LEFT = 22
    HAND_TIP_RIGHT = 23
    THUMB_RIGHT = 24


NUM_JOINTS = len(Joint)

PARENTS = (0, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 7, 11, 11)
"""The joint at the other end of each joint's bone; the spine base is its own parent."""

CHANNELS = {
    "lead_hand": 3,  # wrist from the shoulder: outward, up, forward, in arm lengths; the frame stays upright
    "other_hand": 3,
    "lead_elbow": 3,  # what draws the elbow beside its hinge (see _place_arm): outward, up, forward
    "other_elbow": 3,
    "pelvis": 3,  # displacement: towards the lead side, up, forward, in leg lengths
    "turn": 1,  # heading of the pelvis, towards the lead side, rad
    "tip": 1,  # pelvis tipped forward, rad
    "bend": 1,  # trunk bent forward on the pelvis, rad
    "twist": 1,  # chest turned on the pelvis, towards the lead side, rad
    "tilt": 1,  # trunk tilted towards the lead side, rad
    "nod": 1,  # head forward and down, rad
    "look": 1,  # head turned towards the lead side, rad
    "lead_foot": 3,  # ankle: outward of the middle, up from standing, forward, in leg lengths, heading of the start
    "other_foot": 3,
    "lead_toe": 1,  # foot turned outward, rad
    "other_toe": 1,
    "lead_heel": 1,  # heel raised (toes pointing down), rad
    "other_heel": 1,
    "lead_wrist": 1,  # hand bent at the wrist, rad
    "other_wrist": 1,
}
"""The pose: name and width of every channel."""

NUM_CHANNELS = sum(CHANNELS.values())
_STARTS = np.cumsum([0, *CHANNELS.values()])
SLICES = {name: slice(int(a), int(b)) for name, a, b in zip(CHANNELS, _STARTS[:-1], _STARTS[1:], strict=True)}
"""Where each channel lies in a pose vector."""

_SOLE_PITCH = 0.5  # the line from ankle to foot joint points down this much when the sole is flat, rad


@dataclass(frozen=True, kw_only=True)
class Build:
    """Bone lengths of one person in metres; the defaults are an adult of 1.70 m.

    Attributes:
        spine_lower: spine base to spine middle.
        spine_upper: spine middle to the spine at the shoulders.
        neck: spine at the shoulders to neck.
        head: neck to the middle of the head.
        shoulder_half: half the distance between the shoulders.
        shoulder_drop: how far the shoulders lie below the spine joint between them.
        upper_arm: shoulder to elbow.
        forearm: elbow to wrist.
        hand: wrist to hand.
        hand_tip: hand to finger tip.
        thumb: hand to thumb.
        hip_half: half the distance between the hips.
        hip_drop: how far the hips lie below the spine base.
        thigh: hip to knee.
        shank: knee to ankle.
        foot: ankle to foot.
        ankle: height of the ankle above the floor when standing.
    """

    spine_lower: float = 0.295
    spine_upper: float = 0.215
    neck: float = 0.07
    head: float = 0.145
    shoulder_half: float = 0.165
    shoulder_drop: float = 0.04
    upper_arm: float = 0.265
    forearm: float = 0.245
    hand: float = 0.075
    hand_tip: float = 0.075
    thumb: float = 0.055
    hip_half: float = 0.082
    hip_drop: float = 0.03
    thigh: float = 0.385
    shank: float = 0.38
    foot: float = 0.12
    ankle: float = 0.085

    @property
    def arm(self) -> float:
        """Shoulder to wrist of the stretched arm, metres."""
        return self.upper_arm + self.forearm

    @property
    def leg(self) -> float:
        """Hip to ankle of the stretched leg, metres."""
        return self.thigh + self.shank

    @property
    def standing(self) -> float:
        """Height of the spine base of the person standing, metres."""
        return 0.995 * self.leg + self.ankle + self.hip_drop


def skeleton(build: Build, motion: Array, lead: float) -> Array:
    """The joints, (time, 25, 3) in body space, of a motion.

    Args:
        build: bone lengths.
        motion: pose channels, (time, NUM_CHANNELS), laid out as `CHANNELS`.
        lead: 1 where the lead side is the right, -1 where it is the left.
    """
    joints = np.empty((len(motion), NUM_JOINTS, 3))
    heading = -lead * motion[:, SLICES["turn"]][:, 0]
    ankles = {side: _ankle(build, motion, lead, side) for side in ("lead", "other")}
    pelvis = _trunk_rotation(motion, lead, chest=0.0)
    base = build.leg * motion[:, SLICES["pelvis"]] * (lead, 1.0, -1.0) + (0.0, build.standing, 0.0)
    hips = {side: pelvis @ (_outward(lead, side) * build.hip_half, -build.hip_drop, 0.0) for side in ankles}
    base[:, 1] -= _excess(build, base, hips, ankles)
    joints[:, Joint.SPINE_BASE] = base
    chest = _place_spine(build, motion, lead, joints)
    for side, ankle in ankles.items():
        outward = _outward(lead, side)
        knee_heading = 0.5 * (heading - outward * motion[:, SLICES[f"{side}_toe"]][:, 0])
        leg = (base + hips[side], ankle, knee_heading)
        _place_leg(joints, build, motion, side=side, outward=outward, leg=leg)
        _place_arm(joints, build, motion, side=side, outward=outward, lead=lead, chest=chest)
    return joints


def _outward(lead: float, side: str) -> float:
    return lead if side == "lead" else -lead


def _ankle(build: Build, motion: Array, lead: float, side: str) -> Array:
    foot = motion[:, SLICES[f"{side}_foot"]]
    return build.leg * foot * (_outward(lead, side), 1.0, -1.0) + (0.0, build.ankle, 0.0)


def _excess(build: Build, base: Array, hips: dict[str, Array], ankles: dict[str, Array]) -> Array:
    """How far the pelvis hangs higher than either leg can reach from its ankle, metres, (time,)."""
    excess = np.zeros(len(base))
    for side, ankle in ankles.items():
        gap = base + hips[side] - ankle
        reach = np.sqrt(np.maximum((0.995 * build.leg) ** 2 - gap[:, 0] ** 2 - gap[:, 2] ** 2, 0.0))
        excess = np.maximum(excess, gap[:, 1] - reach)
    return excess


def _trunk_rotation(motion: Array, lead: float, *, chest: float) -> Array:
    """Rotation of the trunk, (time, 3, 3), at the pelvis (`chest` 0), at the chest (1) or between."""
    turn, tip, bend, twist, tilt = (motion[:, SLICES[name]][:, 0] for name in ("turn", "tip", "bend", "twist", "tilt"))
    return rotation(-lead * (turn + chest * twist), -(tip + chest * bend), -lead * (0.3 + 0.7 * chest) * tilt)


def _place_spine(build: Build, motion: Array, lead: float, joints: Array) -> Array:
    """Fills spine, neck and head; returns the rotation of the chest, (time, 3, 3)."""
    chest = _trunk_rotation(motion, lead, chest=1.0)
    turn, tip, bend, twist, nod, look = (
        motion[:, SLICES[name]][:, 0] for name in ("turn", "tip", "bend", "twist", "nod", "look")
    )
    lower = _trunk_rotation(motion, lead, chest=0.4)
    # People keep their eyes up: the head takes part in only some of the trunk's bend.
    head = rotation(-lead * (turn + 0.8 * twist + look), -(0.65 * (tip + bend) + nod), 0.0 * nod)
    joints[:, Joint.SPINE_MID] = joints[:, Joint.SPINE_BASE] + lower @ (0.0, build.spine_lower, 0.0)
    joints[:, Joint.SPINE_SHOULDER] = joints[:, Joint.SPINE_MID] + chest @ (0.0, build.spine_upper, 0.0)
    joints[:, Joint.NECK] = joints[:, Joint.SPINE_SHOULDER] + 0.5 * (chest + head) @ (0.0, build.neck, 0.0)
    neck = joints[:, Joint.NECK] - joints[:, Joint.SPINE_SHOULDER]
    joints[:, Joint.NECK] = joints[:, Joint.SPINE_SHOULDER] + build.neck * _unit(neck)
    joints[:, Joint.HEAD] = joints[:, Joint.NECK] + head @ (0.0, build.head, 0.0)
    return chest


def _place_leg(
    joints: Array, build: Build, motion: Array, *, side: str, outward: float, leg: tuple[Array, Array, Array]
) -> None:
    hip, ankle, knee_heading = leg
    first = Joint.HIP_RIGHT if outward > 0 else Joint.HIP_LEFT
    toe, heel = motion[:, SLICES[f"{side}_toe"]][:, 0], motion[:, SLICES[f"{side}_heel"]][:, 0]
    knee_way = rotation(knee_heading, 0.0 * heel, 0.0 * heel) @ (0.15 * outward, 0.0, -1.0)
    knee, end = two_bones(hip, ankle, build.thigh, build.shank, knee_way, shortest=0.2)
    joints[:, first], joints[:, first + 1], joints[:, first + 2] = hip, knee, end
    joints[:, first + 3] = end + rotation(-outward * toe, -_SOLE_PITCH - heel, 0.0 * heel) @ (0.0, 0.0, -build.foot)


def _place_arm(
    joints: Array, build: Build, motion: Array, *, side: str, outward: float, lead: float, chest: Array
) -> None:
    first = Joint.SHOULDER_RIGHT if outward > 0 else Joint.SHOULDER_LEFT
    hand, elbow_way = motion[:, SLICES[f"{side}_hand"]], motion[:, SLICES[f"{side}_elbow"]]
    heading = -lead * (motion[:, SLICES["turn"]][:, 0] + motion[:, SLICES["twist"]][:, 0])
    level = rotation(heading, 0.0 * heading, 0.0 * heading)
    spine = joints[:, Joint.SPINE_SHOULDER]
    frame = np.array((outward, 1.0, -1.0))
    wrist = spine + chest @ (outward * build.shoulder_half, -build.shoulder_drop, 0.0)
    wrist = wrist + build.arm * _turned(level, hand * frame)
    # The shoulder girdle follows the hand: it rises with a raised arm and comes forward with a reaching one.
    rise = 0.35 * np.clip(hand[:, 1] + 0.3, 0.0, 1.0)
    forward = 0.2 * np.clip(hand[:, 2], -0.5, 1.0)
    girdle = rotation(outward * forward, 0.0 * rise, outward * rise)
    shoulder = spine + _turned(chest, girdle @ (outward * build.shoulder_half, -build.shoulder_drop, 0.0))
    # The elbow's hinge lies across the body: hand down, elbow back; hand forward, elbow down; hand up, elbow forward.
    straight = _unit(hand)
    hinge = np.stack((np.zeros(len(hand)), -straight[:, 2], straight[:, 1]), axis=1)
    pole = _turned(level, (hinge + elbow_way) * frame)
    elbow, wrist = two_bones(shoulder, wrist, build.upper_arm, build.forearm, pole, shortest=0.3)
    along = _unit(wrist - elbow)
    # A resting hand has the thumb forward and inward; this direction also is the one that the wrist bends towards.
    inward = _turned(level, np.array((-0.5 * outward, 0.3, -0.8)) + np.zeros_like(hand))
    inward = _unit(inward - along * np.sum(along * inward, axis=1, keepdims=True))
    flex = motion[:, SLICES[f"{side}_wrist"]]
    palm = np.cos(flex) * along + np.sin(flex) * inward
    joints[:, first], joints[:, first + 1], joints[:, first + 2] = shoulder, elbow, wrist
    joints[:, first + 3] = wrist + build.hand * palm
    tip, thumb = (Joint.HAND_TIP_RIGHT, Joint.THUMB_RIGHT) if outward > 0 else (Joint.HAND_TIP_LEFT, Joint.THUMB_LEFT)
    joints[:, tip] = joints[:, first + 3] + build.hand_tip * palm
    joints[:, thumb] = joints[:, first + 3] + build.thumb * _unit(0.6 * palm + 0.8 * inward)


def two_bones(
    root: Array, target: Array, upper: float, lower: float, pole: Array, *, shortest: float
) -> tuple[Array, Array]:
    """Middle and end joint, (time, 3) each, of a chain of two bones that reaches from `root` towards `target`.

    Args:
        root: shoulder or hip, (time, 3).
        target: where the end should be, (time, 3). Out of reach, the end stops on the line towards it.
        upper: length of the first bone, metres.
        lower: length of the second bone, metres.
        pole: the side to which the middle joint bends, (time, 3), any length, not along the chain.
        shortest: smallest distance of the ends, as a fraction of the stretched chain: flesh stops the flexion.
    """
    gap = target - root
    distance = np.linalg.norm(gap, axis=1, keepdims=True)
    along = gap / np.maximum(distance, 1e-9)
    distance = np.clip(distance, shortest * (upper + lower), 0.998 * (upper + lower))
    foot = (upper**2 - lower**2 + distance**2) / (2.0 * distance)
    height = np.sqrt(np.maximum(upper**2 - foot**2, 0.0))
    aside = _unit(pole - along * np.sum(along * pole, axis=1, keepdims=True))
    return root + foot * along + height * aside, root + distance * along


def rotation(yaw: Array, pitch: Array, roll: Array) -> Array:
    """Rotation matrices Ry(yaw) Rx(pitch) Rz(roll), (..., 3, 3), of angles in radians of equal shape."""
    (ca, cb, cc), (sa, sb, sc) = (tuple(f(angle) for angle in (yaw, pitch, roll)) for f in (np.cos, np.sin))
    rows = (
        (ca * cc + sa * sb * sc, sa * sb * cc - ca * sc, sa * cb),
        (cb * sc, cb * cc, -sb),
        (ca * sb * sc - sa * cc, sa * sc + ca * sb * cc, ca * cb),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def _turned(rotations: Array, vectors: Array) -> Array:
    turned: Array = np.einsum("tij,tj->ti", rotations, vectors)
    return turned


def _unit(vectors: Array) -> Array:
    unit: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return unit
