"""What is in a packed store, in numbers: samples by class, subject, camera and setup, lengths, bodies, NaN."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from stars.data.packed import NUM_BODIES, UNKNOWN, Manifest, Packed

COLUMNS = ("action", "subject", "camera", "setup", "replication")


@dataclass(frozen=True, kw_only=True, eq=False)
class Summary:
    """A packed store in numbers.

    Attributes:
        manifest: its own words.
        counts: per column of the index, samples by number, ascending; `UNKNOWN` where it is not known.
        lengths: frames of every sample.
        num_bodies: samples by the number of bodies that are there in some frame.
        num_invalid: frames that the published feeder does not count, since their sum is 0.
        nan_samples: samples with a NaN coordinate.
        nan_coordinates: all of them.
    """

    manifest: Manifest
    counts: Mapping[str, Mapping[int, int]]
    lengths: Int64[np.ndarray, " sample"]
    num_bodies: Mapping[int, int]
    num_invalid: int
    nan_samples: int
    nan_coordinates: int

    def lines(self) -> list[str]:
        """The summary as text, a line a fact."""
        manifest = self.manifest
        low, quarter, median, three_quarters, high = np.percentile(self.lengths, (0, 25, 50, 75, 100))
        bodies = ", ".join(f"{count} with {number}" for number, count in self.num_bodies.items())
        return [
            f"{manifest.name}: {manifest.num_samples} samples, {manifest.num_rejected} rejected",
            f"source       {manifest.source}",
            f"content      {manifest.content}",
            f"joints       {manifest.num_joints}, {manifest.joint_layout}",
            *(f"{column:<12} {_spelled(self.counts[column])}" for column in COLUMNS),
            f"frames       {low:.0f} to {high:.0f}, half of them {quarter:.0f} to {three_quarters:.0f}, "
            f"median {median:.0f}; {self.lengths.sum()} in all, {self.num_invalid} of them not valid",
            f"bodies       {bodies}",
            f"NaN          {self.nan_coordinates} coordinates in {self.nan_samples} samples",
            f"protocols    {', '.join(manifest.protocols) or 'none of its own'}",
        ]


def summarize(packed: Packed) -> Summary:
    """Count what the index of a store says; joints are not read."""
    counts = {column: dict(sorted(Counter(packed.column(column).tolist()).items())) for column in COLUMNS}
    lengths = packed.column("num_frames")
    there = (packed.spans[:, :, 1] > 0).sum(axis=1)
    num_nan = packed.column("num_nan")
    return Summary(
        manifest=packed.manifest,
        counts=counts,
        lengths=lengths,
        num_bodies={number: int((there == number).sum()) for number in range(1, NUM_BODIES + 1)},
        num_invalid=int((lengths - packed.column("valid")).sum()),
        nan_samples=int((num_nan > 0).sum()),
        nan_coordinates=int(num_nan.sum()),
    )


def _spelled(counts: Mapping[int, int]) -> str:
    """`3: 1 × 20, 2 × 20, 5 × 18`, the number of different ones first; or that nothing is known."""
    if set(counts) == {UNKNOWN}:
        return "unknown"
    each = ", ".join(f"{'unknown' if number == UNKNOWN else number} × {count}" for number, count in counts.items())
    return f"{len(counts)}: {each}"
