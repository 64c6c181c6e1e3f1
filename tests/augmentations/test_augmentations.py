"""Each augmentation against a slow transcription for one sample at a time, in numpy, and what each of them refuses."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from stars.augmentations import warp
from stars.augmentations.augmentation import Augmentation, augment
from stars.augmentations.axis_mask import AxisMask
from stars.augmentations.blur import GaussianBlur
from stars.augmentations.flip import SpatialFlip
from stars.augmentations.noise import GaussianNoise, normal
from stars.augmentations.reverse import TimeReversal
from stars.augmentations.rotation import Rotation
from stars.augmentations.shear import Shear
from stars.augmentations.warp import TimeWarp, warped

Draws = Mapping[str, np.ndarray]
Slowly = Callable[[Any, np.ndarray, Draws], np.ndarray]
BATCH, FRAMES = 6, 11


def clips(batch_size: int = BATCH, frames: int = FRAMES) -> Tensor:
    return torch.randn(batch_size, 2, frames, 25, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def flip_slowly(settings: SpatialFlip, x: np.ndarray, draws: Draws) -> np.ndarray:
    """The published permutation, written out."""
    order = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 20, 23, 24, 21, 22]
    y = x[:, :, order].copy()
    y[..., 0] = -y[..., 0]
    return y if draws["dice"] < settings.probability else x


def rotation_slowly(settings: Rotation, x: np.ndarray, draws: Draws) -> np.ndarray:
    y = x.copy()
    for axis, angle in enumerate(draws["angles"]):
        c, s = math.cos(angle), math.sin(angle)
        matrix = [
            [[1, 0, 0], [0, c, s], [0, -s, c]],
            [[c, 0, -s], [0, 1, 0], [s, 0, c]],
            [[c, s, 0], [-s, c, 0], [0, 0, 1]],
        ]
        for place in np.ndindex(y.shape[:-1]):
            y[place] = np.array(matrix[axis]) @ y[place]
    return y


def axis_mask_slowly(settings: AxisMask, x: np.ndarray, draws: Draws) -> np.ndarray:
    y = x.copy()
    if draws["dice"] < settings.probability:
        y[..., draws["axis"]] = 0
    return y


def shear_slowly(settings: Shear, x: np.ndarray, draws: Draws) -> np.ndarray:
    s, t = draws["factors"]
    y = x.copy()
    for body, frame, joint in np.ndindex(x.shape[:-1]):
        a, b, c = x[body, frame, joint]
        if joint != settings.kept_joint:
            y[body, frame, joint] = [a + s[0] * b + t[0] * c, s[1] * a + b + t[1] * c, s[2] * a + t[2] * b + c]
    return y


def noise_slowly(settings: GaussianNoise, x: np.ndarray, draws: Draws) -> np.ndarray:
    """SplitMix64 in Python's integers, as its authors print it."""
    state, words, limit = int(draws["key"]), [], 2**64
    for _ in range(x.size):
        state = (state + 0x9E3779B97F4A7C15) % limit
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % limit
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % limit
        words.append((z ^ (z >> 31)) >> 12)
    noise = stats.norm.ppf((np.array(words) + 0.5) / 2**52).reshape(x.shape)
    return x + settings.deviation * noise if draws["dice"] < settings.probability else x


def blur_slowly(settings: GaussianBlur, x: np.ndarray, draws: Draws) -> np.ndarray:
    if draws["dice"] >= settings.probability:
        return x
    y = np.zeros_like(x)
    frames, reach = x.shape[1], settings.kernel // 2
    for frame in range(frames):
        total = 0.0
        for other in range(max(0, frame - reach), min(frames, frame + reach + 1)):
            weight = math.exp(-((other - frame) ** 2) / (2 * draws["sigma"] ** 2))
            y[:, frame] += weight * x[:, other]
            total += weight
        if settings.normalised:
            y[:, frame] /= total
    return y


def reversal_slowly(settings: TimeReversal, x: np.ndarray, draws: Draws) -> np.ndarray:
    frames = list(range(x.shape[1]))
    return x[:, frames[::-1]] if draws["dice"] < settings.probability else x


def warp_slowly(settings: TimeWarp, x: np.ndarray, draws: Draws) -> np.ndarray:
    y = x.copy()
    if draws["dice"] < settings.probability:
        for frame, source in enumerate(draws["source"]):
            y[:, frame] = x[:, source]
    return y


