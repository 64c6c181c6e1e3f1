"""The frozen half's output: the same as computing it, shared, and no more than that."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stars.data.batches import Clips, View, draw, views
from stars.data.dataset import split
from stars.data.packed import Packed
from stars.encoders import load_encoder
from stars.execute import realise
from stars.frozen import FrozenHalf, StoredHalf
from stars.model.halves import lower_half
from stars.stage import decode, encode, fingerprint, needs, upstream
from stars.strategies.dino import DINO
from stars.strategies.moco import MoCo
from stars.strategies.strategy import Strategy
from stars.tune import Tune
from tests.training import Tiny, apart, output, precise

WHOLE = View(frames=16, crop=(1.0,))


def tuning(tiny: Tiny, **changed: object) -> Tune:
    return replace(precise(tiny.recipe).stage2, view=WHOLE, **changed)  # type: ignore[arg-type]


def shared(tune: Tune) -> Tune:
    return replace(tune, share_frozen_half=True)


def test_a_batch_between_the_halves_is_the_computed_one(tiny: Tiny, tmp_path: Path) -> None:
    workplace, tune = tiny.workplace(tmp_path), shared(tuning(tiny))
    (half,) = tune.implied().values()
    assert isinstance(half, FrozenHalf)
    assert realise(half, workplace).status == "finished"
    packed = Packed.open(tiny.packed)
    rows = torch.from_numpy(split(tune.data, packed).train)[torch.randperm(24)[:10]]
    clips = Clips(packed, dtype=torch.float64)
    x = views(clips, rows, WHOLE, draw(WHOLE, clips.valid[rows], None))
    encoder = load_encoder(workplace.store.output(tune.start), tune.start.encoder_shape(), x.device, x.dtype)
    computed = lower_half(encoder, x, half.blocks)
    found = StoredHalf(workplace.store.output(half), x.device).halfway(rows)
    torch.testing.assert_close(
        found.tokens[found.row_of_body], computed.tokens[computed.row_of_body], rtol=1e-10, atol=1e-12
    )
    assert len(found.tokens) <= len(computed.tokens)


@pytest.mark.parametrize(
    "strategy",
    [None, MoCo(queue_size=20, hidden=32), DINO(outputs=8, momentum=0.9)],
    ids=["nnclr", "moco", "dino"],
)
def test_tuning_above_it_gives_the_same_numbers(tiny: Tiny, tmp_path: Path, strategy: Strategy | None) -> None:
    workplace = tiny.workplace(tmp_path)
    tune = tuning(tiny, **({} if strategy is None else {"strategy": strategy}))
    for one in (tune, shared(tune)):
        assert realise(one, workplace).status == "finished"
    ours, theirs = output(workplace.store, shared(tune)), output(workplace.store, tune)
    assert apart(ours, theirs) < 1e-6
    untouched = load_file(workplace.store.output(tune.start) / "encoder.safetensors")
    assert torch.equal(ours["encoder/blocks.0.attn.qkv.weight"], untouched["blocks.0.attn.qkv.weight"])


def test_it_is_shared_by_all_tunings_that_may(tiny: Tiny) -> None:
    some = [shared(tuning(tiny, layer_decay=decay, seed=seed)) for decay in (0.2, 0.5) for seed in range(3)]
    halves = [stage for stage in upstream(*some) if isinstance(stage, FrozenHalf)]
    assert len(halves) == 1
    assert needs(some[0]) == {"start": some[0].start, "frozen_half": halves[0]}
    assert halves[0].blocks == 1
    assert decode(encode(some[0])) == some[0]
    assert fingerprint(some[0]) != fingerprint(tuning(tiny, layer_decay=0.2))
    assert needs(tuning(tiny)) == {"start": some[0].start}


def test_a_sample_outside_the_training_part_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    workplace, tune = tiny.workplace(tmp_path), shared(tuning(tiny))
    (half,) = tune.implied().values()
    realise(half, workplace)
    places = np.load(workplace.store.output(half) / "places.npy")
    test = split(tune.data, Packed.open(tiny.packed)).measured
    assert (places[test] == -1).all()
    with pytest.raises(ValueError, match="a sample has no frozen half"):
        StoredHalf(workplace.store.output(half), torch.device("cpu")).halfway(torch.from_numpy(test[:2]))


def test_what_changes_is_computed_for_every_batch(tiny: Tiny) -> None:
    changing = [
        tiny.recipe.stage2,
        tuning(tiny, tuned_blocks=2),
        tuning(tiny, strategy=DINO(num_locals=1, local_frames=8)),
    ]
    for tune in changing:
        assert not shared(tune).implied()


def test_impossible_halves_are_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match=r"FrozenHalf.view is View.*; allowed: one without random crop"):
        FrozenHalf(start=tiny.recipe.stage1, data=tiny.data, view=View(frames=16), blocks=1)
    with pytest.raises(ValueError, match=r"FrozenHalf.blocks is 3; allowed: 1 to 2"):
        FrozenHalf(start=tiny.recipe.stage1, data=tiny.data, view=WHOLE, blocks=3)
