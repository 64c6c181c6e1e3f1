"""Writing a movement down as keyframes, and reading it back at any time.

A `Script` is what an action programme writes: poses a person passes through, with the seconds in between. Between
keyframes every channel follows a monotone cubic, so that it flows through a pose on the way and comes to rest only
where it turns back, as people do; hands travel on arcs about the shoulder, in front of the body rather than behind it.
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from stars.data.kinematics import NUM_CHANNELS, SLICES, Array
from stars.data.people import IDLE, Person

Triple = tuple[float, float, float]
Channel: TypeAlias = float | Sequence[float] | Array
Pose: TypeAlias = dict[str, Channel]


# Wrist from the shoulder and pull of the elbow, both outward, up, forward.
_IDLE_ARMS: dict[str, tuple[Triple, Triple]] = {
    "hanging": ((0.09, -0.97, 0.04), (0.2, 0.0, 0.0)),
    "at the belly": ((-0.2, -0.65, 0.33), (0.5, -0.3, 0.0)),
    "on the hip": ((0.08, -0.74, 0.06), (2.0, 0.0, 0.0)),
    "in the pocket": ((0.04, -0.86, 0.12), (0.6, 0.0, 0.0)),
    "behind the back": ((-0.12, -0.8, -0.24), (0.9, 0.0, 0.3)),
}

# Middle of where hands go (outward, up, forward), and two directions at right angles to it, (3, 2).
_FRONT = np.array((0.25, -0.65, 0.7)) / np.linalg.norm((0.25, -0.65, 0.7))
_SIDE = np.cross((0.0, 1.0, 0.0), _FRONT) / np.hypot(_FRONT[0], _FRONT[2])
_PLANE = np.stack((_SIDE, np.cross(_FRONT, _SIDE)), axis=1)


class Script:
    """The movement of one person, from the person's resting pose on.

    Attributes:
        person: who moves; tempo and resting pose are this person's.
        draw: source of the small differences between repetitions.
        variation: strength of these differences; 0 for exact repetitions.
    """

    def __init__(self, person: Person, draw: np.random.Generator, variation: float) -> None:
        """Starts at time 0 in the resting pose."""
        self.person = person
        self.draw = draw
        self.variation = variation
        self._rest = _resting(person)
        self._times = [0.0]
        self._poses = [self._rest.copy()]

    @property
    def duration(self) -> float:
        """Seconds from the first to the last keyframe."""
        return self._times[-1]

    def start(self, **channels: Channel) -> None:
        """Begins in a pose that differs from the resting one in `channels`."""
        self._poses[0] = self._changed(self._rest, channels)

    def to(self, seconds: float, **channels: Channel) -> None:
        """Reaches, `seconds` later at an average tempo, the present pose with `channels` changed."""
        self._append(seconds, self._changed(self._poses[-1], channels))

    def hold(self, seconds: float) -> None:
        """Stays for `seconds` in the present pose."""
        self._append(seconds, self._poses[-1].copy())

    def rest(self, seconds: float, *names: str) -> None:
        """Brings the named channels (all but the feet and the pelvis when none is named) back to rest."""
        chosen = names or tuple(n for n in SLICES if not n.endswith(("foot", "toe", "heel", "pelvis", "turn")))
        pose = self._poses[-1].copy()
        for name in chosen:
            pose[SLICES[name]] = self._rest[SLICES[name]]
        self._append(seconds, pose)

    def now(self, name: str) -> Array:
        """The present value of a channel."""
        return self._poses[-1][SLICES[name]].copy()

    def resting(self, name: str) -> Array:
        """The value of a channel at rest."""
        return self._rest[SLICES[name]].copy()

    def repetitions(self, average: float, *, least: int = 1) -> int:
        """How often this person repeats what people do `average` times."""
        wished = average + self.person.habits.repetitions + 0.5 * self.variation * self.draw.standard_normal()
        return max(least, round(wished))

    def hold_exactly(self, seconds: float) -> None:
        """Stays for so many seconds of the clock, whatever the person's tempo."""
        self._times.append(self._times[-1] + seconds)
        self._poses.append(self._poses[-1].copy())

    def walk(self, distance: float, num_steps: int, *, seconds: float = 0.5) -> None:
        """Walks `distance` metres along the start's heading (backwards if negative), the arms swinging along.

        The last step brings the feet together, so `num_steps + 1` steps are taken, each in `seconds`.
        """
        habits, length = self.person.habits, distance / self.person.build.leg
        feet = {name: self.now(f"{name}_foot") for name in ("lead", "other")}
        hands = {name: self.now(f"{name}_hand") for name in ("lead", "other")}
        swinging = "lead" if habits.order > 0 else "other"
        for step in range(1, num_steps + 2):
            standing = "other" if swinging == "lead" else "lead"
            landing = feet[swinging] + (0.0, 0.0, length * min(step / num_steps, 1.0))
            lifted = 0.5 * (self.now(f"{swinging}_foot") + landing) + (0.0, 0.07, 0.0)
            middle = 0.5 * float(landing[2] + self.now(f"{standing}_foot")[2])
            halfway = 0.5 * (float(self.now("pelvis")[2]) + middle)
            swing = 0.22 * habits.arm_swing * habits.amplitude if step <= num_steps else 0.0
            passing: Pose = {f"{swinging}_foot": lifted, "pelvis": (0.0, 0.0, halfway)}
            self.to(0.5 * seconds, **passing)
            landed: Pose = {f"{swinging}_foot": landing, "pelvis": (0.0, -0.012, middle)}
            arms = {
                f"{swinging}_hand": hands[swinging] - (0, 0, swing),
                f"{standing}_hand": hands[standing] + (0, 0, swing),
            }
            self.to(0.5 * seconds, **landed, **arms)
            swinging = standing
        self.to(0.15, pelvis=(0.0, 0.0, float(self.now("pelvis")[2])))

    def sample(self, times: Array) -> Array:
        """The pose channels, (time, NUM_CHANNELS), at `times` in seconds; outside the script the nearest end's."""
        knots, poses = np.array(self._times), np.stack(self._poses)
        motion = monotone_cubic(knots, poses, times)
        for side in ("lead_hand", "other_hand"):
            reach = np.linalg.norm(poses[:, SLICES[side]], axis=1, keepdims=True)
            arcs = np.concatenate((_flattened(poses[:, SLICES[side]] / reach), reach), axis=1)
            wanted = monotone_cubic(knots, arcs, times)
            motion[:, SLICES[side]] = wanted[:, 2:] * _unflattened(wanted[:, :2])
        return motion

    def _append(self, seconds: float, pose: Array) -> None:
        uneven = float(np.exp(0.12 * self.variation * self.draw.standard_normal()))
        self._times.append(self._times[-1] + seconds * self.person.habits.tempo * uneven)
        self._poses.append(pose)

    def _changed(self, pose: Array, channels: Pose) -> Array:
        changed = pose.copy()
        for name, value in channels.items():
            changed[SLICES[name]] = value
            if name.endswith("_hand"):
                changed[SLICES[name]] += 0.035 * self.variation * self.draw.standard_normal(3)
        return changed


