"""From a recording of NTU RGB+D to the sequence that the published data files hold: denoising and translation.

Source: the preprocessing that every skeleton paper since 2018 shares, as the published code runs it, quirks included.
Its two unused steps (a motion threshold, a normalisation by the length of the spine) are left out; padding and the
second body of a one-person sequence are decided later, when a batch is cut.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from stars.data.skeleton import Body, Recording, Unreadable

NAME_PATTERN = "SsssCcccPpppRrrrAaaa"
MIN_APPEARANCES = 12  # a body seen in 11 frames or fewer is noise
MAX_SPREAD = 0.8  # of the width of a body over its height; wider is not a person
MAX_NOISE = 0.69754  # a body with this share of too wide frames is no person
SPINE_MIDDLE = 1  # 0-based joint that becomes the origin

Frames = Float32[np.ndarray, "frame body joint 3"]


class NtuName(NamedTuple):
    """What the name of a recording says; all 1-based."""

    setup: int
    camera: int
    subject: int
    replication: int
    action: int


@dataclass(frozen=True, eq=False)
class _Actor:
    """A body and its motion."""

    body: Body
    motion: float

    @property
    def span(self) -> tuple[int, int]:
        """First and last frame, both inclusive."""
        return int(self.body.interval[0]), int(self.body.interval[-1])


def parse_name(name: str) -> NtuName:
    """Read `S001C002P003R002A013`. Raises Unreadable naming the allowed pattern."""
    found = re.fullmatch(r"S([0-9]{3})C([0-9]{3})P([0-9]{3})R([0-9]{3})A([0-9]{3})", name)
    numbers = [int(number) for number in found.groups()] if found else [0]
    if 0 in numbers:
        raise Unreadable(name, f"the name is not {NAME_PATTERN} (setup, camera, subject, replication, action, from 1)")
    return NtuName(*numbers)


def process(recording: Recording) -> Frames:
    """The sequence of one or two bodies, in metres from the middle of the first body's spine.

    Which bodies are people, which of two is the first and which frames remain is decided as by the published code. A
    body that is absent from a frame is exactly zero there. One body if only one is left, otherwise two, of which
    the second may be zero throughout. NaN coordinates stay, and a NaN origin makes everything NaN.

    Raises:
        Unreadable: no body is seen often enough (the published code dies), nothing but zeros is left, or a joint is so
            far from the origin that no 32-bit number says it.
    """
    # Sums, variances and differences of coordinates near the end of the 32-bit numbers are infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        if len(recording.bodies) == 1:
            sequence = _place(recording, [recording.bodies])
        else:
            sequence = _place(recording, _slots(_people(recording)))
            sums = sequence.reshape(len(sequence), -1).sum(axis=1)
            sequence = sequence[sums != 0]
        if not sequence[:, 0].any():
            raise Unreadable(recording.name, "the first body has no coordinate other than 0")
        translated = _translate(sequence)
    if np.isinf(translated).any():
        raise Unreadable(
            recording.name, "a joint is too far from the first body's spine; allowed: finite 32-bit numbers"
        )
    return translated


def _people(recording: Recording) -> list[_Actor]:
    """The bodies that pass the filters on length and spread, most motion first."""
    long = [body for body in recording.bodies if len(body.interval) >= MIN_APPEARANCES]
    if not long:
        seen = max(len(body.interval) for body in recording.bodies)
        raise Unreadable(
            recording.name, f"no body is seen in more than {seen} frames; allowed: at least {MIN_APPEARANCES}"
        )
    remaining = [_Actor(body, motion(body.joints)) for body in long]
    for actor in list(remaining):
        if len(remaining) == 1:
            break
        narrow = _is_narrow(actor.body.joints)
        place = remaining.index(actor)
        if (~narrow).mean() >= MAX_NOISE:
            del remaining[place]
        elif not narrow.all():
            remaining[place] = _Actor(actor.body, min(actor.motion, motion(actor.body.joints[narrow])))
    return sorted(remaining, key=lambda actor: actor.motion, reverse=True)


def motion(joints: Float32[np.ndarray, "frame joint 3"]) -> float:
    """How much a body moves: the sum over x, y, z of the variance over all joints of all frames, in m²."""
    return float(joints.reshape(-1, 3).var(axis=0).sum())


def _is_narrow(joints: Float32[np.ndarray, "frame joint 3"]) -> Bool[np.ndarray, " frame"]:
    """Per frame, whether the body is at most 0.8 times as wide as high. A frame with NaN is not."""
    spread = joints.max(axis=1) - joints.min(axis=1)
    # In double precision, as 0.8 is when the published code multiplies it with one number.
    is_narrow: Bool[np.ndarray, " frame"] = spread[:, 0] <= MAX_SPREAD * spread[:, 1].astype(np.float64)
    return is_narrow


def _slots(people: list[_Actor]) -> list[tuple[Body, ...]]:
    """Who goes into which of the two slots: a body joins the first slot that is free while it is seen, or is dropped.

    A slot is taken from the first to the last frame of its bodies. The second slot is taken at frame 0 from the start.
    """
    if len(people) == 1:
        return [(people[0].body,)]
    slots = [[people[0].body], []]
    taken = [people[0].span, (0, 0)]
    for actor in people[1:]:
        first, last = actor.span
        for slot, (start, end) in enumerate(taken):
            if min(end, last) - max(start, first) <= 0:
                slots[slot].append(actor.body)
                taken[slot] = min(start, first), max(end, last)
                break
    return [tuple(slot) for slot in slots]


def _place(recording: Recording, slots: list[tuple[Body, ...]]) -> Frames:
    """Write every body into its slot at the frames of its interval."""
    sequence = np.zeros((recording.num_frames, len(slots), *recording.bodies[0].joints.shape[1:]), np.float32)
    for slot, bodies in enumerate(slots):
        for body in bodies:
            sequence[body.interval, slot] = body.joints
    return sequence


def _translate(sequence: Frames) -> Frames:
    """Move the origin to the spine of body 1 in the first frame where it is seen, and absent bodies back to zero."""
    seen = (sequence[:, 0] != 0).any(axis=(1, 2))
    origin = sequence[np.argmax(seen), 0, SPINE_MIDDLE]
    translated: Frames = sequence - origin
    if sequence.shape[1] == 2:
        absent = sequence.reshape(*sequence.shape[:2], -1).sum(axis=2) == 0
        translated[absent] = 0
    return translated