@pytest.mark.parametrize(
    ("augmentation", "slowly"),
    [
        (SpatialFlip(), flip_slowly),
        (Rotation(), rotation_slowly),
        (Rotation(largest=3.0, other=2.0, both_signs=True), rotation_slowly),
        (AxisMask(), axis_mask_slowly),
        (Shear(), shear_slowly),
        (Shear(amplitude=2.0, kept_joint=None), shear_slowly),
        (GaussianNoise(deviation=0.3), noise_slowly),
        (GaussianBlur(), blur_slowly),
        (GaussianBlur(kernel=3, sigma=(2.0, 9.0), normalised=True), blur_slowly),
        (GaussianBlur(kernel=41), blur_slowly),
        (TimeReversal(), reversal_slowly),
        (TimeWarp(probability=0.5), warp_slowly),
    ],
    ids=repr,
)
def test_a_batch_is_what_each_sample_becomes_slowly(augmentation: Augmentation, slowly: Slowly) -> None:
    x = clips()
    draws = augmentation.draw(BATCH, FRAMES, torch.Generator().manual_seed(4))
    if "dice" in draws:
        assert 0 < (draws["dice"] < 0.5).sum() < BATCH
    found = augmentation.apply(x, draws)
    for sample in range(BATCH):
        own = {name: drawn[sample].numpy() for name, drawn in draws.items()}
        np.testing.assert_allclose(found[sample], slowly(augmentation, x[sample].numpy(), own), rtol=0, atol=1e-12)


def test_augmentations_follow_one_another_in_order() -> None:
    x = clips()
    chain = (Rotation(largest=1.0), AxisMask(probability=1.0), Shear())
    draws = [each.draw(BATCH, FRAMES, torch.Generator().manual_seed(7)) for each in chain]
    expected = x
    for each, drawn in zip(chain, draws, strict=True):
        expected = each.apply(expected, drawn)
    assert torch.equal(augment(x, chain, draws), expected)
    assert not torch.equal(augment(x, chain[::-1], draws[::-1]), expected)
    assert augment(x, (), ()) is x
    with pytest.raises(ValueError, match="zip"):
        augment(x, chain, draws[:2])


def test_a_body_that_is_there_may_have_empty_frames() -> None:
    """A body counts as absent only if it never appears; its missing frames are noisy as in the published code."""
    x = clips(2, 4)
    x[0, 1] = 0
    x[1, 1, :3] = 0
    noise = GaussianNoise(probability=1.0)
    y = augment(x, [noise], [noise.draw(2, 4, torch.Generator().manual_seed(0))])
    assert not y[0, 1].any()
    assert y[1, 1].all()


def test_angles_lie_within_their_limits() -> None:
    generator = torch.Generator().manual_seed(0)
    angles = Rotation().draw(3000, 1, generator)["angles"].rad2deg()
    assert angles.min() >= 0
    assert 29 < angles.max() <= 30
    main = angles.argmax(dim=1)[angles.amax(dim=1) > 1]
    assert (main.bincount() / len(main)).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)
    assert ((angles > 1).sum(dim=1) <= 1).all()
    both = Rotation(largest=0.5, other=0.5, both_signs=True).draw(3000, 1, generator)["angles"]
    assert stats.kstest(both.flatten().numpy(), stats.uniform(-0.5, 1).cdf).pvalue > 0.01


def test_shears_axes_and_widths_are_drawn_uniformly() -> None:
    generator = torch.Generator().manual_seed(0)
    factors = Shear(amplitude=0.2).draw(2000, 1, generator)["factors"]
    assert stats.kstest(factors.flatten().numpy(), stats.uniform(-0.2, 0.4).cdf).pvalue > 0.01
    sigma = GaussianBlur().draw(2000, 1, generator)["sigma"]
    assert stats.kstest(sigma.numpy(), stats.uniform(0.1, 1.9).cdf).pvalue > 0.01
    axis = AxisMask().draw(3000, 1, generator)["axis"]
    assert (axis.bincount() / 3000).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_noise_is_normal_and_independent() -> None:
    """Within a sample, between samples of random keys, and between samples of neighbouring ones."""
    random = GaussianNoise().draw(200, 1, torch.Generator().manual_seed(0))["key"]
    for keys in (random, torch.arange(200)):
        noise = normal(keys, 1000)
        assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
        for one, other in ((noise[:-1], noise[1:]), (noise[:, :-1], noise[:, 1:])):
            assert abs(stats.pearsonr(one.flatten().numpy(), other.flatten().numpy()).statistic) < 0.01
    assert normal(torch.tensor([2**63 - 1, 0]), 500_000).isfinite().all()


def test_a_normalised_blur_leaves_what_rests_and_the_published_one_enlarges_it() -> None:
    x = clips(2)[:, :, :1].expand(-1, -1, 30, -1, -1)
    blurs = [GaussianBlur(probability=1.0, sigma=(2.0, 2.0), normalised=normalised) for normalised in (True, False)]
    rest, larger = (blur.apply(x, blur.draw(2, 30, torch.Generator())) for blur in blurs)
    torch.testing.assert_close(rest, x)
    torch.testing.assert_close(larger[:, :, 15], 5.012 * x[:, :, 15], rtol=1e-3, atol=0)
    assert (larger[:, :, 0].abs() < larger[:, :, 15].abs()).all()


