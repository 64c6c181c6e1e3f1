"""The synthetic source: people who act before three cameras, written as NTU `.skeleton` text under NTU names.

It is the embedded data set: it needs no download and takes exactly the road of real recordings, from raw text through
parsing and denoising into the packed store. What makes it hard is what makes real recordings hard: viewpoint, build,
habit, speed, sensor. Every recording is a pure function of the `Synthetic` value and its name, and depends neither on
which others are asked for nor on how many classes, subjects, cameras or replications there are.
"""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np

from stars.data.apparitions import Apparitions, apparitions, lose_sight
from stars.data.kinematics import Array
from stars.data.people import Person, draw_person
from stars.data.performance import ACTIONS, Manner, perform
from stars.data.sensor import CAMERA_HEADINGS, Camera, Flaws, Sighting, draw_camera, observe
from stars.data.skeleton_text import skeleton_text
from stars.stage import Value

GENERATOR_VERSION: int = 1
"""Raised when the same value would give other bytes."""

CLASS_NAMES: tuple[str, ...] = tuple(action.name for action in ACTIONS)
"""Names of the actions in the order of their 1-based ids."""

_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")


class _Purpose(IntEnum):
    """What a stream of random numbers is for; part of its key, so the numbers are never changed."""

    SUBJECT = 1
    PARTNER = 2
    BYSTANDER = 3
    SETUP = 4
    CAMERA = 5
    PERFORMANCE = 6
    SENSOR = 7
    APPARITIONS = 8
    LOSSES = 9
    TEXT = 10


@dataclass(frozen=True, kw_only=True)
class Synthetic(Value):
    """A generated data set of `num_classes x num_subjects x num_cameras x num_replications` recordings.

    As in NTU, the cameras see the same performance; camera 1 stands in the middle, 2 and 3 at 45 degrees to either
    side; a person faces camera 2 in odd replications and camera 3 in even ones; each subject is recorded in one setup
    (subjects take turns; setups beyond the number of subjects stay empty). The partner of a two-person class always
    is the same for a subject and is nobody else's.

    Attributes:
        num_classes: the first so many of `CLASS_NAMES`, 1 to 20. Of the first 12, three need two persons.
        num_subjects: people, 1 to 999.
        num_cameras: 1 to 3.
        num_setups: places and arrangements of the cameras, 1 to 999.
        num_replications: performances of every action by every subject, 1 to 999.
        seed: everything random follows from it, 0 or more.
        min_frames: shortest recording in frames at 30 a second, at least 12.
        max_frames: longest recording in frames, at most 300.
        build: strength of the differences in bodily proportions between people; 1 is realistic, 0 none, at most 3.
        habits: strength of the differences in how people move; 1 is realistic, 0 none, at most 3.
        variation: strength of the differences between performances of one person; 1 is realistic, 0 none, at most 3.
        left_handed: probability that a person leads with the left.
        speed_variation: standard deviation of the logarithm of the momentary speed within a recording, at most 1.
        pauses: longest stillness before and after the action, seconds, at most 5.
        trimming: largest part of the recording that is missing at either end, at most 0.4.
        camera_jitter: strength of the differences in camera distance, height and heading; 1 is realistic, at most 3.
        joint_noise: standard deviation of the trembling of a spine joint seen at 3 m, metres, at most 0.1. Grows with
            the square of the depth, towards hands and feet, and threefold on hidden joints.
        drift: standard deviation of the slow, correlated error of a spine joint seen at 3 m, metres, at most 0.2.
        occlusion: probability that a joint is lost (held or jumping) while it is hidden behind a body.
        missing_frames: expected part of the frames without any body, at most 0.5.
        vanishing: probability that a body is lost for a few frames and returns under its id.
        ghosts: probability of a second body that lives for 2 to 11 frames.
        flat_ghosts: probability of a longer-lived noisy body that is wider than high.
        spectators: probability of a person who stands in the background.
    """

    num_classes: int = 12
    num_subjects: int = 10
    num_cameras: int = 3
    num_setups: int = 2
    num_replications: int = 2
    seed: int = 0
    min_frames: int = 30
    max_frames: int = 110
    build: float = 1.0
    habits: float = 1.0
    variation: float = 1.0
    left_handed: float = 0.15
    speed_variation: float = 0.25
    pauses: float = 0.8
    trimming: float = 0.06
    camera_jitter: float = 1.0
    joint_noise: float = 0.001
    drift: float = 0.015
    occlusion: float = 0.6
    missing_frames: float = 0.01
    vanishing: float = 0.04
    ghosts: float = 0.06
    flat_ghosts: float = 0.02
    spectators: float = 0.02

    def check(self) -> None:
        """Refuse what cannot be generated. Raises ValueError."""
        limits: dict[str, tuple[float, float]] = {
            "num_classes": (1, len(ACTIONS)),
            "num_cameras": (1, len(CAMERA_HEADINGS)),
            "seed": (0, 2**63 - 1),
            "min_frames": (12, 300),
            "max_frames": (self.min_frames, 300),
            "speed_variation": (0, 1),
            "pauses": (0, 5),
            "trimming": (0, 0.4),
            "joint_noise": (0, 0.1),
            "drift": (0, 0.2),
            "missing_frames": (0, 0.5),
        }
        limits |= dict.fromkeys(("num_subjects", "num_setups", "num_replications"), (1, 999))
        limits |= dict.fromkeys(("build", "habits", "variation", "camera_jitter"), (0, 3))
        probabilities = ("left_handed", "occlusion", "vanishing", "ghosts", "flat_ghosts", "spectators")
        limits |= dict.fromkeys(probabilities, (0, 1))
        for name, (least, most) in limits.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"Synthetic.{name} is {value!r}; allowed: {least} to {most}")

    def names(self) -> list[str]:
        """All recording names, SsssCcccPpppRrrrAaaa, sorted."""
        return sorted(
            f"S{self._setup(subject):03}C{camera:03}P{subject:03}R{replication:03}A{action:03}"
            for subject in range(1, self.num_subjects + 1)
            for camera in range(1, self.num_cameras + 1)
            for replication in range(1, self.num_replications + 1)
            for action in range(1, self.num_classes + 1)
        )

    def text(self, name: str) -> str:
        """The `.skeleton` text of one recording: always the same bytes for equal values and names.

        Raises:
            ValueError: a name that is not one of `names()`.
        """
        setup, camera, subject, replication, action = ids = self._ids(name)
        world = _performance(self, subject, replication, action)
        place = _camera(self, setup, camera)
        bodies = place.view(world)
        flaws = Flaws(joint_noise=self.joint_noise, drift=self.drift, occlusion=self.occlusion)
        chances = Apparitions(
            missing_frames=self.missing_frames,
            vanishing=self.vanishing,
            ghosts=self.ghosts,
            flat_ghosts=self.flat_ghosts,
            spectators=self.spectators,
        )
        bystander = _person(self, _Purpose.BYSTANDER, *ids)
        draw = _stream(self, _Purpose.APPARITIONS, *ids)
        others = apparitions(bodies, bystander, camera=place, chances=chances, flaws=flaws, draw=draw)
        sightings: list[Sighting] = [*observe(bodies, flaws, _stream(self, _Purpose.SENSOR, *ids)), *others]
        num_frames = bodies.shape[1]
        sightings = lose_sight(sightings, num_frames, chances, _stream(self, _Purpose.LOSSES, *ids))
        return skeleton_text(sightings, num_frames, _stream(self, _Purpose.TEXT, *ids))

    def _setup(self, subject: int) -> int:
        return (subject - 1) % self.num_setups + 1

    def _ids(self, name: str) -> tuple[int, int, int, int, int]:
        match = _NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"recording name is {name!r}; allowed: SsssCcccPpppRrrrAaaa")
        setup, camera, subject, replication, action = (int(digits) for digits in match.groups())
        counts = (self.num_cameras, self.num_subjects, self.num_replications, self.num_classes)
        counted = zip((camera, subject, replication, action), counts, strict=True)
        if not all(1 <= one <= count for one, count in counted) or setup != self._setup(subject):
            raise ValueError(
                f"recording name is {name!r}; allowed: the names of this source, with C up to {counts[0]}, P up to "
                f"{counts[1]}, R up to {counts[2]}, A up to {counts[3]} and the subject's setup"
            )
        return setup, camera, subject, replication, action


