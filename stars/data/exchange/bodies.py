"""From the joints of any layout, flat or with confidence, to those that a store holds."""

import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from stars.data.layouts import Layout, to_kinect
from stars.data.packed import JOINT_LAYOUT, NUM_BODIES
from stars.data.packing import count_valid

_SPINE_MIDDLE = 1  # 0-based joint of the 25 that becomes the origin


class OutOfDomain(UserWarning):
    """The data can be stored, and a model of people in three dimensions has never seen their like."""


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """What becomes of foreign joints.

    Attributes:
        layout: which joint is which in the source.
        own_joints: keep that layout's joints; otherwise they become the 25 of NTU RGB+D.
        center: move the origin to the middle of the first body's spine in the first frame where it is known, as the
            published preprocessing does; otherwise coordinates stay as they are.
    """

    layout: Layout
    own_joints: bool = False
    center: bool = False

    @property
    def num_joints(self) -> int:
        """Joints of a body in the store."""
        return len(self.layout.joints) if self.own_joints else len(self.layout.sources)

    @property
    def recorded_layout(self) -> str:
        """The store's joint layout."""
        return self.layout.name if self.own_joints else JOINT_LAYOUT

    def words(self) -> str:
        """What is done to the joints, for the manifest; empty if nothing is."""
        done = []
        if self.recorded_layout != self.layout.name:
            filled = ", ".join(f"{joint} = {source}" for joint, source in self.layout.filled().items())
            done.append(f"joints from {self.layout.name}: {filled}")
            if lacks := self.layout.lacks():
                done.append(f"left out: {', '.join(lacks)}")
        if self.center:
            done.append("origin moved to the middle of the spine")
        return "; ".join(done)

    def apply(
        self,
        coordinates: Float32[np.ndarray, "frame body joint dimension"],
        confidence: Float32[np.ndarray, "frame body joint"] | None = None,
    ) -> Float32[np.ndarray, "frame body kept 3"]:
        """A sequence as it goes into a store.

        Axes and units stay: y that grows downwards, as in images, still does. Of two dimensions the third becomes 0. A
        joint of confidence 0 becomes NaN; a body of which no joint has any confidence in a frame is absent there, which
        is zero.

        Raises:
            ValueError: another number of joints than the layout's, of bodies than 1 or 2, or of dimensions than 2 or 3;
                an infinite coordinate; a negative or NaN confidence; or no frame whose sum is not 0.
        """
        num_frames, num_bodies, num_joints, num_dimensions = coordinates.shape
        for what, found, allowed in (
            ("joints", num_joints, (len(self.layout.joints),)),
            ("bodies", num_bodies, tuple(range(1, NUM_BODIES + 1))),
            ("dimensions", num_dimensions, (2, 3)),
        ):
            if found not in allowed:
                raise ValueError(f"there are {found} {what}; allowed: {' or '.join(map(str, allowed))}")
        if np.isinf(coordinates).any():
            raise ValueError("a coordinate is infinite; allowed: finite 32-bit numbers, or nan")
        sequence = np.zeros((num_frames, num_bodies, num_joints, 3), np.float32)
        sequence[..., :num_dimensions] = coordinates
        if confidence is not None:
            sequence = _unsure_as_missing(sequence, confidence)
        with np.errstate(over="ignore", invalid="ignore"):
            if not self.own_joints:
                sequence = to_kinect(sequence, self.layout)
            if self.center:
                sequence = self._centered(sequence)
        if np.isinf(sequence).any():
            raise ValueError("a coordinate is too large to be averaged or moved; allowed: finite 32-bit numbers")
        if count_valid(sequence) == 0:
            raise ValueError("every frame sums to 0; at least one must not")
        return sequence

    def _centered(
        self, sequence: Float32[np.ndarray, "frame body joint 3"]
    ) -> Float32[np.ndarray, "frame body joint 3"]:
        sources = list(self.layout.sources[_SPINE_MIDDLE]) if self.own_joints else [_SPINE_MIDDLE]
        spine = sequence[:, 0, sources].mean(axis=1)
        there = (sequence != 0).any(axis=(2, 3))
        known = np.flatnonzero(there[:, 0] & ~np.isnan(spine).any(axis=1))
        if len(known) == 0:
            raise ValueError(
                "the first body has no frame with the middle of its spine; allowed with centring: one or more"
            )
        centered: Float32[np.ndarray, "frame body joint 3"] = sequence - spine[known[0]]
        centered[~there] = 0
        return centered


def warn_of_flatness(num_samples: int) -> None:
    """Say once per import that samples have two dimensions. Warns OutOfDomain."""
    if num_samples:
        warnings.warn(
            f"{num_samples} samples have two dimensions; z is 0 and the unit stays the source's, so that a model of "
            "three dimensions in metres is out of its domain",
            OutOfDomain,
            stacklevel=3,
        )


def _unsure_as_missing(
    sequence: Float32[np.ndarray, "frame body joint 3"], confidence: Float32[np.ndarray, "frame body joint"]
) -> Float32[np.ndarray, "frame body joint 3"]:
    if not (confidence >= 0).all():
        raise ValueError("a confidence is negative or nan; allowed: 0 (not seen) or more")
    seen = confidence > 0
    marked = np.where(seen[..., None], sequence, np.float32(np.nan))
    marked[~seen.any(axis=2)] = 0
    return marked
