"""The depth camera of the synthetic source: what a Kinect v2 makes of people who move in front of it.

It sees from its own place, loses joints behind other parts of the body (they are held where they were last seen, or
jump), trembles more on far and hidden joints, drifts, misses frames, loses people and sees ones that are not there.
Magnitudes follow UI-PRMD's Kinect recordings and, for the disagreement with the truth, their distance from the
simultaneous marker recordings (about 10 cm RMS with differing joint definitions, here 2 to 3 cm without).

Camera space as in NTU files: metres, origin at the sensor, y up, depth along +z; a person who faces the camera looks
along -z and has the right hand at +x.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stars.data.kinematics import NUM_JOINTS, Array, Joint, rotation
from stars.data.performance import smooth_noise

Flags = npt.NDArray[np.bool_]
States = npt.NDArray[np.int64]

TRACKED, INFERRED, NOT_TRACKED = 2, 1, 0

# Camera 1 looks straight at the stage, 2 and 3 from the left and the right of the person facing camera 1.
CAMERA_HEADINGS = (0.0, np.pi / 4, -np.pi / 4)

# How much each joint trembles, relative to the spine: hands and feet most.
_TREMBLE = np.ones(NUM_JOINTS)
for _joints, _amount in (
    ((Joint.ELBOW_LEFT, Joint.ELBOW_RIGHT, Joint.KNEE_LEFT, Joint.KNEE_RIGHT), 1.5),
    ((Joint.WRIST_LEFT, Joint.WRIST_RIGHT, Joint.ANKLE_LEFT, Joint.ANKLE_RIGHT), 2.2),
    ((Joint.HAND_LEFT, Joint.HAND_RIGHT, Joint.FOOT_LEFT, Joint.FOOT_RIGHT), 3.0),
    ((Joint.HAND_TIP_LEFT, Joint.HAND_TIP_RIGHT, Joint.THUMB_LEFT, Joint.THUMB_RIGHT), 4.5),
):
    _TREMBLE[list(_joints)] = _amount
_DEPTH_FACTOR = np.array((1.0, 1.0, 1.6))  # depth is measured less well than the directions across

# Spheres that hide what is behind them: two joints, the place between them, the radius in metres.
_OCCLUDERS = (
    (Joint.SPINE_BASE, Joint.SPINE_BASE, 0.0, 0.13),
    (Joint.SPINE_BASE, Joint.SPINE_MID, 0.5, 0.12),
    (Joint.SPINE_MID, Joint.SPINE_MID, 0.0, 0.13),
    (Joint.SPINE_MID, Joint.SPINE_SHOULDER, 0.5, 0.14),
    (Joint.SPINE_SHOULDER, Joint.SPINE_SHOULDER, 0.0, 0.12),
    (Joint.HEAD, Joint.HEAD, 0.0, 0.11),
    (Joint.SHOULDER_LEFT, Joint.ELBOW_LEFT, 0.4, 0.06),
    (Joint.SHOULDER_RIGHT, Joint.ELBOW_RIGHT, 0.4, 0.06),
    (Joint.HIP_LEFT, Joint.KNEE_LEFT, 0.3, 0.09),
    (Joint.HIP_RIGHT, Joint.KNEE_RIGHT, 0.3, 0.09),
    (Joint.HIP_LEFT, Joint.KNEE_LEFT, 0.75, 0.07),
    (Joint.HIP_RIGHT, Joint.KNEE_RIGHT, 0.75, 0.07),
    (Joint.KNEE_LEFT, Joint.ANKLE_LEFT, 0.35, 0.06),
    (Joint.KNEE_RIGHT, Joint.ANKLE_RIGHT, 0.35, 0.06),
)
_OCCLUDER_ENDS = np.array([(int(a), int(b)) for a, b, _, _ in _OCCLUDERS])
_OCCLUDER_PLACES = np.array([place for *_, place, _ in _OCCLUDERS])[:, None]
_OCCLUDER_RADII = np.array([radius for *_, radius in _OCCLUDERS])


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Where one camera of one setup stands.

    Attributes:
        heading: direction from the middle of the stage to the camera, about y, rad.
        distance: from the middle of the stage, along the floor, metres.
        height: above the floor, metres.
        tilt: looking down, rad.
        roll: turned about its axis, rad.
    """

    heading: float
    distance: float
    height: float
    tilt: float
    roll: float

    def view(self, world: Array) -> Array:
        """Points of the world, (..., 3), in camera space."""
        heading, tilt, roll = (np.array(angle) for angle in (self.heading, self.tilt, self.roll))
        turned = world @ rotation(heading, 0 * heading, 0 * heading)
        axes = rotation(0 * tilt, tilt, roll)
        seen: Array = (turned - (0.0, self.height, -self.distance)) @ axes
        return seen


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """One body as the sensor reports it.

    Attributes:
        frames: frames of the recording in which the body is reported, ascending, (seen,).
        joints: camera space, metres, (seen, 25, 3).
        states: 2 tracked, 1 inferred, 0 not tracked, (seen, 25).
    """

    frames: npt.NDArray[np.int64]
    joints: Array
    states: States

    def keep(self, present: Flags) -> "Sighting":
        """The sighting without the frames of the recording where `present`, (frames of the recording,), is False."""
        kept = present[self.frames]
        return Sighting(frames=self.frames[kept], joints=self.joints[kept], states=self.states[kept])


