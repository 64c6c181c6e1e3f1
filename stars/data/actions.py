"""The action programmes of one person: what people do, written for the lead side, in the terms of `Script`.

Hands are given outward, up and forward of their shoulder in arm lengths; a stretched arm has length 1.
"""

import numpy as np

from stars.data.script import Pose, Script, Triple


def drink(script: Script) -> None:
    """A cup is taken up, brought to the mouth, tipped, put down."""
    habits = script.person.habits
    script.to(0.4, lead_hand=(0.02, -0.5 + habits.height, 0.45), lead_elbow=elbow(script))
    script.to(0.4, lead_hand=_at_mouth(script), nod=-0.05)
    for _ in range(script.repetitions(1.2)):
        script.to(0.3, lead_hand=_at_mouth(script, up=0.06), nod=-0.28 * habits.amplitude)
        script.hold(0.25)
    script.to(0.25, nod=habits.chin)
    script.to(0.4, lead_hand=(0.02, -0.55 + habits.height, 0.42))
    script.rest(0.45)


def wave(script: Script) -> None:
    """The raised hand goes from side to side."""
    habits = script.person.habits
    size = 0.2 * habits.amplitude
    up = 0.42 + 1.6 * habits.height
    script.to(0.6, lead_hand=(0.3, up, 0.3), lead_elbow=elbow(script), lead_wrist=0.0)
    side = habits.order
    for _ in range(2 * script.repetitions(2.4)):
        script.to(0.2, lead_hand=(0.3 + side * size, up - 0.1 * abs(size), 0.3), tilt=0.03 * side)
        side = -side
    script.rest(0.6)


def sit_down(script: Script) -> None:
    """From standing to a chair."""
    script.hold(0.2)
    for seconds, pose in zip((0.5, 0.55, 0.35), _sitting(script), strict=True):
        script.to(seconds, **pose)
    script.hold(0.4)


def stand_up(script: Script) -> None:
    """From a chair to standing."""
    standing = {name: script.resting(name) for name in ("pelvis", "bend", "tip", "nod", "lead_hand", "other_hand")}
    leaning, down, seated = _sitting(script)
    script.start(**seated)
    script.hold(0.35)
    script.to(0.45, **down)
    script.to(0.5, **leaning)
    script.to(0.45, **standing)
    script.hold(0.2)


def throw(script: Script) -> None:
    """The arm swings back and then forward above the shoulder, the trunk and a step with it."""
    habits = script.person.habits
    back = 0.3 * habits.windup
    script.to(0.45, lead_hand=(0.3, 0.0, 0.35), lead_elbow=elbow(script), twist=0.1)
    script.to(
        0.4,
        lead_hand=(0.4, 0.3 + habits.height, -back),
        twist=0.5 * habits.windup,
        bend=habits.slouch - 0.12,
        other_hand=(0.1, -0.5, 0.6),
        pelvis=(0.03, -0.02, -0.04),
    )
    step: Pose = _step(script, "other", 0.22 * habits.amplitude) if habits.participation > 0.9 else {}
    script.to(0.2, lead_hand=(0.15, 0.6, 0.4), twist=-0.1, **step)
    script.to(0.17, lead_hand=(-0.1, 0.2, 0.93), twist=-0.35 * habits.participation, bend=habits.slouch + 0.2)
    script.to(0.25, lead_hand=(-0.4, -0.55, 0.6), other_hand=(0.2, -0.9, -0.1))
    script.rest(0.6, *_ALL_BUT_TURN)


def clap(script: Script) -> None:
    """The hands meet in front of the chest again and again."""
    habits = script.person.habits
    up, apart = -0.3 + habits.height, 0.3 * habits.amplitude
    meet = -0.92 * script.person.build.shoulder_half / script.person.build.arm
    both = {"lead_elbow": elbow(script), "other_elbow": elbow(script)}
    script.to(0.5, lead_hand=(meet + apart, up, 0.55), other_hand=(meet + apart, up, 0.55), **both)
    for _ in range(script.repetitions(4.0, least=2)):
        script.to(0.13, lead_hand=(meet, up + 0.03, 0.58), other_hand=(meet, up - 0.03, 0.58))
        script.to(0.18, lead_hand=(meet + apart, up, 0.55), other_hand=(meet + apart, up, 0.55))
    script.rest(0.5)


