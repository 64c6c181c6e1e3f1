"""The action programmes of two people, who face each other.

Each programme writes both scripts and returns the distance, in metres, between the places where the two stand at the
start. The first person acts; the second reacts.
"""

import numpy as np

from stars.data.actions import elbow
from stars.data.script import Script, Triple


def handshake(first: Script, second: Script) -> float:
    """One or two steps, the hands meet and go up and down."""
    reach = 0.62
    approach = _approach(first)
    _wait(second, first, 0.3)
    up = {script: _common_height(script, first, second) for script in (first, second)}
    for script in (first, second):
        script.to(
            0.42, lead_hand=_meeting(script, up[script], reach), lead_elbow=elbow(script), bend=0.12, lead_wrist=0.0
        )
    _together(first, second)
    size = 0.07 * first.person.habits.amplitude
    for _ in range(first.repetitions(2.0)):
        for way in (size, -size):
            for script in (first, second):
                script.to(0.14, lead_hand=_meeting(script, up[script] + way, reach))
    for script in (first, second):
        script.rest(0.5)
    return approach + _contact(first, second, reach)


def push(first: Script, second: Script) -> float:
    """Both hands strike the other's chest, who stumbles back."""
    approach = _approach(first)
    habits = first.person.habits
    ready = (-0.05, -0.15 + habits.height, 0.38)
    elbows = {"lead_elbow": elbow(first), "other_elbow": elbow(first)}
    first.to(0.4, lead_hand=ready, other_hand=ready, bend=0.02, **elbows)
    _wait(second, first, -0.08)
    out = (-0.12, -0.02 + 0.5 * habits.height, 0.85)
    other = out if habits.order > 0 else ready
    first.to(0.17, lead_hand=out, other_hand=other, bend=0.2 + 0.15 * habits.participation, pelvis=_ahead(first, 0.08))
    first.to(0.3, lead_hand=ready, other_hand=ready, bend=habits.slouch, pelvis=_ahead(first, -0.08))
    first.rest(0.5)
    fly = 0.35 * second.person.habits.arm_swing
    second.to(
        0.16, bend=-0.15, pelvis=(0, -0.02, -0.1), lead_hand=(0.3, -0.6, fly), other_hand=(0.3, -0.6, fly), nod=0.3
    )
    second.walk(-0.28 * habits.amplitude, 1, seconds=0.32)
    second.rest(0.4)
    return approach + 0.85 * first.person.build.arm + 0.28


def hand_over(first: Script, second: Script) -> float:
    """One person gives something that the other takes and draws in."""
    reach = 0.6
    approach = _approach(first)
    up = {script: _common_height(script, first, second) for script in (first, second)}
    near = (-0.1, -0.55, 0.45)
    if first.person.habits.windup > 1.0:
        first.to(0.4, lead_hand=near, lead_elbow=elbow(first))
    first.to(0.45, lead_hand=_meeting(first, up[first], reach), lead_elbow=elbow(first), bend=0.12)
    _wait(second, first, -0.25 * second.person.habits.tempo)
    second.to(0.45, lead_hand=_meeting(second, up[second], reach), lead_elbow=elbow(second), bend=0.12)
    _together(first, second)
    first.hold(0.2)
    second.hold(0.2)
    first.rest(0.55)
    second.to(0.45, lead_hand=near, bend=second.person.habits.slouch, nod=0.25)
    second.rest(0.5)
    return approach + _contact(first, second, reach)


def walk_towards(first: Script, second: Script) -> float:
    """Both walk until they stand before each other."""
    travelled = 0.0
    for script in (first, second):
        num_steps = script.repetitions(2.3, least=2)
        distance = 0.33 * num_steps * script.person.habits.amplitude
        script.hold(0.05 + 0.3 * float(script.draw.random()) * script.variation)
        script.walk(distance, num_steps, seconds=0.48)
        travelled += distance
    return travelled + 0.75


def _approach(script: Script) -> float:
    """Some people come closer first; returns the metres walked."""
    if script.person.habits.participation < 0.95:
        return 0.0
    distance = 0.3 * script.person.habits.amplitude
    script.walk(distance, 1, seconds=0.42)
    return distance


def _wait(script: Script, other: Script, seconds: float) -> None:
    """Stands still until `seconds` after (before, if negative) the end of what the other has written so far."""
    missing = other.duration + seconds - script.duration
    script.hold_exactly(max(missing, 0.05))


def _together(first: Script, second: Script) -> None:
    """Lets the earlier one wait for the later one."""
    early, late = (first, second) if first.duration < second.duration else (second, first)
    early.hold_exactly(late.duration - early.duration + 1e-3)


def _meeting(script: Script, up: float, reach: float) -> Triple:
    """A lead hand on the line between the two persons; both come from opposite sides of it."""
    build = script.person.build
    return (-build.shoulder_half / build.arm, up, reach)


def _common_height(script: Script, first: Script, second: Script) -> float:
    """How far up from its shoulder a hand goes that meets the other's at the height of both navels."""
    heights = []
    for one in (first, second):
        build = one.person.build
        heights.append(build.standing + build.spine_lower + 0.02)
    build = script.person.build
    shoulder = build.standing + build.spine_lower + build.spine_upper - build.shoulder_drop
    return float(np.mean(heights) - shoulder) / build.arm


def _contact(first: Script, second: Script, reach: float) -> float:
    """Distance of two persons whose hands touch when both reach so far forward."""
    hands = first.person.build.hand + second.person.build.hand
    return reach * (first.person.build.arm + second.person.build.arm) + 0.9 * hands + 0.1


def _ahead(script: Script, forward: float) -> Triple:
    pelvis = script.now("pelvis")
    return (float(pelvis[0]), float(pelvis[1]), float(pelvis[2]) + forward)
