"""What every augmentation promises, run on each that the package holds: a new file is found, and checked, by itself."""

import importlib
import pkgutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import pytest
import torch
from torch import Tensor

import stars.augmentations
from stars.augmentations import augmentation as base
from stars.augmentations.augmentation import Augmentation, Occasional, augment
from stars.stage import decode, encode

BATCH, FRAMES = 12, 20
ABSENT = (slice(1, None, 2), 1)  # every second sample is of one person


def descendants(cls: type[Augmentation]) -> list[type[Augmentation]]:
    return [found for child in cls.__subclasses__() for found in (child, *descendants(child))]


for _module in pkgutil.walk_packages(stars.augmentations.__path__, "stars.augmentations."):
    importlib.import_module(_module.name)
ALL = [cls for cls in descendants(Augmentation) if cls.__module__.startswith("stars.") and cls is not Occasional]
OCCASIONAL = [cls for cls in ALL if issubclass(cls, Occasional)]

every = pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
every_occasional = pytest.mark.parametrize("cls", OCCASIONAL, ids=lambda cls: cls.__name__)


def clips(frames: int = FRAMES, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(BATCH, 2, frames, 25, 3, generator=generator, dtype=torch.float64).to(dtype)
    x[ABSENT] = 0
    return x


def draws_of(augmentation: Augmentation, frames: int = FRAMES, seed: int = 5) -> Mapping[str, Tensor]:
    return augmentation.draw(BATCH, frames, torch.Generator().manual_seed(seed))


def augmented(augmentation: Augmentation, x: Tensor, seed: int = 5) -> Tensor:
    return augment(x, [augmentation], [draws_of(augmentation, x.shape[2], seed)])


def test_all_files_hold_augmentations() -> None:
    modules = {module.name for module in pkgutil.walk_packages(stars.augmentations.__path__, "stars.augmentations.")}
    assert {cls.__module__ for cls in ALL} | {base.__name__} == modules
    assert len(OCCASIONAL) < len(ALL)


@every
@pytest.mark.parametrize("frames", [1, 2, FRAMES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_and_dtype_stay_and_all_is_finite(cls: type[Augmentation], frames: int, dtype: torch.dtype) -> None:
    x = clips(frames, dtype)
    given = x.clone()
    y = augmented(cls(), x)
    assert y.shape == x.shape
    assert y.dtype == dtype
    assert y.isfinite().all()
    assert not y.requires_grad
    assert torch.equal(x, given), "the input was changed"


@every
def test_absent_bodies_stay_exactly_zero(cls: type[Augmentation]) -> None:
    y = augmented(cls(), clips())
    assert not y[ABSENT].any()
    assert not y[ABSENT].signbit().any()
    assert y[:, 0].any(dim=3).any(dim=2).any(dim=1).all()


@every
def test_a_worker_that_slices_computes_its_part_of_the_whole(cls: type[Augmentation]) -> None:
    augmentation, x = cls(), clips(dtype=torch.float64)
    draws = draws_of(augmentation)
    assert all(len(drawn) == BATCH and drawn.device.type == "cpu" for drawn in draws.values())
    whole = augmentation.apply(x, draws)
    for world_size in (2, 3, BATCH):
        parts = [
            augmentation.apply(share, {name: drawn.chunk(world_size)[rank] for name, drawn in draws.items()})
            for rank, share in enumerate(x.chunk(world_size))
        ]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-12)


@every
def test_samples_differ_in_their_draws(cls: type[Augmentation]) -> None:
    for drawn in draws_of(cls()).values():
        assert (drawn != drawn[:1]).any()


@every
def test_the_generator_alone_decides(cls: type[Augmentation]) -> None:
    before = torch.get_rng_state()
    first, again, other = (augmented(cls(), clips(), seed) for seed in (5, 5, 6))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@every
def test_both_precisions_draw_and_do_the_same(cls: type[Augmentation]) -> None:
    single, double = augmented(cls(), clips()), augmented(cls(), clips().double())
    torch.testing.assert_close(single.double(), double, rtol=1e-6, atol=1e-6)


@every
def test_mixed_precision_does_not_touch_coordinates(cls: type[Augmentation]) -> None:
    plain = augmented(cls(), clips())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = augmented(cls(), clips())
    assert torch.equal(mixed, plain)


@every
def test_draws_are_moved_to_the_device_of_the_batch(cls: type[Augmentation], monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device refuses tensors of another one; that autocast does not know it is no matter here."""
    monkeypatch.setattr(torch, "autocast", lambda device, enabled: torch.no_grad())
    x = clips().to("meta")
    y = augmented(cls(), x)
    assert y.device == x.device
    assert y.shape == x.shape


@every_occasional
def test_never_and_always(cls: type[Any]) -> None:
    x, never, always = clips(), cls(probability=0.0), cls(probability=1.0)
    assert torch.equal(augmented(never, x), x)
    lowest = {**draws_of(never), "dice": torch.zeros(BATCH, dtype=torch.float64)}
    assert torch.equal(never.apply(x, lowest), x)
    draws = draws_of(always)
    y = always.apply(x, draws)
    assert torch.equal(y, always.change(x, draws))
    assert (y != x)[:, 0].flatten(1).any(dim=1).sum() > BATCH / 2


@every_occasional
def test_the_part_that_is_changed_is_the_probability(cls: type[Any]) -> None:
    dice = cls(probability=0.3).draw(20_000, 2, torch.Generator().manual_seed(0))["dice"]
    assert (dice < 0.3).double().mean().item() == pytest.approx(0.3, abs=0.02)
    some = cls(probability=0.3)
    draws = draws_of(some)
    x = clips()
    kept = draws["dice"] >= 0.3
    assert 0 < kept.sum() < BATCH
    assert torch.equal(some.apply(x, draws)[kept], x[kept])


@every_occasional
@pytest.mark.parametrize("probability", [-0.1, 1.1])
def test_what_is_no_probability_is_refused(cls: type[Any], probability: float) -> None:
    with pytest.raises(ValueError, match=rf"{cls.__name__}\.probability is {probability}; allowed: from 0 to 1"):
        cls(probability=probability)


def contents(annotation: Any, default: Any) -> list[Any]:
    """Other contents of a field, whatever it means; some may be refused."""
    if isinstance(default, bool):
        return [not default]
    if isinstance(default, int):
        return [default // 4, default + 2, *([None] if type(None) in get_args(annotation) else [])]
    if isinstance(default, float):
        return [default / 2, default * 2]
    if isinstance(default, tuple):
        return [tuple(member * 2 for member in default)]
    return ["kinect-v1-20"]


def variations(cls: type[Any], name: str) -> list[Any]:
    """Values that differ from the plain one in this field alone."""
    found = []
    for content in contents(get_type_hints(cls)[name], getattr(cls(), name)):
        with suppress(ValueError):
            found.append(cls(**{name: content}))
    return found


every_field = pytest.mark.parametrize(
    ("cls", "name"),
    [(cls, item.name) for cls in ALL for item in fields(cls)],
    ids=lambda given: getattr(given, "__name__", given),
)


@every_field
def test_every_field_has_an_effect(cls: type[Any], name: str) -> None:
    """Another content changes the result, or does not fit the batch; that the value itself refuses is no effect."""
    x = clips(dtype=torch.float64)
    plain = augmented(cls(), x)
    effects = []
    for other in variations(cls, name):
        try:
            effects.append(not torch.equal(augmented(other, x), plain))
        except ValueError as problem:
            effects.append(f"{cls.__name__}.{name} is " in str(problem))
    assert effects
    assert all(effects)


@every_field
def test_the_value_survives_its_canonical_form(cls: type[Any], name: str) -> None:
    assert decode(encode(cls())) == cls()
    for other in variations(cls, name):
        assert decode(encode(other)) == other
        assert encode(other) != encode(cls())
