"""Writing sightings as the text of an NTU `.skeleton` file.

Grammar (NTU RGB+D): the number of frames; per frame the number of bodies; per body a line of ten values (body id,
clipped edges, confidence and state of both hands, restricted, lean x and y, tracking state), the number of joints, and
a line of twelve values per joint (x y z in metres, depth and colour pixel, orientation quaternion, tracking state).
"""

import numpy as np

from stars.data.kinematics import NUM_JOINTS, Array, Joint
from stars.data.sensor import Sighting

# Focal length and principal point in pixels, and the shift in metres from the depth to the colour camera.
_DEPTH = (365.5, 256.0, 208.5, 0.0)
_COLOUR = (1062.0, 960.0, 567.0, 0.052)
_DEPTH_WIDTH, _DEPTH_HEIGHT = 512, 424

_JOINT_LINE = "%.7g %.7g %.7g %.7g %.7g %.7g %.7g 0 0 0 0 %d\n"
_BODY = f"%d %d %d %d %d %d 0 %.7g %.7g 2\n{NUM_JOINTS}\n" + _JOINT_LINE * NUM_JOINTS


def skeleton_text(sightings: list[Sighting], num_frames: int, draw: np.random.Generator) -> str:
    """The text of a recording of `num_frames` frames; `draw` chooses body ids, their order and hand states."""
    ids = 72057594037900000 + int(draw.integers(20_000, 70_000)) + np.cumsum(draw.integers(1, 4, size=len(sightings)))
    slots = draw.permutation(len(sightings))
    blocks: list[list[str]] = [[] for _ in range(num_frames)]
    for slot in slots:
        sighting = sightings[slot]
        values = np.concatenate((_heads(sighting, draw), _joint_values(sighting)), axis=1).tolist()
        body = int(ids[slot])
        for frame, row in zip(sighting.frames.tolist(), values, strict=True):
            blocks[frame].append(_BODY % (body, *row))
    return f"{num_frames}\n" + "".join(f"{len(frame)}\n{''.join(frame)}" for frame in blocks)


def _heads(sighting: Sighting, draw: np.random.Generator) -> Array:
    """Clipped edges, confidence and state of the hands, lean: (seen, 7)."""
    seen, trunk = len(sighting.frames), (Joint.SPINE_BASE, Joint.SPINE_SHOULDER)
    column, row = _pixels(sighting.joints, _DEPTH)
    edges: Array = np.zeros(seen)
    for bit, outside in ((1, column >= _DEPTH_WIDTH), (2, column < 0), (4, row < 0), (8, row >= _DEPTH_HEIGHT)):
        edges += bit * outside.any(axis=1)
    confident = draw.integers(0, 2, size=(seen, 2))
    state = draw.integers(0, 4, size=(seen, 2))
    hands = np.stack((confident, state), axis=2).reshape(seen, 4)
    lean = sighting.joints[:, trunk[1]] - sighting.joints[:, trunk[0]]
    lean = lean / np.maximum(np.linalg.norm(lean, axis=1, keepdims=True), 1e-9)
    heads: Array = np.concatenate((edges[:, None], hands, lean[:, (0, 2)]), axis=1)
    return heads


def _joint_values(sighting: Sighting) -> Array:
    """The numbers of the joint lines that are not always zero, (seen, 25 * 8)."""
    pixels = np.stack((*_pixels(sighting.joints, _DEPTH), *_pixels(sighting.joints, _COLOUR)), axis=-1)
    values: Array = np.concatenate((sighting.joints, pixels, sighting.states[..., None]), axis=-1)
    return values.reshape(len(values), NUM_JOINTS * 8)


def _pixels(joints: Array, lens: tuple[float, float, float, float]) -> tuple[Array, Array]:
    """Column and row, (seen, 25) each, of points in camera space."""
    focal, column, row, shift = lens
    depth = np.maximum(joints[..., 2], 0.1)
    return column + focal * (joints[..., 0] + shift) / depth, row - focal * joints[..., 1] / depth
