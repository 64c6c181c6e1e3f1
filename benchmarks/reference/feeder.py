"""Batches sample by sample, out of a padded array: how a `Dataset` behind a `DataLoader` makes them."""

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional

from stars.data.batches import Cut

NUM_BODIES, NUM_JOINTS = 2, 25


class Feeder:
    """A padded array of sequences, `(sample, 300, 150)`, cut one by one.

    Everything but the draws, which come with the call, is done for a sample when it is asked for: its valid frames are
    counted, it is cropped, resampled by `interpolate`, and rotated by one matrix a frame, as the field's feeders do.
    """

    def __init__(self, padded: Float32[np.ndarray, "sample frame 150"]) -> None:
        """Take the array as the published data files hold it: body after body, joint after joint, x y z."""
        num_samples, num_frames = padded.shape[:2]
        self.sequences = padded.reshape(num_samples, num_frames, NUM_BODIES, NUM_JOINTS, 3).transpose(0, 4, 1, 3, 2)

    def sample(
        self, row: int, start: int, length: int, frames: int, angles: Float[Tensor, " 3"]
    ) -> Float32[Tensor, "3 time joint body=2"]:
        """One sample, cropped, resampled to `frames` and rotated by angles about x, y, z in radians.

        Raises:
            ValueError: a crop that is not within the valid frames.
        """
        sequence = np.array(self.sequences[row])
        num_valid = int((sequence.sum(axis=0).sum(axis=-1).sum(axis=-1) != 0).sum())
        if not 0 <= start < start + length <= num_valid:
            raise ValueError(f"crop is {start} to {start + length}; allowed: from 0 to {num_valid}")
        cropped = torch.from_numpy(sequence[:, start : start + length])
        rows = cropped.permute(0, 2, 3, 1).reshape(1, 1, -1, length)
        resized = functional.interpolate(rows, size=(rows.shape[2], frames), mode="bilinear", align_corners=False)
        resized = resized.reshape(3, NUM_JOINTS, NUM_BODIES, frames).permute(0, 3, 1, 2).contiguous()
        by_frame = resized.permute(1, 0, 2, 3).reshape(frames, 3, -1)
        turned = _matrices(angles.expand(frames, 3)).float() @ by_frame
        return turned.view(frames, 3, NUM_JOINTS, NUM_BODIES).permute(1, 0, 2, 3).contiguous()

    def batch(self, rows: list[int], frames: int, cut: Cut) -> Float32[Tensor, "batch body=2 time joint 3"]:
        """What `default_collate` makes of the samples, as the encoder wants it. Raises ValueError without angles."""
        if cut.angles is None:
            raise ValueError("cut.angles is None; allowed: angles")
        drawn = zip(rows, cut.start.tolist(), cut.length.tolist(), cut.angles, strict=True)
        samples = [self.sample(row, start, length, frames, angles) for row, start, length, angles in drawn]
        return torch.stack(samples).permute(0, 4, 2, 3, 1).contiguous()


def _matrices(angles: Float[Tensor, "time 3"]) -> Float[Tensor, "time 3 3"]:
    """Rz Ry Rx of every frame, with the published signs."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(1), angles.sin().unbind(1)
    zero, one = torch.zeros_like(cx), torch.ones_like(cx)
    about_x = torch.stack((one, zero, zero, zero, cx, sx, zero, -sx, cx), dim=1).view(-1, 3, 3)
    about_y = torch.stack((cy, zero, -sy, zero, one, zero, sy, zero, cy), dim=1).view(-1, 3, 3)
    about_z = torch.stack((cz, sz, zero, -sz, cz, zero, zero, zero, one), dim=1).view(-1, 3, 3)
    return about_z @ about_y @ about_x
