"""The data road against the published implementation: h_ntu_chain and h_ntu120_chain (over ntu_raw), h_pku (over
pku_raw), g_crop_resize, g_random_rot.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stars.data.batches import Clips, Cut, View, num_kept, rotate, views
from stars.data.dataset import Data, describe, parts
from stars.data.ntu import motion, parse_name, process
from stars.data.packed import Packed
from stars.data.packing import Packer
from stars.data.pku import prepare_pku, video_of
from stars.data.prepare import prepare_folder
from stars.data.skeleton import Recording, parse
from tests.conformance.vectors import DIRECTORY, load

CHAIN, CHAIN_META = load("h_ntu_chain")
NAMES = [name for name, _ in CHAIN_META["hyperparameters"]["files"]]
CROPS, CROPS_META = load("g_crop_resize")


def recording(name: str) -> Recording:
    return parse((DIRECTORY / "ntu_raw" / f"{name}.skeleton").read_bytes(), name)


@pytest.mark.parametrize("name", NAMES)
def test_text_is_parsed_as_published(name: str) -> None:
    found = recording(name)
    assert found.num_frames == CHAIN[f"{name}/num_frames_raw"]
    assert found.dropped.tolist() == CHAIN[f"{name}/dropped"].tolist()
    assert {f"{name}/body{body.id}/joints" for body in found.bodies} == {
        key for key in CHAIN if key.startswith(f"{name}/body") and key.endswith("/joints")
    }
    for body in found.bodies:
        expected = {part: CHAIN[f"{name}/body{body.id}/{part}"] for part in ("joints", "interval")}
        np.testing.assert_array_equal(body.joints.reshape(-1, 3), expected["joints"])
        np.testing.assert_array_equal(body.interval, expected["interval"])
        if f"{name}/body{body.id}/motion" in CHAIN:
            assert motion(body.joints) == pytest.approx(float(CHAIN[f"{name}/body{body.id}/motion"]), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_sequences_are_denoised_and_translated_as_published(name: str) -> None:
    """The stored denoised sequence is not translated: only its frames and its zeros are the final ones."""
    sequence = process(recording(name))
    denoised = CHAIN[f"{name}/denoised"].reshape(len(sequence), -1, 25, 3)
    assert sequence.shape == denoised.shape
    origin = denoised[(denoised[:, 0] != 0).any(axis=(1, 2)), 0, 1][0]
    there = (denoised != 0).any(axis=(2, 3), keepdims=True)
    np.testing.assert_allclose(sequence, np.where(there, denoised - origin, 0), rtol=0, atol=2e-6)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    out = tmp_path_factory.mktemp("packed") / "store"
    prepare_folder(DIRECTORY / "ntu_raw", out)
    return Packed.open(out)


@pytest.mark.parametrize("data_set", ["NTU60_XSub", "NTU60_XView"])
def test_protocol_rows_hold_the_published_arrays(packed: Packed, data_set: str) -> None:
    assert packed.names == sorted(NAMES)
    protocol: Any = data_set.split("_")[1]
    compare_parts(packed, CHAIN, data_set, describe(packed, protocol=protocol))


@pytest.mark.parametrize("data_set", ["NTU120_XSub", "NTU120_XSet"])
def test_ntu120_differs_by_a_copy_of_the_single_body(packed: Packed, data_set: str) -> None:
    arrays, _ = load("h_ntu120_chain")
    protocol: Any = data_set.split("_")[1]
    compare_parts(packed, arrays, data_set, replace(describe(packed, protocol=protocol), second_body="copy"))


def compare_parts(packed: Packed, arrays: dict[str, np.ndarray], data_set: str, data: Data) -> None:
    """Compare every frame, as a batch holds it, with the published arrays."""
    clips = Clips(packed, **data.filling())
    frames = packed.column("num_frames")
    for part, chosen in zip(("train", "test"), parts(data, packed), strict=True):
        expected = arrays[f"{data_set}/x_{part}"]
        assert len(chosen) == len(expected)
        assert expected.shape[1] == packed.manifest.max_frames
        for row, published in zip(chosen.tolist(), expected, strict=True):
            sequence = every_frame(clips, row, int(frames[row]))
            padded = published.reshape(-1, 2, 25, 3)
            np.testing.assert_allclose(sequence, padded[: frames[row]], rtol=0, atol=2e-6)
            assert not padded[frames[row] :].any()
        labels = arrays[f"{data_set}/y_{part}"].argmax(axis=1) + 1
        assert packed.column("action")[chosen].tolist() == labels.tolist()


def every_frame(clips: Clips, row: int, num_frames: int) -> np.ndarray:
    """A sequence as batches hold it, (frame, body, joint, 3): one frame a cut, so that none is interpolated."""
    ones = torch.ones(num_frames, dtype=torch.long)
    return clips.cut(row * ones, torch.arange(num_frames), ones, 1)[:, :, 0].numpy()


def test_frame_counts_are_the_published_ones(packed: Packed) -> None:
    assert packed.column("num_frames").tolist() == CHAIN["frames_cnt"].tolist()


@pytest.mark.parametrize("protocol", ["XSub", "XView"])
def test_pku_actions_are_cut_as_published(protocol: Any, tmp_path: Path) -> None:
    arrays, meta = load("h_pku")
    order = [Path(name).stem for name in meta["hyperparameters"]["directory_order"]]
    raw = DIRECTORY / "pku_raw"
    prepare_pku("pku1", [raw / "skeleton"], [raw / "label"], raw, tmp_path / "store")
    packed = Packed.open(tmp_path / "store")
    packed.verify()
    data = describe(packed, protocol=protocol)
    clips = Clips(packed, **data.filling())
    frames = packed.column("num_frames")
    for part, chosen in zip(("train", "test"), parts(data, packed), strict=True):
        # Ours stand by name, the published ones as that file system listed the videos.
        rows = sorted(chosen.tolist(), key=lambda row: order.index(video_of(packed.names[row])))
        expected = arrays[f"{protocol}/x_{part}"]
        assert len(rows) == len(expected)
        for row, published in zip(rows, expected, strict=True):
            padded = published.reshape(-1, 2, 25, 3)
            np.testing.assert_array_equal(every_frame(clips, row, frames[row]), padded[: frames[row]])
            assert not padded[frames[row] :].any()
        labels = arrays[f"{protocol}/y_{part}"].argmax(axis=1) + 1
        assert packed.column("action")[rows].tolist() == labels.tolist()


def packed_sequences(out: Path) -> tuple[Packed, list[str]]:
    """The sequences of g_crop_resize, as far as they hold anything, in a packed store."""
    keys = sorted((key for key in CROPS if key.endswith("_data")), key=lambda key: int(key[1 : -len("_data")]))
    with Packer(out, name="crops", source="vectors") as packer:
        for number, key in enumerate(keys):
            name = f"S001C001P001R001A{number + 1:03d}"
            packer.append(name, parse_name(name), CROPS[key].transpose(1, 3, 2, 0))
        packer.finish()
    return Packed.open(out), keys


def test_valid_frames_are_counted_as_published(tmp_path: Path) -> None:
    store, keys = packed_sequences(tmp_path / "store")
    expected = [int(CROPS[key.replace("_data", "_valid")]) for key in keys]
    assert store.column("valid").tolist() == expected


@pytest.mark.parametrize("batched", [True, False])
def test_crops_and_resamples_as_published(tmp_path: Path, batched: bool) -> None:
    store, keys = packed_sequences(tmp_path / "store")
    clips = Clips(store)
    cases = CROPS_META["hyperparameters"]["cases"]
    groups = {(tuple(case["p"]), case["window"]) for case in cases}
    for crop, window in sorted(groups):
        chosen = [case for case in cases if (tuple(case["p"]), case["window"]) == (crop, window)]
        for some in [chosen] if batched else [[case] for case in chosen]:
            numbers = torch.tensor([keys.index(f"s{case['seq']}_data") for case in some])
            view = View(frames=window, crop=tuple(map(float, crop)))
            found = views(clips, numbers, view, recorded_cut(view, clips.valid[numbers], some))
            for sequence, case in zip(found, some, strict=True):
                expected = CROPS[case["key"]].transpose(1, 3, 2, 0)
                every = window // len(expected)  # the file keeps every so-manieth frame of long outputs
                compared = sequence.transpose(0, 1)[::every].numpy()
                np.testing.assert_allclose(compared, expected, rtol=0, atol=2e-6, err_msg=case["key"])


def recorded_cut(view: View, valid: Tensor, cases: list[dict[str, Any]]) -> Cut:
    """The cut that the recorded draws give: a number of [0, 1) for the length, and the start."""
    if len(view.crop) == 1:
        length = num_kept(view.crop, valid)
        return Cut((valid - length) // 2, length)
    drawn = torch.tensor(np.stack([CROPS[f"{case['key']}_draw"] for case in cases]))
    return Cut(drawn[:, 1].long(), num_kept(view.crop, valid, drawn[:, 0]))


def test_rotates_as_published() -> None:
    arrays, meta = load("g_random_rot")
    num_cases = len(meta["hyperparameters"]["torch_seeds"])
    x = torch.tensor(arrays["x"]).permute(3, 1, 2, 0)
    angles = torch.stack([torch.tensor(arrays[f"angles{case}"]) for case in range(num_cases)])
    found = rotate(x.expand(num_cases, *x.shape), angles)
    for case in range(num_cases):
        expected = torch.tensor(arrays[f"y{case}"]).permute(3, 1, 2, 0)
        torch.testing.assert_close(found[case], expected, rtol=1e-5, atol=1e-6)