def pick_up(script: Script) -> None:
    """Something is taken from the floor."""
    habits, build = script.person.habits, script.person.build
    drop = 0.22 + 0.3 * (1.0 - habits.stoop)
    bend = 0.55 + 0.55 * habits.stoop
    # Where the shoulder comes to be above the floor decides how far down the hand has to reach.
    trunk = build.spine_lower + build.spine_upper
    shoulder = build.standing - drop * build.leg + trunk * np.cos(0.35 + 0.85 * bend)
    down = -min((shoulder - 0.17) / build.arm, 0.93)
    low: Pose = {"pelvis": (0.0, -drop, -0.2), "bend": bend, "tip": 0.35, "nod": 0.1, "other_hand": (0.15, -0.75, 0.1)}
    script.to(0.75, lead_hand=(-0.15, down, 0.3), **low)
    script.to(0.2, lead_hand=(-0.2, down, 0.33))
    script.hold(0.15)
    script.to(0.7, lead_hand=(-0.05, -0.65, 0.42), pelvis=(0, 0, 0), bend=habits.slouch, tip=0.0, nod=0.25)
    script.rest(0.5, *_ALL_BUT_TURN)


def point(script: Script) -> None:
    """The stretched arm shows the way."""
    habits = script.person.habits
    aside = 0.35 + 0.4 * habits.order * habits.amplitude * abs(script.draw.normal(0.5, 0.4))
    up = 0.05 + habits.height
    script.to(0.35, lead_hand=(0.15, -0.35, 0.45), lead_elbow=elbow(script))
    script.to(0.4, lead_hand=_along((aside, up, 0.9), 0.97), look=0.3 * aside, lead_wrist=0.0)
    for _ in range(script.repetitions(1.0, least=0)):
        script.to(0.25, lead_hand=_along((aside, up + 0.08, 0.9), 0.9))
        script.to(0.25, lead_hand=_along((aside, up - 0.02, 0.9), 0.97))
    script.hold(0.4)
    script.rest(0.6)


def kick(script: Script) -> None:
    """One leg swings back and then forward."""
    habits = script.person.habits
    high = 0.3 + 0.14 * habits.amplitude + habits.height
    for _ in range(script.repetitions(0.8)):
        balance = {"lead_hand": (0.35, -0.75, -0.3 * habits.arm_swing), "other_hand": (0.5, -0.55, 0.3)}
        back = (0.11, 0.2, -0.28 * habits.windup)
        lean = habits.slouch - 0.12 * habits.amplitude
        script.to(0.35, lead_foot=back, lead_heel=0.5, pelvis=(-0.1, -0.02, 0.02), bend=habits.slouch + 0.1, **balance)
        script.to(0.14, lead_foot=(0.08, 0.12, 0.25))
        script.to(0.16, lead_foot=(0.03, high, 0.78), lead_heel=0.2, bend=lean, twist=-0.15 * habits.participation)
        script.to(0.3, lead_foot=(0.1, 0.15, 0.2), lead_heel=0.0)
        script.rest(0.35, *_ALL_BUT_TURN)


def answer_phone(script: Script) -> None:
    """A telephone goes from the pocket to the ear and stays there."""
    habits = script.person.habits
    script.to(0.4, lead_hand=(0.05, -0.75, 0.2), nod=0.2)
    script.to(0.3, lead_hand=(0.0, -0.25 + habits.height, 0.5), lead_elbow=elbow(script), nod=0.3)
    ear = _at_mouth(script)
    script.to(0.45, lead_hand=(ear[0] + 0.22, ear[1] + 0.04, ear[2] - 0.16), nod=0.05, tilt=0.05)
    for _ in range(script.repetitions(1.5)):
        script.to(0.3, look=0.12 * habits.order, nod=0.12)
        script.to(0.3, look=0.0, nod=0.04)
    script.rest(0.6)


