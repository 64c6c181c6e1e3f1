"""One performance: who acts, when and where, as clean joints in the world, before any sensor has seen them.

World: metres, y up, the floor at y = 0, the middle of the stage at the origin, camera 1 on the side of -z. A heading of
0 faces camera 1; headings turn about y.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stars.data import actions, pairs
from stars.data.kinematics import SLICES, Array, rotation, skeleton
from stars.data.people import Person, on_the_day
from stars.data.script import Script

FRAMES_PER_SECOND = 30.0


@dataclass(frozen=True, kw_only=True)
class Action:
    """One action class.

    Attributes:
        name: what is done.
        alone: programme of a class of one person, None for a class of two.
        together: programme of a class of two persons, None for a class of one.
    """

    name: str
    alone: Callable[[Script], None] | None = None
    together: Callable[[Script, Script], float] | None = None

    @property
    def num_people(self) -> int:
        """1 or 2."""
        return 1 if self.together is None else 2


ACTIONS = (
    Action(name="drink", alone=actions.drink),
    Action(name="wave", alone=actions.wave),
    Action(name="sit down", alone=actions.sit_down),
    Action(name="handshake", together=pairs.handshake),
    Action(name="throw", alone=actions.throw),
    Action(name="stand up", alone=actions.stand_up),
    Action(name="answer the phone", alone=actions.answer_phone),
    Action(name="push", together=pairs.push),
    Action(name="punch the air", alone=actions.punch_air),
    Action(name="point", alone=actions.point),
    Action(name="kick", alone=actions.kick),
    Action(name="hand over an object", together=pairs.hand_over),
    Action(name="clap", alone=actions.clap),
    Action(name="jump", alone=actions.jump),
    Action(name="pick up", alone=actions.pick_up),
    Action(name="walk towards each other", together=pairs.walk_towards),
    Action(name="bow", alone=actions.bow),
    Action(name="squat", alone=actions.squat),
    Action(name="turn around", alone=actions.turn_around),
    Action(name="walk in place", alone=actions.walk_in_place),
)
"""Action id (1-based) minus one -> the action; classes of two persons are spread among the others."""


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How performances are timed and how much they vary.

    Attributes:
        min_frames: shortest recording, frames.
        max_frames: longest recording, frames.
        variation: strength of the differences between a person's performances of one action.
        speed_variation: standard deviation of the logarithm of the momentary speed.
        pauses: longest stillness before and after the action, seconds.
        trimming: largest part of the recording that is missing at either end.
    """

    min_frames: int
    max_frames: int
    variation: float
    speed_variation: float
    pauses: float
    trimming: float


def perform(
    action: Action, people: tuple[Person, ...], facing: float, manner: Manner, draw: np.random.Generator
) -> Array:
    """The joints, (body, time, 25, 3) in the world, of a new performance at 30 frames a second.

    Args:
        action: what is done.
        people: who does it, as many as the action takes.
        facing: heading of the camera that a single person faces; two persons face each other across it, rad.
        manner: timing and variation.
        draw: where the randomness comes from.
    """
    scripts = [Script(on_the_day(person, draw, manner.variation), draw, manner.variation) for person in people]
    if action.together is None:
        assert action.alone is not None
        action.alone(scripts[0])
        distance = 0.0
    else:
        distance = action.together(*scripts)
    times = _clock(max(script.duration for script in scripts), manner, draw)
    facing += scripts[0].person.habits.heading
    places = _places(len(scripts), distance, facing, manner.variation, draw)
    bodies = []
    for script, (heading, x, z) in zip(scripts, places, strict=True):
        motion = script.sample(times)
        _sway(motion, script.person, draw)
        _take_part(motion, script)
        joints = skeleton(script.person.build, motion, script.person.habits.lead)
        angle = np.array(heading)
        bodies.append(joints @ rotation(angle, 0 * angle, 0 * angle).T + (x, 0.0, z))
    return np.stack(bodies)