@dataclass(frozen=True, kw_only=True)
class Flaws:
    """How badly the sensor works.

    Attributes:
        joint_noise: standard deviation of the trembling of a spine joint at 3 m, metres.
        drift: standard deviation of the slow error of a spine joint, metres.
        occlusion: probability that a joint that gets hidden is lost rather than followed.
    """

    joint_noise: float
    drift: float
    occlusion: float


def draw_camera(camera: int, setup_draw: np.random.Generator, own_draw: np.random.Generator, jitter: float) -> Camera:
    """Camera 1, 2 or 3 of a setup: the setup chooses distance and height, each camera deviates a little.

    With `jitter` 0 every camera stands 3.2 m away, 1.5 m high, level with the plan.
    """
    distance, height = np.array((3.2, 1.5)) + jitter * np.array((0.35, 0.45)) * np.clip(
        setup_draw.standard_normal(2), -2, 2
    )
    far, high, aside, tilt, roll = np.clip(own_draw.standard_normal(5), -2, 2) * jitter
    distance, height = max(distance + 0.1 * far, 2.0), max(height + 0.06 * high, 0.4)
    return Camera(
        heading=CAMERA_HEADINGS[camera - 1] + np.radians(4.0) * aside,
        distance=float(distance),
        height=float(height),
        tilt=float(np.arctan2(height - 0.9, distance) + np.radians(1.5) * tilt),
        roll=float(np.radians(1.0) * roll),
    )


def observe(bodies: Array, flaws: Flaws, draw: np.random.Generator) -> list[Sighting]:
    """What the sensor reports of the true bodies, (body, time, 25, 3) in camera space, in every frame."""
    hidden = _hidden(bodies)
    sightings = []
    for body, body_hidden in zip(bodies, hidden, strict=True):
        states = np.full(body_hidden.shape, TRACKED)
        states[body_hidden] = INFERRED
        joints = _lose(body, body_hidden, states, flaws.occlusion, draw)
        joints = joints + _errors(body, body_hidden, flaws, draw)
        sightings.append(Sighting(frames=np.arange(len(joints)), joints=joints, states=states))
    return sightings


def _hidden(bodies: Array) -> Flags:
    """Whether each joint is behind part of a body as seen from the origin, (body, time, 25)."""
    ends = bodies[:, :, _OCCLUDER_ENDS]
    spheres = ends[:, :, :, 0] + _OCCLUDER_PLACES * (ends[:, :, :, 1] - ends[:, :, :, 0])
    spheres = np.concatenate(list(spheres), axis=1)
    radii = np.tile(_OCCLUDER_RADII, len(bodies))
    distance = np.linalg.norm(bodies, axis=-1, keepdims=True)
    along = (bodies / distance) @ np.swapaxes(spheres, 1, 2)
    aside = np.sum(spheres**2, axis=-1)[:, None, :] - along**2
    hidden: Flags = np.any((aside < radii**2) & (distance - along > radii + 0.03), axis=-1)
    return hidden


def _lose(body: Array, hidden: Flags, states: States, occlusion: float, draw: np.random.Generator) -> Array:
    """The joints, with hidden ones held where they were last seen or jumping about. Lowers some `states`."""
    joints = body.copy()
    edges = np.diff(np.pad(hidden.astype(np.int8), ((1, 1), (0, 0))), axis=0)
    for joint in np.flatnonzero(hidden.any(axis=0)):
        column = edges[:, joint]
        for first, end in zip(np.flatnonzero(column == 1), np.flatnonzero(column == -1), strict=True):
            lost, held = draw.random(2) < (occlusion, 0.65)
            if not lost:
                continue
            run = np.arange(end - first)
            # The tracker lets go of the truth, and finds it again, within a few frames.
            weight = np.minimum(np.minimum(run + 1, end - first - run) / 4.0, 1.0)[:, None]
            if held:
                relative = body[first, joint] - body[first, Joint.SPINE_BASE] + draw.normal(0.0, 0.03, size=3)
                wrong = body[first:end, Joint.SPINE_BASE] + relative
            else:
                jumps = np.cumsum(draw.random(end - first) < 0.15)
                wrong = body[first:end, joint] + draw.normal(0.0, 0.09, size=(end - first + 1, 3))[jumps]
                states[first:end, joint] = np.where(jumps % 2 == 1, NOT_TRACKED, INFERRED)
            joints[first:end, joint] += weight * (wrong - body[first:end, joint])
    return joints


def _errors(body: Array, hidden: Flags, flaws: Flaws, draw: np.random.Generator) -> Array:
    """Trembling and drift of every coordinate, (time, 25, 3), metres."""
    num_frames = len(body)
    far = (body[..., 2:] / 3.0) ** 2
    tremble = draw.standard_normal(body.shape) * np.where(hidden, 3.0, 1.0)[..., None]
    wander = smooth_noise(draw, num_frames, 3 * NUM_JOINTS).reshape(body.shape)
    constant = draw.standard_normal((NUM_JOINTS, 3))
    slow = np.sqrt(_TREMBLE)[:, None] * (0.7 * wander + 0.7 * constant)
    errors: Array = _DEPTH_FACTOR * far * (flaws.joint_noise * _TREMBLE[:, None] * tremble + flaws.drift * slow)
    return errors