def jump(script: Script) -> None:
    """Up from both feet, once or a few times."""
    habits = script.person.habits
    for _ in range(script.repetitions(1.4)):
        arms = 0.35 * habits.arm_swing
        crouch = -0.16 - 0.05 * habits.windup
        height = 0.16 * habits.amplitude
        feet = {side: script.resting(side) for side in ("lead_foot", "other_foot")}
        flying = {side: foot + np.array((0.0, height, 0.0)) for side, foot in feet.items()}
        back, down, front = (0.2, -0.9, -arms), (0.15, -0.9, 0.15), (0.2, -0.75 + 0.4 * arms, 0.3 + arms)
        script.to(0.4, pelvis=(0, crouch, -0.06), bend=0.4, lead_hand=back, other_hand=back)
        upright: Pose = {"pelvis": (0, 0.01, 0), "bend": habits.slouch, "lead_heel": 0.3, "other_heel": 0.3}
        script.to(0.18, lead_hand=down, other_hand=down, **upright)
        script.to(
            0.18, pelvis=(0, height, 0), lead_hand=front, other_hand=front, lead_heel=0.6, other_heel=0.6, **flying
        )
        script.to(0.19, pelvis=(0, 0, 0), lead_heel=0.1, other_heel=0.1, **feet)
        script.to(0.15, pelvis=(0, 0.6 * crouch, -0.05), bend=0.25, lead_heel=0.0, other_heel=0.0)
        script.rest(0.35, *_ALL_BUT_TURN)


def punch_air(script: Script) -> None:
    """Both fists strike out, one after the other."""
    habits = script.person.habits
    guard = (-0.08, -0.1 + habits.height, 0.36)
    hands = ["lead_hand", "other_hand"] if habits.order > 0 else ["other_hand", "lead_hand"]
    elbows = {"lead_elbow": elbow(script), "other_elbow": elbow(script)}
    script.to(0.45, lead_hand=guard, other_hand=guard, **elbows)
    for strike in range(script.repetitions(3.0, least=2)):
        hand = hands[strike % 2]
        twist = 0.3 * habits.participation * (-1.0 if hand == "lead_hand" else 1.0)
        reach = 0.55 + 0.4 * min(habits.amplitude, 1.1)
        struck: Pose = {hand: _along((-0.2, 0.08 + habits.height, 0.9), reach), "twist": twist}
        script.to(0.16, **struck)
        drawn_back: Pose = {hand: guard, "twist": 0.0}
        script.to(0.24, **drawn_back)
    script.rest(0.5)


def bow(script: Script) -> None:
    """The trunk bends forward and comes back."""
    habits = script.person.habits
    bend = 0.65 * habits.amplitude
    held = (-0.1, -0.93, 0.2) if habits.order > 0 else script.resting("lead_hand")
    for _ in range(script.repetitions(1.0)):
        script.to(0.7, bend=bend, tip=0.25, nod=0.25, pelvis=(0, -0.01, -0.1), lead_hand=held, other_hand=held)
        script.hold(0.3)
        script.rest(0.75, *_ALL_BUT_TURN)


def squat(script: Script) -> None:
    """Down on bent knees and up again."""
    habits = script.person.habits
    drop = min(0.42 * habits.amplitude, 0.6)
    arms = (0.0, -0.15 + habits.height, 0.9) if habits.order > 0 else (0.05, -0.8, 0.45)
    for _ in range(script.repetitions(1.3)):
        low: Pose = {"bend": 0.25 + 0.25 * habits.stoop, "tip": 0.3, "pelvis": (0.0, -drop, -0.22)}
        script.to(0.75, lead_hand=arms, other_hand=arms, **low)
        script.hold(0.12)
        script.to(0.65, pelvis=(0, 0, 0), bend=habits.slouch, tip=0.0)
    script.rest(0.4, *_ALL_BUT_TURN)


def turn_around(script: Script) -> None:
    """Half a turn on the spot in small steps."""
    habits = script.person.habits
    side, num_steps = habits.turn_side, script.repetitions(4.0, least=3)
    width = float(script.resting("lead_foot")[0])
    swinging = "lead" if side > 0 else "other"
    script.to(0.25, look=0.35 * side)
    for step in range(1, num_steps + 2):
        angle = side * np.pi * min(step / num_steps, 1.0)
        lifted: Pose = {f"{swinging}_foot": _lifted(script, swinging), "turn": angle - 0.5 * side * np.pi / num_steps}
        script.to(0.17, **lifted)
        # Both feet stand on a circle about the middle; outward points the opposite way for the two of them.
        outward = 1.0 if swinging == "lead" else -1.0
        foot = (width * np.cos(angle), 0.0, -outward * width * np.sin(angle))
        landed: Pose = {f"{swinging}_foot": foot, f"{swinging}_toe": habits.toe_out + outward * angle, "turn": angle}
        script.to(0.17, **landed)
        swinging = "other" if swinging == "lead" else "lead"
    script.rest(0.3, "look")


