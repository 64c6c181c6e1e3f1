"""The people of the synthetic source: bodily proportions and habits that stay with a person, and how one day varies.

Bone lengths follow the adults of UI-PRMD (Kinect v2) in magnitude: stature, limb ratios and shoulder width vary
independently of one another by some per cent.
"""

from dataclasses import dataclass, fields, replace

import numpy as np

from stars.data.kinematics import Build


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How a person moves, whatever the action.

    Attributes:
        lead: 1 where the right hand and foot lead, -1 where the left ones do.
        amplitude: size of movements, 1 is average.
        tempo: seconds taken where an average person takes one.
        slouch: trunk bent forward at rest, rad.
        chin: head bent forward at rest, rad.
        stance: distance of the feet over the distance of the hips.
        toe_out: feet turned outward, rad.
        elbow_out: how much the elbows point outward rather than down.
        hang_out: resting hands away from the body, arm lengths.
        hang_forward: resting hands in front of the body, arm lengths.
        sway: how much the body sways, 1 is average.
        arm_swing: how much idle arms move along, 1 is average.
        participation: how much the trunk takes part in what the arms do, 1 is average.
        repetitions: added to the number of repetitions before rounding.
        height: where gestures are made, up from the average, arm lengths.
        windup: size of the preparing counter-movement, 1 is average.
        stoop: going down from the back (1) rather than from the knees (0).
        order: sign of the first half of an alternating movement, 1 or -1.
        turn_side: side to which the person turns, 1 or -1.
        heading: facing past the camera rather than straight at it, rad.
        lead_idle: where the lead hand is when it does nothing, an index of `IDLE`.
        other_idle: the same of the other hand.
    """

    lead: float
    amplitude: float
    tempo: float
    slouch: float
    chin: float
    stance: float
    toe_out: float
    elbow_out: float
    hang_out: float
    hang_forward: float
    sway: float
    arm_swing: float
    participation: float
    repetitions: float
    height: float
    windup: float
    stoop: float
    order: float
    turn_side: float
    heading: float
    lead_idle: int
    other_idle: int


@dataclass(frozen=True, kw_only=True)
class Person:
    """A body and its habits."""

    build: Build
    habits: Habits


IDLE = ("hanging", "at the belly", "on the hip", "in the pocket", "behind the back")
"""Where idle hands are; half of them hang."""

# Spread between people: a standard deviation, of the logarithm for the factors (those with mean 1 below).
_AVERAGE = {
    "amplitude": (1.0, 0.2),
    "tempo": (1.0, 0.18),
    "slouch": (0.06, 0.06),
    "chin": (0.08, 0.08),
    "stance": (1.5, 0.3),
    "toe_out": (0.15, 0.1),
    "elbow_out": (0.3, 0.25),
    "hang_out": (0.02, 0.035),
    "hang_forward": (0.02, 0.05),
    "sway": (1.0, 0.3),
    "arm_swing": (1.0, 0.35),
    "participation": (1.0, 0.45),
    "repetitions": (0.0, 0.8),
    "height": (0.0, 0.15),
    "windup": (1.0, 0.25),
    "stoop": (0.55, 0.3),
    "heading": (0.0, 0.14),
}
_FACTORS = ("amplitude", "tempo", "sway", "arm_swing", "participation", "windup")

_GROUPS = {
    "trunk": ("spine_lower", "spine_upper", "neck"),
    "head": ("head",),
    "shoulders": ("shoulder_half", "shoulder_drop"),
    "arms": ("upper_arm", "forearm", "hand", "hand_tip", "thumb"),
    "hips": ("hip_half", "hip_drop"),
    "legs": ("thigh", "shank"),
    "feet": ("foot", "ankle"),
}
_GROUP_SPREAD = {"trunk": 0.03, "head": 0.03, "shoulders": 0.07, "arms": 0.04, "hips": 0.07, "legs": 0.04, "feet": 0.05}


def draw_person(draw: np.random.Generator, *, build: float, habits: float, left_handed: float) -> Person:
    """A person drawn at random.

    Args:
        draw: where the randomness comes from.
        build: strength of the differences in proportions; 0 gives everybody the same body.
        habits: strength of the differences in habits; 0 gives everybody the same.
        left_handed: probability of a left-handed person.
    """
    return Person(build=_draw_build(draw, build), habits=_draw_habits(draw, habits, left_handed))


def on_the_day(person: Person, draw: np.random.Generator, variation: float) -> Person:
    """The person in one performance: nobody repeats a movement exactly, and now and then the other hand leads.

    Args:
        person: as usual.
        draw: where the randomness comes from.
        variation: strength; 0 repeats the habits exactly. At 1 a performance deviates from the habit by 0.4 times
            the spread between people, and one performance in ten is done with the other hand.
    """
    usual = person.habits
    values = _spread(draw, {name: getattr(usual, name) for name in _AVERAGE}, 0.4 * variation)
    switched, reversed_order, turned = draw.random(3) < np.array((0.1, 0.15, 0.15)) * variation
    signs = {
        "lead": -usual.lead if switched else usual.lead,
        "order": -usual.order if reversed_order else usual.order,
        "turn_side": -usual.turn_side if turned else usual.turn_side,
    }
    idle = [usual.lead_idle, usual.other_idle]
    for hand, changes in enumerate(draw.random(2) < 0.25 * variation):
        anew = _draw_idle(draw)
        idle[hand] = anew if changes else idle[hand]
    return replace(person, habits=Habits(**values, **signs, lead_idle=idle[0], other_idle=idle[1]))


def _draw_build(draw: np.random.Generator, strength: float) -> Build:
    stature = float(np.clip(1.0 + 0.055 * strength * draw.standard_normal(), 0.8, 1.2))
    lengths = {item.name: stature * float(item.default) for item in fields(Build)}  # type: ignore[arg-type]
    for group, names in _GROUPS.items():
        common = 1.0 + _GROUP_SPREAD[group] * strength * float(np.clip(draw.standard_normal(), -2.5, 2.5))
        for name in names:
            own = 1.0 + 0.025 * strength * float(np.clip(draw.standard_normal(), -2.5, 2.5))
            lengths[name] *= common * own
    return Build(**lengths)


def _draw_habits(draw: np.random.Generator, strength: float, left_handed: float) -> Habits:
    values = _spread(draw, {name: mean for name, (mean, _) in _AVERAGE.items()}, strength)
    hand, order, turn_side, lead_own, other_own = draw.random(5)
    idle = _draw_idle(draw), _draw_idle(draw)
    return Habits(
        **values,
        lead=-1.0 if hand < left_handed else 1.0,
        order=-1.0 if order < 0.5 * min(strength, 1.0) else 1.0,
        turn_side=-1.0 if turn_side < 0.5 * min(strength, 1.0) else 1.0,
        lead_idle=idle[0] if lead_own < strength else 0,
        other_idle=idle[1] if other_own < strength else 0,
    )


def _draw_idle(draw: np.random.Generator) -> int:
    return int(draw.integers(1, len(IDLE))) if draw.random() < 0.5 else 0


def _spread(draw: np.random.Generator, around: dict[str, float], strength: float) -> dict[str, float]:
    normal = dict(zip(around, np.clip(draw.standard_normal(len(around)), -2.5, 2.5).tolist(), strict=True))
    values = {}
    for name, value in around.items():
        step = strength * _AVERAGE[name][1] * normal[name]
        values[name] = value * float(np.exp(step)) if name in _FACTORS else value + step
    values["stoop"] = min(max(values["stoop"], 0.0), 1.0)
    values["stance"] = max(values["stance"], 0.8)
    return values