def stand(person: Person, num_frames: int, draw: np.random.Generator) -> Array:
    """The joints, (time, 25, 3) in body space, of a person who only stands there."""
    script = Script(person, draw, 0.0)
    script.hold_exactly(1.0)
    motion = script.sample(np.zeros(num_frames))
    _sway(motion, person, draw)
    return skeleton(person.build, motion, person.habits.lead)


def smooth_noise(draw: np.random.Generator, num_frames: int, num_channels: int, slowest: float = 0.1) -> Array:
    """Smooth random curves, (time, channel), of unit variance: four sinusoids from `slowest` to 1.2 hertz."""
    frequency = np.exp(draw.uniform(np.log(slowest), np.log(1.2), size=(4, 1, num_channels)))
    phase = draw.uniform(0.0, 2.0 * np.pi, size=(4, 1, num_channels))
    seconds = np.arange(num_frames)[:, None] / FRAMES_PER_SECOND
    curves: Array = np.sin(2.0 * np.pi * frequency * seconds + phase).sum(axis=0) / np.sqrt(2.0)
    return curves


def _clock(duration: float, manner: Manner, draw: np.random.Generator) -> Array:
    """Script time of every frame, seconds: stillness, uneven speed, missing ends."""
    before, after, cut_before, cut_after = draw.random(4)
    before, after = manner.pauses * before, manner.pauses * after
    total = before + duration + after
    first, last = manner.trimming * cut_before, 1.0 - manner.trimming * cut_after
    num_frames = round((last - first) * total * FRAMES_PER_SECOND)
    num_frames = min(max(num_frames, manner.min_frames), manner.max_frames)
    speed = np.exp(manner.speed_variation * smooth_noise(draw, num_frames, 1)[:, 0])
    progress = np.cumsum(speed) - speed[0]
    progress = first + (last - first) * progress / max(progress[-1], 1e-9)
    clock: Array = progress * total - before
    return clock


def _places(
    num_people: int, distance: float, facing: float, variation: float, draw: np.random.Generator
) -> list[tuple[float, float, float]]:
    """Heading, x and z of everybody's start; the group is about the middle of the stage."""
    x, z = 0.15 * variation * draw.standard_normal(2)
    turned = np.radians(7.0) * variation * draw.standard_normal()
    heading = facing + turned
    if num_people == 1:
        return [(heading, x, z)]
    heading += 0.5 * np.pi if draw.random() < 0.5 else -0.5 * np.pi
    forward = 0.5 * distance * np.array((-np.sin(heading), -np.cos(heading)))
    offset = 0.03 * variation * draw.standard_normal()
    return [
        (heading, x - forward[0], z - forward[1]),
        (heading + np.pi + 2.0 * offset, x + forward[0], z + forward[1]),
    ]


def _sway(motion: Array, person: Person, draw: np.random.Generator) -> None:
    """Nobody stands still: the balance, the breath, the look and idle arms wander. Changes `motion`."""
    size = {"pelvis": 0.010, "bend": 0.014, "twist": 0.025, "tilt": 0.012, "nod": 0.03, "look": 0.07, "turn": 0.02}
    arms = {"lead_hand": 0.015, "other_hand": 0.015}
    for name, amount in (size | arms).items():
        part = motion[:, SLICES[name]]
        strength = person.habits.arm_swing if name in arms else person.habits.sway
        part += amount * strength * smooth_noise(draw, len(part), part.shape[1])


def _take_part(motion: Array, script: Script) -> None:
    """Trunk and head follow the hands: a reach forward turns the chest, a raised arm tilts it. Changes `motion`."""
    share = script.person.habits.participation
    change = {name: motion[:, SLICES[name]] - script.resting(name) for name in ("lead_hand", "other_hand")}
    difference = change["lead_hand"] - change["other_hand"]
    motion[:, SLICES["twist"]] -= 0.14 * share * difference[:, 2:]
    motion[:, SLICES["tilt"]] -= 0.04 * share * difference[:, 1:2]
    motion[:, SLICES["bend"]] += 0.05 * share * (change["lead_hand"] + change["other_hand"])[:, 2:]