def walk_in_place(script: Script) -> None:
    """Knees rise by turns, the arms swing along."""
    habits = script.person.habits
    lifting, lift = ("lead" if habits.order > 0 else "other"), 0.2 * habits.amplitude + 0.05
    swing = 0.3 * habits.arm_swing
    for _ in range(2 * script.repetitions(2.2)):
        standing = "other" if lifting == "lead" else "lead"
        foot = script.resting(f"{lifting}_foot")
        aside = -0.06 if lifting == "lead" else 0.06
        swinging = {f"{lifting}_hand": (0.12, -0.93, -swing), f"{standing}_hand": (0.08, -0.85, 0.1 + swing)}
        raised: Pose = {f"{lifting}_foot": foot + np.array((0.0, lift, 0.1)), f"{lifting}_heel": 0.4}
        lowered: Pose = {f"{lifting}_foot": foot, f"{lifting}_heel": 0.0}
        script.to(0.24, pelvis=(aside, 0.0, 0.0), **raised, **swinging)
        script.to(0.24, pelvis=(0.0, -0.015, 0.0), **lowered)
        lifting = standing
    script.rest(0.4, *_ALL_BUT_TURN)


def elbow(script: Script) -> Triple:
    """What draws the elbow of a working arm: its weight, and outward by habit."""
    return (0.2 + script.person.habits.elbow_out, -0.6, 0.0)


_ALL_BUT_TURN = (
    *("lead_hand", "other_hand", "lead_elbow", "other_elbow", "pelvis", "tip", "bend", "twist", "tilt", "nod", "look"),
    *("lead_foot", "other_foot", "lead_toe", "other_toe", "lead_heel", "other_heel", "lead_wrist", "other_wrist"),
)


def _at_mouth(script: Script, up: float = 0.0) -> Triple:
    """The wrist of a hand that is at the mouth."""
    build = script.person.build
    mouth = (build.neck + 0.55 * build.head + build.shoulder_drop) / build.arm
    return (-0.55 * build.shoulder_half / build.arm, mouth - 0.2 + up, 0.36)


def _along(direction: Triple, reach: float) -> Triple:
    """A hand in `direction` at `reach` arm lengths from the shoulder."""
    length = float(np.linalg.norm(direction))
    return (reach * direction[0] / length, reach * direction[1] / length, reach * direction[2] / length)


def _step(script: Script, side: str, forward: float) -> Pose:
    foot = script.resting(f"{side}_foot")
    return {f"{side}_foot": (float(foot[0]), 0.0, forward), "pelvis": (0.0, -0.03, 0.5 * forward)}


def _lifted(script: Script, side: str) -> Triple:
    foot = script.now(f"{side}_foot")
    return (float(foot[0]) * 0.95, 0.06, float(foot[2]) * 0.95)


def _sitting(script: Script) -> tuple[Pose, Pose, Pose]:
    """Three poses on the way to a chair of 0.44 m: leaning forward, touching down, seated."""
    habits, build = script.person.habits, script.person.build
    low = (0.53 - build.standing) / build.leg
    hands: Triple = (-0.08, -0.78, 0.4)
    leaning: Pose = {"pelvis": (0, 0.4 * low, -0.28), "bend": 0.55, "tip": 0.2, "nod": 0.1}
    leaning |= {"lead_hand": (0.05, -0.8, 0.35), "other_hand": (0.05, -0.8, 0.3)}
    down: Pose = {"pelvis": (0, low, -0.5), "bend": 0.45 + habits.slouch, "tip": 0.1}
    down |= {"lead_hand": hands, "other_hand": hands}
    seated: Pose = {"pelvis": (0, low, -0.52), "bend": 0.1 + habits.slouch, "tip": -0.1}
    seated |= {"nod": habits.chin, "lead_hand": hands, "other_hand": hands}
    return leaning, down, seated
