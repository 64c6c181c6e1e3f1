"""The augmentations against the published implementation, with its draws: g_augmentations."""

import re
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from stars.augmentations import noise
from stars.augmentations.augmentation import Augmentation
from stars.augmentations.axis_mask import AxisMask
from stars.augmentations.blur import GaussianBlur
from stars.augmentations.flip import SpatialFlip
from stars.augmentations.noise import GaussianNoise
from stars.augmentations.reverse import TimeReversal
from stars.augmentations.rotation import Rotation
from stars.augmentations.shear import Shear
from stars.augmentations.warp import TimeWarp, warped
from tests.conformance.vectors import load

ARRAYS, META = load("g_augmentations")
TOLERANCE = float(META["tolerance"].split()[-1])


def batched(name: str) -> Tensor:
    """A stored (C, T, V, M) array as a batch of one."""
    return torch.from_numpy(ARRAYS[name]).permute(3, 1, 2, 0)[None].contiguous()


def cases(kind: str) -> list[str]:
    """The runs of one augmentation, in order."""
    found = [key.removesuffix("/y") for key in ARRAYS if re.fullmatch(rf"{kind}_?\d+/y", key)]
    assert found, f"no vectors of {kind}"
    return found


def drawn(kind: str) -> list[list[float]]:
    return [ARRAYS[f"{case}/draws"].tolist() for case in cases(kind)]


def compare(kind: str, augmentation: Augmentation, draws: Mapping[str, Tensor]) -> None:
    """All runs as one batch, in both precisions; the input stays as it was."""
    runs = cases(kind)
    expected = torch.cat([batched(f"{run}/y") for run in runs])
    x = batched("x").repeat(len(runs), 1, 1, 1, 1)
    for dtype in (torch.float32, torch.float64):
        given = x.to(dtype)
        y = augmentation.apply(given, draws)
        assert y.dtype == dtype
        torch.testing.assert_close(y.double(), expected.double(), rtol=0, atol=TOLERANCE)
        assert torch.equal(given, x.to(dtype))


def dice(kind: str, place: int = 0) -> Tensor:
    return torch.tensor([draws[place] for draws in drawn(kind)], dtype=torch.float64)


def test_every_array_belongs_to_a_test_below() -> None:
    kinds = ("flip", "rotate", "shear", "noise", "blur64", "axis", "tflip", "warp")
    runs = {run for kind in kinds for run in cases(kind)}
    assert {key.partition("/")[0] for key in ARRAYS} == runs | {"x", "shear_input_after"}


@pytest.mark.parametrize(("kind", "augmentation"), [("flip", SpatialFlip()), ("tflip", TimeReversal())])
def test_flips_in_space_and_time(kind: str, augmentation: Augmentation) -> None:
    compare(kind, augmentation, {"dice": dice(kind)})


def test_axis_mask() -> None:
    """The published code draws the axis only where the dice say so."""
    axis = torch.tensor([int(draws[1]) if len(draws) > 1 else 0 for draws in drawn("axis")])
    compare("axis", AxisMask(), {"dice": dice("axis"), "axis": axis})


def test_rotation() -> None:
    """The draws are the main axis and three angles in degrees."""
    angles = torch.tensor([draws[1:] for draws in drawn("rotate")], dtype=torch.float64).deg2rad()
    limits = torch.full_like(angles, Rotation().other)
    limits[torch.arange(len(limits)), dice("rotate").long()] = Rotation().largest
    assert ((angles >= 0) & (angles <= limits)).all()
    compare("rotate", Rotation(), {"angles": angles})


def test_shear_without_its_effect_on_the_input() -> None:
    """What the published code leaves of the joint in its input, zeros, is the defect that is not repeated."""
    factors = torch.tensor(drawn("shear"), dtype=torch.float64).view(-1, 2, 3)
    compare("shear", Shear(), {"factors": factors})
    kept = Shear().kept_joint
    assert kept is not None
    assert not ARRAYS["shear_input_after"].any()
    assert batched("x")[:, :, :, kept].any(), "the input of the next view keeps its joint"


def test_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise itself is injected where ours would be computed from the keys."""
    stored = [f"{run}/array_draw" for run in cases("noise")]
    arrays = [batched(name) if name in ARRAYS else torch.zeros_like(batched("x")) for name in stored]
    injected = torch.cat(arrays).double() / GaussianNoise().deviation
    monkeypatch.setattr(noise, "normal", lambda keys, count: injected.view(len(keys), count))
    compare("noise", GaussianNoise(), {"dice": dice("noise"), "key": torch.arange(len(injected))})
    assert any(name in ARRAYS for name in stored)


def test_blur() -> None:
    """Sigma is drawn before the dice; on single precision the published code stops with an error."""
    compare("blur64", GaussianBlur(), {"dice": dice("blur64", 1), "sigma": dice("blur64", 0)})


def test_warp() -> None:
    """Where rounding leaves too many frames or too few, the lot falls on the frames that the published run chose."""
    x, frames = batched("x"), batched("x").shape[2]
    lots = []
    for run, (count, crest) in zip(cases("warp"), drawn("warp"), strict=True):
        y = batched(f"{run}/y")
        distance = (x[:, :, None] - y[:, :, :, None]).abs().amax(dim=(0, 1, 4, 5))
        source = distance.argmin(dim=1).numpy()
        phase = np.linspace(0, count * np.pi, frames)
        wave = np.abs(np.cos(phase) if crest else np.sin(phase))
        rounded = np.round(wave / wave.sum() * frames)
        lots.append(torch.from_numpy((np.bincount(source, minlength=frames) == rounded).astype(np.float64)))
    half_waves, cosine = dice("warp").long(), dice("warp", 1).bool()
    draws = {
        "dice": torch.zeros(len(lots), dtype=torch.float64),
        "source": warped(half_waves, cosine, torch.stack(lots)),
    }
    compare("warp", TimeWarp(), draws)
