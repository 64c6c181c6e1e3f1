"""Batches against the published feeder: g_feeder_dataset, and the streams of g_streams_and_temp_embed."""

from typing import get_args

import numpy as np
import pytest
import torch

from stars.data import subsets
from stars.data.batches import Clips, View, draw, views
from stars.data.dataset import Split, describe, split
from stars.data.exchange.npz import import_npz
from stars.data.packed import JOINT_LAYOUT, Packed
from stars.data.streams import Stream, stream_of
from tests.conformance.translate import our_batch
from tests.conformance.vectors import load

FEEDER, FEEDER_META = load("g_feeder_dataset")
SHOWN: dict[Stream, str] = {"joint": "test95", "bone": "bone", "motion": "vel"}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """The published data file, imported."""
    folder = tmp_path_factory.mktemp("feeder")
    x, y = FEEDER["x"].astype(np.float32), FEEDER["y"].astype(np.float64)
    np.savez(folder / "NTU60_XSub.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    import_npz(folder / "NTU60_XSub.npz", folder / "store")
    packed = Packed.open(folder / "store")
    return split(describe(packed), packed)


@pytest.mark.parametrize("stream", get_args(Stream))
def test_the_feeder_gives_every_stream(given: Split, stream: Stream) -> None:
    view = View(frames=FEEDER_META["hyperparameters"]["window"], crop=(0.95,), stream=stream)
    clips, rows = Clips(given.packed), torch.from_numpy(given.train)
    ours = views(clips, rows, view, draw(view, clips.valid[rows], None))
    np.testing.assert_allclose(ours, our_batch(FEEDER[SHOWN[stream]]), atol=2e-6, rtol=0)


def test_labels_count_from_zero(given: Split) -> None:
    for rows in given.parts().values():
        np.testing.assert_array_equal(given.packed.column("action")[rows] - 1, FEEDER["label"])


def test_semi_supervised_subsets_are_the_published_ones() -> None:
    names = [name for name in FEEDER if name.startswith("semi_")]
    assert len(names) == 3
    for name in names:
        number, fraction, seed = name.removeprefix("semi_N").replace("_r", "_").replace("_seed", "_").split("_")
        chosen = subsets.shuffled(int(number), float(fraction), int(seed))
        np.testing.assert_array_equal(chosen, FEEDER[name], err_msg=name)


@pytest.mark.parametrize("stream", get_args(Stream))
def test_stage_two_sees_every_stream(stream: Stream) -> None:
    arrays, _ = load("g_streams_and_temp_embed")
    ours = stream_of(our_batch(arrays["x"]), stream, JOINT_LAYOUT)
    np.testing.assert_allclose(ours, our_batch(arrays[stream]), rtol=1e-5, atol=1e-6)
