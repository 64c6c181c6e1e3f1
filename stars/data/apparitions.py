"""What else a Kinect reports: frames without anybody, people lost and found, bodies that are not there, bystanders."""

from dataclasses import dataclass

import numpy as np

from stars.data.kinematics import NUM_JOINTS, Array, rotation
from stars.data.people import Person
from stars.data.performance import stand
from stars.data.sensor import INFERRED, TRACKED, Camera, Flags, Flaws, Sighting, observe


@dataclass(frozen=True, kw_only=True)
class Apparitions:
    """How often they happen.

    Attributes:
        missing_frames: expected part of the frames in which no body is reported, at most 0.5.
        vanishing: probability that a body is lost for 3 to 12 frames and returns under its id, per body.
        ghosts: probability of a short-lived second body (2 to 11 frames).
        flat_ghosts: probability of a noisy body wider than high, as furniture gives, that stays longer.
        spectators: probability of a person standing in the background.
    """

    missing_frames: float
    vanishing: float
    ghosts: float
    flat_ghosts: float
    spectators: float


def lose_sight(
    sightings: list[Sighting], num_frames: int, chances: Apparitions, draw: np.random.Generator
) -> list[Sighting]:
    """Takes away frames without anybody and the stretches for which single bodies are lost."""
    seen = ~_gaps(num_frames, chances.missing_frames, draw)
    kept = []
    for sighting in sightings:
        vanishes, where, length = draw.random() < chances.vanishing, draw.random(), int(draw.integers(3, 13))
        present = seen.copy()
        if vanishes:
            first = round((0.15 + 0.5 * where) * num_frames)
            present[first : first + min(length, num_frames // 5)] = False
        kept.append(sighting.keep(present))
    return kept


def apparitions(
    people: Array, bystander: Person, *, camera: Camera, chances: Apparitions, flaws: Flaws, draw: np.random.Generator
) -> list[Sighting]:
    """The bodies that nobody asked for.

    Args:
        people: the real ones, (body, time, 25, 3) in camera space.
        bystander: who stands in the background if anybody does.
        camera: that sees all this.
        chances: how often.
        flaws: of the sensor.
        draw: where the randomness comes from.
    """
    short, flat, spectator = draw.random(3) < (chances.ghosts, chances.flat_ghosts, chances.spectators)
    num_frames, place = people.shape[1], people[0, :, 0].mean(axis=0)
    found = []
    if short:
        length = int(draw.integers(2, min(12, num_frames)))
        ghost = _ghost(length, place, draw, width=(0.15, 0.4), height=(0.3, 1.2))
        found.append(_appear(ghost, num_frames, draw))
    if flat:
        length = int(draw.integers(min(14, num_frames), num_frames + 1))
        ghost = _ghost(length, place, draw, width=(0.5, 1.1), height=(0.1, 0.35))
        found.append(_appear(ghost, num_frames, draw))
    if spectator:
        length = int(draw.integers(min(14, num_frames), num_frames + 1))
        turned = np.array(draw.normal(0.0, 0.6))
        aside = draw.uniform(0.6, 1.3) * (-1.0 if draw.random() < 0.5 else 1.0)
        body = stand(bystander, length, draw) @ rotation(turned, 0 * turned, 0 * turned).T
        heading = np.array(camera.heading)
        behind = body + np.array((aside, 0.0, draw.uniform(0.5, 1.2)))
        world = behind @ rotation(heading, 0 * heading, 0 * heading).T
        (sighting,) = observe(camera.view(world)[None], flaws, draw)
        found.append(_appear(sighting, num_frames, draw))
    return found


def _gaps(num_frames: int, share: float, draw: np.random.Generator) -> Flags:
    """Frames without anybody, (frame,): runs of 1 to 4 that cover `share` of the frames on average."""
    begins = draw.random(num_frames) < share / 2.5
    lengths = draw.integers(1, 5, size=num_frames)
    empty = np.zeros(num_frames, dtype=np.bool_)
    for first in np.flatnonzero(begins):
        empty[first : first + lengths[first]] = True
    if empty.mean() > 0.5:
        # The flaw is missing frames, not a missing recording: at least every second frame shows somebody.
        empty[::2] = False
    return empty


def _ghost(
    length: int, place: Array, draw: np.random.Generator, *, width: tuple[float, float], height: tuple[float, float]
) -> Sighting:
    """A body fitted to something that is none: squeezed into a box, restless, mostly inferred."""
    cloud = draw.standard_normal((NUM_JOINTS, 3))
    size = np.array((draw.uniform(*width), draw.uniform(*height), draw.uniform(0.1, 0.5)))
    box = (cloud - cloud.mean(axis=0)) / np.ptp(cloud, axis=0) * size
    offset = np.array((draw.uniform(0.4, 1.2), -0.3, draw.uniform(-0.2, 0.9)))
    offset[0] *= -1.0 if draw.random() < 0.5 else 1.0
    joints = box + place + offset + 0.03 * draw.standard_normal((length, NUM_JOINTS, 3))
    states = np.where(draw.random(joints.shape[:2]) < 0.7, INFERRED, TRACKED)
    return Sighting(frames=np.arange(length), joints=joints, states=states)


def _appear(sighting: Sighting, num_frames: int, draw: np.random.Generator) -> Sighting:
    """Puts a sighting somewhere into the recording."""
    first = int(draw.integers(0, num_frames - len(sighting.frames) + 1))
    return Sighting(frames=sighting.frames + first, joints=sighting.joints, states=sighting.states)