@pytest.mark.parametrize("frames", [2, 3, 16, 17, 60, 120])
def test_a_warp_repeats_frames_as_the_published_code(frames: int) -> None:
    """Counts from rounding, then the smallest lots among the frames that may lose or gain one."""
    half_waves = torch.arange(1, 17).repeat(2)
    cosine = torch.arange(32) >= 16
    lots = torch.rand(32, frames, generator=torch.Generator().manual_seed(frames), dtype=torch.float64)
    found = warped(half_waves, cosine, lots)
    for sample, lot in enumerate(lots.numpy()):
        phase = np.linspace(0, int(half_waves[sample]) * np.pi, frames)
        wave = np.abs(np.cos(phase) if cosine[sample] else np.sin(phase))
        counts = np.round(wave / wave.sum() * frames).astype(int)
        surplus = counts.sum() - frames
        eligible = np.flatnonzero(counts > 0 if surplus > 0 else counts == 0)
        chosen = eligible[np.argsort(lot[eligible])[: abs(surplus)]]
        assert len(chosen) == abs(surplus)
        counts[chosen] -= np.sign(surplus)
        np.testing.assert_array_equal(found[sample], np.repeat(np.arange(frames), counts))


def test_both_waves_and_all_their_numbers_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Tensor, ...]] = []

    def record(*given: Tensor) -> Tensor:
        drawn.append(given)
        return warped(*given)

    monkeypatch.setattr(warp, "warped", record)
    TimeWarp(half_waves=(2, 5)).draw(4000, 3, torch.Generator().manual_seed(0))
    [(half_waves, cosine, lots)] = drawn
    kinds = (half_waves - 2) * 2 + cosine
    assert (kinds.bincount(minlength=8) / 4000).tolist() == pytest.approx([1 / 8] * 8, abs=0.03)
    assert stats.kstest(lots.flatten().numpy(), stats.uniform.cdf).pvalue > 0.01


@pytest.mark.parametrize(
    ("cls", "setting", "message"),
    [
        (SpatialFlip, {"layout": "coco"}, r"layout is 'coco'; allowed: kinect-v2-25"),
        (Rotation, {"largest": 4.0}, r"Rotation\.largest is 4\.0; allowed: from 0 to pi"),
        (Rotation, {"other": -0.1}, r"Rotation\.other is -0\.1; allowed: from 0 to pi"),
        (Shear, {"amplitude": -1.0}, r"Shear\.amplitude is -1\.0; allowed: 0 or more"),
        (Shear, {"kept_joint": -1}, r"Shear\.kept_joint is -1; allowed: 0 or more, or None"),
        (GaussianNoise, {"deviation": -1.0}, r"GaussianNoise\.deviation is -1\.0; allowed: 0 or more"),
        (GaussianBlur, {"kernel": 4}, r"GaussianBlur\.kernel is 4; allowed: an odd number"),
        (GaussianBlur, {"kernel": -1}, r"GaussianBlur\.kernel is -1; allowed: an odd number"),
        (GaussianBlur, {"sigma": (0.0, 1.0)}, r"GaussianBlur\.sigma is \(0\.0, 1\.0\); allowed: two positive"),
        (GaussianBlur, {"sigma": (2.0, 1.0)}, r"GaussianBlur\.sigma is \(2\.0, 1\.0\); allowed: .* ascend"),
        (TimeWarp, {"half_waves": (0, 3)}, r"TimeWarp\.half_waves is \(0, 3\); allowed: two whole numbers from 1"),
        (TimeWarp, {"half_waves": (3, 2)}, r"TimeWarp\.half_waves is \(3, 2\); allowed: .* ascend"),
    ],
)
def test_settings_without_meaning_are_refused(cls: type[Any], setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cls(**setting)


def test_a_batch_that_does_not_fit_is_refused() -> None:
    x = clips()[:, :, :, :17]
    generator = torch.Generator()
    for augmentation, message in (
        (SpatialFlip(), r"SpatialFlip\.layout is 'kinect-v2-25' \(25 joints\); allowed: a layout of 17 joints"),
        (Shear(), r"Shear\.kept_joint is 20; allowed: below 17"),
    ):
        with pytest.raises(ValueError, match=message):
            augmentation.apply(x, augmentation.draw(BATCH, FRAMES, generator))


def test_other_layouts_have_their_own_mirror() -> None:
    """OpenPose counts the right side first; its nose stays."""
    x = clips()[:, :, :, :18]
    flip = SpatialFlip(probability=1.0, layout="openpose-18")
    y = flip.apply(x, flip.draw(BATCH, FRAMES, torch.Generator()))
    torch.testing.assert_close(y[:, :, :, 2, 0], -x[:, :, :, 5, 0])
    torch.testing.assert_close(y[:, :, :, 0, 1:], x[:, :, :, 0, 1:])