def write(source: Synthetic, folder: Path, names: Iterable[str] | None = None) -> int:
    """Writes the recordings as `<name>.skeleton` into an existing folder, over files of the same name.

    Args:
        source: what to generate.
        folder: where to.
        names: which recordings; all of them by default.

    Returns:
        The number of files written.

    Raises:
        ValueError: a name that is not one of the source's.
    """
    chosen = source.names() if names is None else list(names)
    # Recordings of one performance follow one another, so that it is acted once for the three cameras.
    for name in sorted(chosen, key=lambda name: (name[8:], name)):
        (folder / f"{name}.skeleton").write_text(source.text(name), encoding="ascii", newline="\n")
    return len(chosen)


def _stream(source: Synthetic, purpose: _Purpose, *ids: int) -> np.random.Generator:
    key = np.random.SeedSequence(source.seed, spawn_key=(int(purpose), *ids))
    return np.random.Generator(np.random.PCG64(key))


def _person(source: Synthetic, purpose: _Purpose, *ids: int) -> Person:
    draw = _stream(source, purpose, *ids)
    return draw_person(draw, build=source.build, habits=source.habits, left_handed=source.left_handed)


@functools.lru_cache(maxsize=1024)
def _subject(source: Synthetic, subject: int) -> Person:
    return _person(source, _Purpose.SUBJECT, subject)


@functools.lru_cache(maxsize=1024)
def _partner(source: Synthetic, subject: int) -> Person:
    return _person(source, _Purpose.PARTNER, subject)


@functools.lru_cache(maxsize=64)
def _camera(source: Synthetic, setup: int, camera: int) -> Camera:
    setup_draw = _stream(source, _Purpose.SETUP, setup)
    return draw_camera(camera, setup_draw, _stream(source, _Purpose.CAMERA, setup, camera), source.camera_jitter)


@functools.lru_cache(maxsize=256)
def _performance(source: Synthetic, subject: int, replication: int, action: int) -> Array:
    """The clean joints, (body, time, 25, 3) in the world; read-only because shared by the cameras."""
    manner = Manner(
        min_frames=source.min_frames,
        max_frames=source.max_frames,
        variation=source.variation,
        speed_variation=source.speed_variation,
        pauses=source.pauses,
        trimming=source.trimming,
    )
    people = (_subject(source, subject), _partner(source, subject))[: ACTIONS[action - 1].num_people]
    facing = CAMERA_HEADINGS[1 if replication % 2 else 2]
    draw = _stream(source, _Purpose.PERFORMANCE, subject, replication, action)
    bodies = perform(ACTIONS[action - 1], people, facing, manner, draw)
    bodies.flags.writeable = False
    return bodies
