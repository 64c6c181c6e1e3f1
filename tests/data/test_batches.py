"""Batches against the slow, obvious way: one sample at a time, with torch's own interpolation."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from torch import Tensor
from torch.nn import functional

from stars.augmentations.augmentation import Augmentation
from stars.data.batches import MIN_FRAMES, Clips, View, draw, num_kept, rotate, views
from stars.data.ntu import NtuName
from stars.data.packed import Packed
from stars.data.packing import Packer
from stars.data.streams import stream_of

LENGTHS = (1, 2, 3, 30, 64, 65, 90, 151, 300)
TWO_BODIES = 7


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """A sample of every length; the last three have a second body, which is there for a while."""
    random = np.random.default_rng(0)
    out = tmp_path_factory.mktemp("batches") / "store"
    with Packer(out, name="x", source="x", num_joints=5) as packer:
        for number, length in enumerate(LENGTHS):
            sequence = random.normal(size=(length, 2, 5, 3)).astype(np.float32)
            sequence[: length // 3, 1] = 0
            sequence[length // 2 :, 1] = 0
            bodies = sequence if number >= TWO_BODIES else sequence[:, :1]
            packer.append(f"{number}", NtuName(1, 1, 1, 1, 1), bodies)
        packer.finish()
    return Packed.open(out)


def interpolated(sequence: np.ndarray, start: int, length: int, frames: int, dtype: torch.dtype) -> Tensor:
    """(frame, 2, joint, 3) cut, and resampled by torch, as (2, time, joint, 3)."""
    kept = torch.tensor(sequence[start : start + length], dtype=dtype)
    curves = kept.reshape(1, length, -1).transpose(1, 2)
    resampled = functional.interpolate(curves, size=frames, mode="linear", align_corners=False)
    return resampled[0].T.reshape(frames, *kept.shape[1:]).transpose(0, 1)


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_cutting_equals_interpolating_every_sample(packed: Packed, data: st.DataObject) -> None:
    clips = Clips(packed)
    rows = data.draw(st.lists(st.integers(0, len(LENGTHS) - 1), min_size=1, max_size=4))
    frames = data.draw(st.sampled_from([1, 2, 7, 24, 64, 120]))
    starts = [data.draw(st.integers(0, LENGTHS[row] - 1)) for row in rows]
    lengths = [data.draw(st.integers(1, LENGTHS[row] - start)) for row, start in zip(rows, starts, strict=True)]
    found = clips.cut(torch.tensor(rows), torch.tensor(starts), torch.tensor(lengths), frames)
    assert found.shape == (len(rows), 2, frames, 5, 3)
    for clip, row, start, length in zip(found, rows, starts, lengths, strict=True):
        expected = interpolated(packed.sample(row), start, length, frames, torch.float32)
        torch.testing.assert_close(clip, expected, rtol=0, atol=2e-6)


def test_double_precision_is_kept(packed: Packed) -> None:
    clips = Clips(packed, dtype=torch.float64)
    found = clips.cut(torch.tensor([8]), torch.tensor([3]), torch.tensor([251]), 120)
    torch.testing.assert_close(found[0], interpolated(packed.sample(8), 3, 251, 120, torch.float64), rtol=0, atol=1e-12)


def test_absent_bodies_are_exactly_zero_after_everything(packed: Packed) -> None:
    clips = Clips(packed)
    rows = torch.arange(len(LENGTHS))
    view = View(frames=120, crop=(0.5, 1.0), rotation=0.3)
    x = views(clips, rows, view, draw(view, clips.valid[rows], torch.Generator().manual_seed(0)))
    assert not x[:TWO_BODIES, 1].any()
    assert x[TWO_BODIES:, 1].any()
    assert x[:, 0].abs().sum(dim=(1, 2, 3)).all()


def test_the_body_of_a_sequence_of_one_is_copied_only_if_asked(packed: Packed) -> None:
    rows = torch.arange(len(LENGTHS))
    cut = torch.zeros_like(rows), torch.ones_like(rows), 1
    assert not Clips(packed).cut(rows, *cut)[:TWO_BODIES, 1].any()
    plain, copied = Clips(packed), Clips(packed, copy_body=True)
    view = View(frames=24, crop=(0.5, 1.0), rotation=0.3)
    drawn = draw(view, plain.valid, torch.Generator().manual_seed(0))
    x, y = (views(clips, rows, view, drawn) for clips in (plain, copied))
    torch.testing.assert_close(x[:, 0], y[:, 0], rtol=0, atol=0)
    torch.testing.assert_close(y[:TWO_BODIES, 1], x[:TWO_BODIES, 0], rtol=0, atol=0)
    torch.testing.assert_close(y[TWO_BODIES:, 1], x[TWO_BODIES:, 1], rtol=0, atol=0)
    assert torch.equal(plain.valid, copied.valid)


def test_missing_coordinates_become_zero_only_if_asked(tmp_path: Path) -> None:
    sequence = np.ones((4, 1, 5, 3), np.float32)
    sequence[1, 0, 2, 0] = np.nan
    with Packer(tmp_path / "store", name="x", source="x", num_joints=5) as packer:
        packer.append("a", NtuName(1, 1, 1, 1, 1), sequence)
        packer.finish()
    packed = Packed.open(tmp_path / "store")
    where = torch.tensor([0]), torch.tensor([0]), torch.tensor([4]), 4
    kept = Clips(packed).cut(*where)
    assert kept[0, 0, 1, 2].isnan().tolist() == [True, False, False]
    filled = Clips(packed, zero_missing=True).cut(*where)
    assert filled[0, 0, 1, 2].tolist() == [0, 1, 1]
    assert filled.sum() == 4 * 5 * 3 - 1


@given(st.floats(0.01, 1), st.integers(1, 400))
@example(0.95, 1)
@example(0.9, 20)
@example(1e-17, 4)
@settings(deadline=None)
def test_centre_crops_round_as_published(part: float, valid: int) -> None:
    kept = num_kept((part,), torch.tensor([valid]))
    margin = int((1 - part) * valid / 2)
    assert kept.item() == (valid - 2 * margin or 2)
    cut = draw(View(crop=(part,)), torch.tensor([valid]), None)
    assert cut.length.equal(kept)
    assert cut.start.item() == (valid - kept.item()) // 2
    assert cut.angles is None


@given(st.lists(st.integers(1, 400), min_size=1, max_size=30), st.integers(0, 1000))
@settings(deadline=None)
def test_random_crops_lie_in_the_valid_part(lengths: list[int], seed: int) -> None:
    valid = torch.tensor(lengths)
    cut = draw(View(crop=(0.5, 1.0)), valid, torch.Generator().manual_seed(seed))
    assert (cut.start >= 0).all()
    assert (cut.start + cut.length <= valid).all()
    assert (cut.length >= valid.clamp(max=MIN_FRAMES)).all()
    assert (cut.length >= valid // 2).all()


def test_random_crops_use_their_whole_range() -> None:
    valid = torch.full((4000,), 300)
    cut = draw(View(crop=(0.5, 1.0), rotation=0.3), valid, torch.Generator().manual_seed(0))
    assert (int(cut.length.min()), int(cut.length.max())) == (150, 299)
    assert cut.length.double().mean().item() == pytest.approx(225, abs=3)
    room = (300 - cut.length).double()
    assert (cut.start / room.clamp(min=1)).mean().item() == pytest.approx(0.5, abs=0.02)
    assert (cut.start == 300 - cut.length).any()
    assert cut.angles is not None
    assert cut.angles.min(dim=0).values.tolist() == pytest.approx([-0.3] * 3, abs=1e-3)
    assert cut.angles.max(dim=0).values.tolist() == pytest.approx([0.3] * 3, abs=1e-3)
    assert cut.angles.mean(dim=0).tolist() == pytest.approx([0] * 3, abs=0.02)


def test_a_draw_belongs_to_the_global_batch(packed: Packed) -> None:
    """Two and three workers together cut what one would have cut."""
    clips = Clips(packed)
    rows = torch.tensor([8, 3, 7, 5, 6, 4])
    view = View(frames=24, rotation=0.3)
    cut = draw(view, clips.valid[rows], torch.Generator().manual_seed(5))
    again = draw(view, clips.valid[rows], torch.Generator().manual_seed(5))
    assert cut.start.equal(again.start)
    alone = views(clips, rows, view, cut)
    for world_size in (2, 3):
        shares = [
            views(clips, rows.chunk(world_size)[rank], view, cut.part(rank, world_size)) for rank in range(world_size)
        ]
        assert torch.cat(shares).equal(alone)
    for rank, world_size in ((0, 4), (2, 2), (-1, 2)):
        with pytest.raises(ValueError, match="allowed: a divisor"):
            cut.part(rank, world_size)


def test_rotation_is_the_product_of_three() -> None:
    angles = torch.tensor([[0.3, -0.2, 0.1], [0, 0, math.pi / 2], [0, 0, 0]], dtype=torch.float64)
    x = torch.randn(3, 2, 4, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = rotate(x, angles)
    for clip, original, (a, b, c) in zip(found, x, angles.tolist(), strict=True):
        about_x = [[1, 0, 0], [0, math.cos(a), math.sin(a)], [0, -math.sin(a), math.cos(a)]]
        about_y = [[math.cos(b), 0, -math.sin(b)], [0, 1, 0], [math.sin(b), 0, math.cos(b)]]
        about_z = [[math.cos(c), math.sin(c), 0], [-math.sin(c), math.cos(c), 0], [0, 0, 1]]
        matrix = torch.tensor(np.array(about_z) @ np.array(about_y) @ np.array(about_x))
        torch.testing.assert_close(clip, (matrix @ original[..., None])[..., 0])
    assert found[2].equal(x[2])


def test_rotation_is_as_precise_under_autocast() -> None:
    x = torch.randn(1, 2, 4, 5, 3, generator=torch.Generator().manual_seed(0))
    angles = torch.tensor([[0.3, -0.2, 0.1]], dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = rotate(x, angles)
    assert found.equal(rotate(x, angles))
    torch.testing.assert_close(found.double(), rotate(x.double(), angles), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"frames": 0}, "View.frames is 0"),
        ({"crop": ()}, r"View.crop is \(\); allowed: one number in \(0, 1\], or two that ascend"),
        ({"crop": (0.0,)}, "View.crop"),
        ({"crop": (1.1,)}, "View.crop"),
        ({"crop": (1.0, 0.5)}, "View.crop"),
        ({"crop": (0.1, 0.5, 1.0)}, "View.crop"),
        ({"rotation": -0.1}, "View.rotation is -0.1; allowed: from 0 to pi"),
    ],
)
def test_impossible_views_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        View(**fields)


def test_random_views_need_a_generator_on_the_cpu() -> None:
    valid = torch.tensor([100])
    for view in (View(), View(crop=(0.9,), rotation=0.1)):
        with pytest.raises(ValueError, match="allowed: a generator on the CPU, or a fixed view"):
            draw(view, valid, None)
    with pytest.raises(ValueError, match="without draws"):
        num_kept((0.5, 1.0), valid)
    assert draw(View(crop=(0.9,)), valid, None).part(0, 1).length.tolist() == [92]  # int(4.999…) at either end


def test_a_stream_is_taken_of_what_was_cut_and_rotated(packed: Packed) -> None:
    clips, rows = Clips(packed), torch.arange(len(packed.names))
    joints = View(frames=12, crop=(1.0,), rotation=0.3)
    cut = draw(joints, clips.valid, torch.Generator().manual_seed(0))
    x = views(clips, rows, joints, cut)
    motion = views(clips, rows, replace(joints, stream="motion"), cut)
    torch.testing.assert_close(motion[:, :, :-1], x[:, :, 1:] - x[:, :, :-1], rtol=0, atol=0)
    assert not motion[:, :, -1].any()
    absent = ~(x != 0).flatten(2).any(dim=2)
    assert absent.any()
    assert not motion[absent].any()
    with pytest.raises(ValueError, match="bones of 5 joints; allowed: the 25 of kinect-v2-25"):
        views(clips, rows, replace(joints, stream="bone"), cut)


def test_a_bone_is_its_joint_seen_from_where_it_begins() -> None:
    x = torch.randn(3, 2, 4, 17, 3)
    x[1, 1] = 0
    bone = stream_of(x, "bone", "h36m-17")
    torch.testing.assert_close(bone[:, :, :, 3], x[:, :, :, 3] - x[:, :, :, 2], rtol=0, atol=0)
    assert not bone[:, :, :, 0].any(), "the root has no bone"
    assert not bone[1, 1].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("filling", [{}, {"copy_body": True}, {"zero_missing": True}])
def test_a_mapped_store_gives_the_same_bits_as_a_resident_one(
    tmp_path: Path, dtype: torch.dtype, filling: dict[str, bool]
) -> None:
    random = np.random.default_rng(1)
    with Packer(tmp_path / "store", name="x", source="x", num_joints=5) as packer:
        for number, length in enumerate((4, 70, 200)):
            sequence = random.normal(size=(length, 1 + number % 2, 5, 3)).astype(np.float32)
            sequence[-1, -1, 4, 2] = np.nan  # in the row that stands in for what is not there
            packer.append(f"{number}", NtuName(1, 1, 1, 1, 1), sequence)
        packer.finish()
    packed = Packed.open(tmp_path / "store")
    before = (tmp_path / "store" / "joints.npy").read_bytes()
    resident, mapped = (Clips(packed, dtype=dtype, resident=how, **filling) for how in (True, False))
    rows = torch.tensor([0, 1, 2, 2])
    view = View(frames=24, crop=(0.3, 1.0))
    cut = draw(view, resident.valid[rows], torch.Generator().manual_seed(0))
    x, y = (views(clips, rows, view, cut) for clips in (resident, mapped))
    torch.testing.assert_close(x, y, rtol=0, atol=0, equal_nan=True)
    assert y.dtype == dtype
    assert y.isnan().any() == ("zero_missing" not in filling)
    assert (tmp_path / "store" / "joints.npy").read_bytes() == before


def test_a_store_is_resident_where_it_fits(packed: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Clips(packed).is_resident
    monkeypatch.setattr("stars.data.batches._RESIDENT_BYTES", 1000)
    assert not Clips(packed).is_resident


class Doubled(Augmentation):
    """Every sample's coordinates times one plus its own draw."""

    def draw(self, batch_size: int, frames: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"factor": torch.rand(batch_size, generator=generator, dtype=torch.float64)}

    def apply(self, x: Tensor, draws: Mapping[str, Tensor]) -> Tensor:
        return x * (1 + draws["factor"].to(x.dtype)).view(-1, 1, 1, 1, 1)


def test_augmentations_follow_the_rotation_and_belong_to_the_global_batch(packed: Packed) -> None:
    clips, rows = Clips(packed), torch.arange(8)
    plain = View(frames=24, crop=(0.5, 1.0), rotation=0.3)
    view = replace(plain, augmentations=(Doubled(), Doubled()))
    assert replace(View(crop=(1.0,)), augmentations=(Doubled(),)).is_random
    cut = draw(view, clips.valid[rows], torch.Generator().manual_seed(0))
    first, second = (drawn["factor"] for drawn in cut.draws)
    assert not torch.equal(first, second)
    x = views(clips, rows, view, cut)
    factors = ((1 + first) * (1 + second)).to(x.dtype).view(-1, 1, 1, 1, 1)
    torch.testing.assert_close(x, views(clips, rows, plain, replace(cut, draws=())) * factors)
    halves = [views(clips, rows[4 * rank : 4 * rank + 4], view, cut.part(rank, 2)) for rank in range(2)]
    torch.testing.assert_close(torch.cat(halves), x, rtol=0, atol=0)