def monotone_cubic(knots: Array, values: Array, times: Array) -> Array:
    """Interpolates `values`, (knot, channel), at `times`, (time,), without overshoot; ends are held.

    Fritsch and Carlson (1980), SIAM J. Numer. Anal. 17: slopes are weighted harmonic means of the neighbouring chords,
    zero at turning points and at both ends. `knots` are strictly increasing.
    """
    widths = np.diff(knots)[:, None]
    chords = np.diff(values, axis=0) / widths
    slopes = np.zeros_like(values)
    before, after = 2 * widths[1:] + widths[:-1], widths[1:] + 2 * widths[:-1]
    same_way = chords[:-1] * chords[1:] > 0
    first, second = np.where(same_way, chords[:-1], 1.0), np.where(same_way, chords[1:], 1.0)
    slopes[1:-1] = np.where(same_way, (before + after) / (before / first + after / second), 0.0)
    times = np.clip(times, knots[0], knots[-1])
    piece = np.clip(np.searchsorted(knots, times, side="right") - 1, 0, len(widths) - 1)
    width = widths[piece]
    u = (times - knots[piece])[:, None] / width
    return (
        (1 + 2 * u) * (1 - u) ** 2 * values[piece]
        + u * (1 - u) ** 2 * width * slopes[piece]
        + u**2 * (3 - 2 * u) * values[piece + 1]
        - u**2 * (1 - u) * width * slopes[piece + 1]
    )


def _flattened(directions: Array) -> Array:
    """Directions, (n, 3), as points of the plane that touches the sphere at `_FRONT`, at their angle from it, (n, 2).

    A straight line between two hand positions may pass through the shoulder. One in this plane never does, as long as
    hands keep out of the direction opposite to `_FRONT`, up and behind the back.
    """
    cosine = directions @ _FRONT
    aside = directions - cosine[:, None] * _FRONT
    angle = np.arctan2(np.linalg.norm(aside, axis=1), cosine)
    flattened: Array = angle[:, None] * (aside @ _PLANE) / np.maximum(np.linalg.norm(aside, axis=1), 1e-9)[:, None]
    return flattened


def _unflattened(points: Array) -> Array:
    """The inverse of `_flattened`."""
    angle = np.linalg.norm(points, axis=1, keepdims=True)
    directions: Array = np.cos(angle) * _FRONT + np.sin(angle) / np.maximum(angle, 1e-9) * (points @ _PLANE.T)
    return directions


def _resting(person: Person) -> Array:
    """Standing at ease: feet apart, arms hanging."""
    habits, build = person.habits, person.build
    pose = np.zeros(NUM_CHANNELS)
    for side in ("lead", "other"):
        hand, elbow = _IDLE_ARMS[IDLE[habits.lead_idle if side == "lead" else habits.other_idle]]
        pose[SLICES[f"{side}_hand"]] = np.add(hand, (habits.hang_out, 0.0, habits.hang_forward))
        pose[SLICES[f"{side}_elbow"]] = np.add(elbow, (0.5 * habits.elbow_out, 0.0, 0.0))
        pose[SLICES[f"{side}_foot"]] = (habits.stance * build.hip_half / build.leg, 0.0, 0.0)
        pose[SLICES[f"{side}_toe"]] = habits.toe_out
        pose[SLICES[f"{side}_wrist"]] = 0.15
    pose[SLICES["bend"]] = habits.slouch
    pose[SLICES["nod"]] = habits.chin
    return pose
