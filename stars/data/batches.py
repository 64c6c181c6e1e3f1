"""Batches: sequences cut, cropped, resized and rotated as a few tensor operations on the device.

Nothing here loops over samples. What is random is drawn beforehand, on the CPU and for the global batch (`draw`), so
that neither the device nor the number of workers changes what is drawn.

Shapes: body 2 (absent bodies are zero), time is resampled to the view's frames, joint and 3 (x, y, z) in metres.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from stars.augmentations.augmentation import Augmentation, augment
from stars.data.packed import Packed
from stars.data.streams import Stream, stream_of
from stars.stage import Value, later

MIN_FRAMES = 64
_CHUNK = 65536  # rows that are moved to the device at a time
_RESIDENT_BYTES = 256 * 2**20


@dataclass(frozen=True, kw_only=True)
class View(Value):
    """How a sequence is looked at: which part of it, at how many frames, from where.

    Attributes:
        frames: after resampling.
        crop: one number: the part of the valid frames that is kept, in (0, 1], from the middle. Two numbers: the part
            is drawn uniformly between them, and so is its place.
        least_frames: a random crop keeps at least so many frames, if the sequence has them (64: published code; so a
            sequence of up to 64 frames is never cropped there).
        rotation: largest angle about each axis in radians, drawn uniformly from both signs; 0 does not rotate.
        augmentations: what is done to the joints after the rotation, in this order.
        stream: joints, or the bones or the motion that follow from them last of all.
    """

    frames: int = 120
    crop: tuple[float, ...] = (0.5, 1.0)
    rotation: float = 0.0
    augmentations: tuple[Augmentation, ...] = later(())
    stream: Stream = later("joint")
    least_frames: int = later(MIN_FRAMES)

    def check(self) -> None:
        """Refuse empty and reversed crops, and what is no angle."""
        if self.frames < 1:
            raise ValueError(f"View.frames is {self.frames}; allowed: 1 or more")
        ordered = tuple(sorted(self.crop)) == self.crop
        if len(self.crop) not in {1, 2} or not ordered or not all(0 < part <= 1 for part in self.crop):
            raise ValueError(f"View.crop is {self.crop}; allowed: one number in (0, 1], or two that ascend")
        if self.least_frames < 1:
            raise ValueError(f"View.least_frames is {self.least_frames}; allowed: 1 or more")
        if not 0 <= self.rotation <= math.pi:
            raise ValueError(f"View.rotation is {self.rotation}; allowed: from 0 to pi")

    @property
    def is_random(self) -> bool:
        """Whether two looks at a sequence differ."""
        return len(self.crop) == 2 or self.rotation > 0 or bool(self.augmentations)


@dataclass(frozen=True, eq=False)
class Cut:
    """What was drawn for a batch.

    Attributes:
        start: first frame that is kept.
        length: number of frames that are kept.
        angles: about x, y and z in radians, double precision; None if nothing is rotated.
        draws: of every augmentation of the view; the first dimension of each tensor is the batch.
    """

    start: Int64[Tensor, " batch"]
    length: Int64[Tensor, " batch"]
    angles: Float[Tensor, "batch 3"] | None = None
    draws: tuple[Mapping[str, Tensor], ...] = ()

    def part(self, rank: int, world_size: int) -> "Cut":
        """The share of one worker, consecutive entries. Raises ValueError if the workers do not divide the batch."""
        share, left = divmod(len(self.start), world_size)
        if left or not 0 <= rank < world_size:
            raise ValueError(f"worker {rank} of {world_size}, batch of {len(self.start)}; allowed: a divisor of it")
        mine = slice(rank * share, (rank + 1) * share)
        angles = None if self.angles is None else self.angles[mine]
        draws = tuple({name: tensor[mine] for name, tensor in drawn.items()} for drawn in self.draws)
        return Cut(self.start[mine], self.length[mine], angles, draws)


class Clips:
    """A packed store to cut batches from: resident on the device, or mapped from its file.

    Both give the same numbers. Mapped, nothing is copied but the frames of a batch, and all processes of a node share
    the file's pages; resident, a batch is cut several times faster.

    Attributes:
        valid: valid frames of every sample as the published code counts them, on the CPU.
        joint_layout: which joint is which.
        is_resident: whether the store lies on the device.
    """

    def __init__(
        self,
        packed: Packed,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        *,
        zero_missing: bool = False,
        copy_body: bool = False,
        resident: bool | None = None,
    ) -> None:
        """Copy the store to the device, or map it.

        Args:
            packed: the store.
            device: where batches are cut.
            dtype: of the coordinates and of the arithmetic.
            zero_missing: replace NaN coordinates by 0. Valid frames stay as they were counted.
            copy_body: give a sequence of one body a second that copies it (published preprocessing of NTU-120). A
                second body that the preprocessing placed stays, empty or not. Valid frames are the same either way: a
                frame's sum is doubled.
            resident: whether to copy; None copies what fits: on a GPU into a quarter of its free memory, on a processor
                into 256 MiB, since there every process would have its own.
        """
        manifest = packed.manifest
        self.device, self.dtype, self.zero_missing = torch.device(device), dtype, zero_missing
        self.joint_layout = manifest.joint_layout
        shape = (manifest.num_rows, manifest.num_joints, 3)
        num_bytes = math.prod(shape) * dtype.itemsize
        self.is_resident = num_bytes <= _room(self.device) if resident is None else resident
        if self.is_resident:
            # One more row, of zeros: the frames of bodies that are not there.
            self.joints = torch.zeros(shape[0] + 1, *shape[1:], dtype=dtype, device=device)
            for first in range(0, shape[0], _CHUNK):
                chunk = torch.tensor(packed.joints[first : first + _CHUNK])
                self.joints[first : first + len(chunk)] = self._filled(chunk)
        else:
            self.joints = torch.from_numpy(packed.mapped())
        spans = torch.tensor(packed.spans)
        if copy_body:
            alone = torch.tensor(packed.column("num_bodies") == 1)
            spans[alone, 1] = spans[alone, 0]
        self.spans = spans.to(self.joints.device)
        self.valid = torch.tensor(packed.column("valid"))

    def cut(
        self,
        rows: Int64[Tensor, " batch"],
        start: Int64[Tensor, " batch"],
        length: Int64[Tensor, " batch"],
        frames: int,
    ) -> Float[Tensor, "batch body=2 time joint 3"]:
        """Keep `length` frames from `start` on and resample them to `frames`.

        Linear interpolation in time between the middles of frames, clamped at both ends, without smoothing (published
        code: bilinear `interpolate`, corners not aligned).

        Args:
            rows: of the samples in the store.
            start: first frame kept.
            length: number of frames kept, 1 or more.
            frames: after resampling.
        """
        place = self.joints.device
        rows, start, length = rows.to(place), start.to(place), length.to(place)
        before, after, weight = _positions(length, frames, self.dtype)
        found, is_there = self._rows(self.spans[rows], start[:, None, None] + torch.stack((before, after), dim=2))
        weights = torch.stack((1 - weight, weight), dim=2)[:, None].expand(found.shape)
        table = self.joints
        if not self.is_resident:
            table = self._filled(table.index_select(0, found.flatten())).to(device=self.device, dtype=self.dtype)
            table = table.masked_fill_(~is_there.flatten()[:, None, None].to(self.device), 0)
            found = torch.arange(found.numel(), device=self.device).view(found.shape)
        # The weighted sum of two rows in one go, as interpolate rounds it; lerp would round otherwise.
        clips = functional.embedding_bag(
            found.reshape(-1, 2),
            table.flatten(1),
            mode="sum",
            per_sample_weights=weights.to(self.device).reshape(-1, 2),
        )
        return clips.view(*found.shape[:3], *table.shape[1:])

    def _rows(
        self, spans: Int64[Tensor, "batch body=2 3"], frames: Int64[Tensor, "batch time 2"]
    ) -> tuple[Int64[Tensor, "batch body=2 time 2"], Bool[Tensor, "batch body=2 time 2"]]:
        """Where both bodies lie at these frames, and whether they are there; the last row where they are not."""
        first_frame, num_frames, first_row = (part[..., None, None] for part in spans.unbind(-1))
        since = frames[:, None] - first_frame
        is_there = (since >= 0) & (since < num_frames)
        return torch.where(is_there, first_row + since, len(self.joints) - 1), is_there

    def _filled(self, joints: Float[Tensor, "*frame joint 3"]) -> Float[Tensor, "*frame joint 3"]:
        """NaN become 0 if they are to."""
        return joints.nan_to_num(nan=0.0) if self.zero_missing else joints


def _room(device: torch.device) -> int:
    """How many bytes a resident store may take."""
    return torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else _RESIDENT_BYTES


def _positions(
    length: Int64[Tensor, " batch"], frames: int, dtype: torch.dtype
) -> tuple[Int64[Tensor, "batch time"], Int64[Tensor, "batch time"], Float[Tensor, "batch time"]]:
    """Between which two kept frames every resampled frame lies, and the weight of the second.

    In the precision of the data, rounded where `torch.nn.functional.interpolate` rounds: it multiplies and adds in one
    instruction, which a product in double precision imitates. Over hundreds of frames the difference is visible.
    """
    scale = (length.to(dtype)[:, None] / frames).double()
    middles = torch.arange(frames, device=length.device) + 0.5
    position = (scale * middles - 0.5).to(dtype).clamp(min=0)
    last = length[:, None] - 1
    before = position.long().minimum(last)
    return before, (before + 1).minimum(last), (position - before).clamp(0, 1)


def num_kept(
    crop: tuple[float, ...],
    valid: Int64[Tensor, " batch"],
    uniform: Float[Tensor, " batch"] | None = None,
    least_frames: int = MIN_FRAMES,
) -> Int64[Tensor, " batch"]:
    """How many of the valid frames a crop keeps (published code; every rounding as there).

    Args:
        crop: one number for a centre crop, two for a random one.
        valid: valid frames, 1 or more.
        uniform: for a random crop, draws from [0, 1) in double precision.
        least_frames: that a random crop keeps, if the sequence has them.
    """
    if len(crop) == 1:
        margin = ((1 - crop[0]) * valid.double() / 2).long()
        return valid - 2 * margin.minimum((valid - 1) // 2)
    if uniform is None:
        raise ValueError(f"crop is {crop} without draws; allowed: one number, or draws")
    low, high = crop
    part = uniform.double() * (high - low) + low
    return (valid * part).floor().long().clamp(min=least_frames).minimum(valid)


def draw(view: View, valid: Int64[Tensor, " batch"], generator: torch.Generator | None) -> Cut:
    """Draw for a global batch where its sequences are cropped and how they are rotated.

    Args:
        view: what may be drawn.
        valid: the batch's `Clips.valid`.
        generator: on the CPU, whatever the device; may be None if the view is not random.

    Raises:
        ValueError: a random view without a generator, or with one of another device.
    """
    if view.is_random and (generator is None or generator.device.type != "cpu"):
        raise ValueError(f"generator is {generator} with {view}; allowed: a generator on the CPU, or a fixed view")
    angles = None
    if len(view.crop) == 1:
        length = num_kept(view.crop, valid)
        start = (valid - length) // 2
    else:
        part, place = torch.rand(2, len(valid), generator=generator, dtype=torch.float64)
        length = num_kept(view.crop, valid, part, view.least_frames)
        start = (place * (valid - length + 1)).long()
    if view.rotation > 0:
        angles = (2 * torch.rand(len(valid), 3, generator=generator, dtype=torch.float64) - 1) * view.rotation
    draws: list[Mapping[str, Tensor]] = []
    for augmentation in view.augmentations:
        assert generator is not None, "a view with augmentations is random"
        draws.append(augmentation.draw(len(valid), view.frames, generator))
    return Cut(start, length, angles, tuple(draws))


def rotate(
    x: Float[Tensor, "batch body time joint 3"], angles: Float[Tensor, "batch 3"]
) -> Float[Tensor, "batch body time joint 3"]:
    """Turn every sequence about the origin by its angles about x, y and z: `x' = Rz Ry Rx x` (published code).

    The sign is the published one: with c and s the cosine and sine, Rx = [[1, 0, 0], [0, c, s], [0, -s, c]],
    Ry = [[c, 0, -s], [0, 1, 0], [s, 0, c]], Rz = [[c, s, 0], [-s, c, 0], [0, 0, 1]].
    """
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(1), angles.sin().unbind(1)
    turned = torch.stack(
        [
            *(cz * cy, sz * cx + cz * sy * sx, sz * sx - cz * sy * cx),
            *(-sz * cy, cz * cx - sz * sy * sx, cz * sx + sz * sy * cx),
            *(sy, -cy * sx, cy * cx),
        ],
        dim=1,
    )
    # On a GPU, products of single precision may be set to TF32 and err by millimetres; autocast would do the same here.
    exact = torch.float64 if x.is_cuda else x.dtype
    matrix = turned.view(-1, 3, 3).to(device=x.device, dtype=exact)
    with torch.autocast(x.device.type, enabled=False):
        rotated = x.flatten(1, 3).to(exact) @ matrix.mT
    return rotated.to(x.dtype).view_as(x)


def views(
    clips: Clips, rows: Int64[Tensor, " batch"], view: View, cut: Cut
) -> Float[Tensor, "batch body=2 time joint 3"]:
    """The batch that an encoder sees: cut, resampled, rotated, augmented, and of it the stream.

    An absent body stays exactly zero.

    Raises:
        ValueError: bones of a joint layout that is not known.
    """
    x = clips.cut(rows, cut.start, cut.length, view.frames)
    x = x if cut.angles is None else rotate(x, cut.angles)
    return stream_of(augment(x, view.augmentations, cut.draws), view.stream, clips.joint_layout)
