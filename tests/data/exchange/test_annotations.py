"""Annotation pickles: a round trip loses nothing, and foreign ones are taken as they are."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stars.data import dataset
from stars.data.exchange.annotations import export_pickle, import_pickle
from stars.data.exchange.bodies import Arrangement, OutOfDomain
from stars.data.layouts import layout
from stars.data.ntu import NtuName
from stars.data.packed import Packed
from tests.data.exchange.stores import NAMES, pack, sequence, unknown


def annotation(name: str, seed: int = 1, label: int = 0, **more: Any) -> dict[str, Any]:
    joints = sequence(seed, 8 + seed, 1 + seed % 2)
    return {
        "frame_dir": name,
        "total_frames": len(joints),
        "label": label,
        "keypoint": joints.transpose(1, 0, 2, 3),
        **more,
    }


def written(path: Path, annotations: list[Any], split: Any = None) -> Path:
    path.write_bytes(pickle.dumps({"split": split or {}, "annotations": annotations}))
    return path


@pytest.mark.parametrize("second_body", ["zero", "copy"])
def test_a_round_trip_loses_nothing(tmp_path: Path, second_body: str) -> None:
    first = pack(tmp_path / "first", second_body=second_body)  # type: ignore[arg-type]
    export_pickle(first, tmp_path / "a.pkl")
    manifest = import_pickle(tmp_path / "a.pkl", tmp_path / "second", name="test")
    Packed.open(tmp_path / "second").verify()
    assert manifest.content == first.manifest.content
    assert manifest.second_body == second_body
    assert manifest.protocols == {}, "the published rules give the same"


def test_what_no_name_says_and_lists_of_its_own_survive(tmp_path: Path) -> None:
    names = {**unknown("a", "b", "c"), "d": NtuName(4, 3, 2, 1, 9)}
    first = pack(tmp_path / "first", names=names, train={"XSub": ["a", "c"], "list": ["b", "d"]})
    export_pickle(first, tmp_path / "a.pkl")
    manifest = import_pickle(tmp_path / "a.pkl", tmp_path / "second")
    assert manifest.content == first.manifest.content
    assert manifest.protocols == first.manifest.protocols


def test_export_is_the_layout_of_pyskl(tmp_path: Path) -> None:
    packed = pack(tmp_path / "store")
    export_pickle(packed, tmp_path / "a.pkl")
    document = pickle.loads((tmp_path / "a.pkl").read_bytes())
    assert set(document["split"]) == {f"{key}_{part}" for key in ("xsub", "xview", "xset") for part in ("train", "val")}
    assert document["split"]["xsub_train"] == [name for name in NAMES if "P001" in name]
    assert sorted(document["split"]["xview_val"]) == [name for name in NAMES if "C001" in name]
    for row, one in enumerate(document["annotations"]):
        assert one["frame_dir"] == packed.names[row]
        assert one["label"] == packed.column("action")[row] - 1
        assert one["keypoint"].dtype == np.float32
        assert one["keypoint"].shape == (packed.column("num_bodies")[row], one["total_frames"], 25, 3)
        found = one["keypoint"].transpose(1, 0, 2, 3)
        np.testing.assert_array_equal(found, packed.sample(row)[:, : found.shape[1]])


def test_a_foreign_pickle_knows_what_its_names_say(tmp_path: Path) -> None:
    samples = [annotation("S003C002P001R002A007", label=6), annotation("v_Jump_g01", 2, 4)]
    manifest = import_pickle(written(tmp_path / "ntu120_3d.pkl", samples), tmp_path / "store")
    assert (manifest.name, manifest.second_body) == ("ntu120_3d", "copy")
    packed = Packed.open(tmp_path / "store")
    columns = ("setup", "camera", "subject", "replication", "action")
    assert [packed.column(column).tolist() for column in columns] == [[3, 0], [2, 0], [1, 0], [2, 0], [7, 5]]
    with pytest.raises(ValueError, match="the subject of 1 samples is not known"):
        dataset.split(dataset.describe(packed, protocol="XSub", coordinates_missing="zero"), packed)


def test_a_split_that_is_not_the_rule_becomes_the_protocol(tmp_path: Path) -> None:
    names = NAMES[:4]
    split = {"xsub_train": names[2:], "xsub_val": names[:2], "train": names[:1], "test": names[1:]}
    manifest = import_pickle(
        written(tmp_path / "a.pkl", [annotation(name) for name in names], split), tmp_path / "store"
    )
    packed = Packed.open(tmp_path / "store")
    train, _ = dataset.parts(dataset.describe(packed, protocol="XSub"), packed)
    assert [packed.names[row] for row in train] == sorted(names[2:])
    assert set(manifest.protocols) == {"XSub", "list"}


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"xsub_train": NAMES[:1], "xsub_val": NAMES[1:2]}, "with xsub_val it does not divide the 3 samples"),
        ({"xsub_train": NAMES[:2], "xsub_val": NAMES[1:3]}, "with xsub_val it does not divide the 3 samples"),
        ({"fold2_train": NAMES[:1]}, "left out: fold2_train"),
    ],
)
def test_splits_that_cannot_be_kept_are_said(tmp_path: Path, split: Any, message: str) -> None:
    samples = [annotation(name) for name in NAMES[:3]]
    with pytest.warns(UserWarning, match=message):
        manifest = import_pickle(written(tmp_path / "a.pkl", samples, split), tmp_path / "store")
    assert manifest.protocols == {}


def test_two_dimensions_with_scores_are_taken_with_a_warning(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    keypoint = random.uniform(1, 100, (2, 5, 17, 2)).astype(np.float16)
    score = np.ones((2, 5, 17), np.float16)
    score[0, 3, 9] = 0  # the left wrist
    score[1, 1] = 0
    one = {"frame_dir": "a", "total_frames": 5, "label": 0, "keypoint": keypoint, "keypoint_score": score}
    arrangement = Arrangement(layout=layout("coco-17"))
    with pytest.warns(OutOfDomain, match="1 samples have two dimensions"):
        manifest = import_pickle(written(tmp_path / "a.pkl", [one]), tmp_path / "store", arrangement=arrangement)
    assert "head = nose" in manifest.source
    found = Packed.open(tmp_path / "store").sample(0)
    np.testing.assert_array_equal(found[0, :, 3, :2], keypoint[:, 0, 0], "the head is the nose")
    assert np.isnan(found[3, 0, [6, 7, 21, 22]]).all(), "the left wrist and what it fills"
    assert np.isnan(found).sum() == 12
    assert not found[1, 1].any()
    np.testing.assert_array_equal(found[0, 0, :, 2], 0)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no joints": ({"keypoint": None}, "'keypoint' is missing"),
    "a list": ({"keypoint": [[1.0]]}, "'keypoint' is missing, or no array"),
    "three axes": ({"keypoint": np.ones((3, 25, 3))}, "no array of 4 axes"),
    "an empty axis": ({"keypoint": np.ones((0, 9, 25, 3))}, "no empty axis"),
    "24 joints": ({"keypoint": np.ones((1, 9, 24, 3))}, "24 joints; allowed: 25"),
    "7 bodies": ({"keypoint": np.ones((7, 9, 25, 3))}, "7 bodies; allowed: 1 or 2"),
    "four dimensions": ({"keypoint": np.ones((1, 9, 25, 4))}, "4 dimensions; allowed: 2 or 3"),
    "another length": ({"total_frames": 4}, "'total_frames' is not 9"),
    "an hour": (
        {"keypoint": np.ones((1, 20001, 25, 3), np.float16), "total_frames": 20001},
        "or over 20000",
    ),
    "infinity": ({"keypoint": np.full((1, 9, 25, 3), 1e300)}, "infinite"),
    "zeros": ({"keypoint": np.zeros((1, 9, 25, 3))}, "every frame sums to 0"),
    "no label": ({"label": None}, "'label' is missing"),
    "a label below 0": ({"label": -1}, "'label' is missing, or no whole number from 0"),
    "a large label": ({"label": 10**30}, "'label' is missing, or no whole number from 0"),
    "a word": ({"subject": "me"}, "'subject' is missing, or no whole number"),
    "other scores": ({"keypoint_score": np.ones((1, 9, 24))}, "'keypoint_score' is (1, 9, 24)"),
    "a score below 0": ({"keypoint_score": np.full((2, 9, 25), -1.0)}, "a confidence is negative"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_cannot_be_used_is_recorded_and_the_rest_is_packed(tmp_path: Path, what: str) -> None:
    changed, reason = BROKEN[what]
    samples = [{**annotation("broken"), **changed}, annotation("good")]
    manifest = import_pickle(written(tmp_path / "a.pkl", samples), tmp_path / "store")
    assert (manifest.num_samples, manifest.num_rejected) == (1, 1)
    (rejected,) = Packed.open(tmp_path / "store").rejected.to_pylist()
    assert rejected["file"] == "broken"
    assert reason in rejected["reason"]
    with pytest.raises(ValueError, match="not one usable sample; the first, broken"):
        import_pickle(written(tmp_path / "b.pkl", samples[:1]), tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([1, 2], "holds no annotations"),
        ({"split": {}}, "holds no annotations"),
        ({"annotations": []}, "not one usable sample; the first, no annotation at all"),
        ({"annotations": [3]}, "annotation 0 is a int"),
        ({"annotations": [{}]}, "annotation 0, 'frame_dir': the name is a NoneType"),
        ({"annotations": [{"frame_dir": "a\nb"}]}, "printable"),
        ({"annotations": [{"frame_dir": "a"}, {"frame_dir": "a"}]}, "'a' occurs twice"),
        ({"annotations": [], "split": [1]}, "'split' is not a dict"),
        ({"annotations": [], "split": {3: ["a"]}}, "'split' is not a dict"),
        ({"annotations": [], "split": {"a": [3]}}, "'split' is not a dict"),
    ],
)
def test_another_layout_of_the_pickle_is_refused(tmp_path: Path, document: Any, message: str) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(document))
    with pytest.raises(ValueError, match=message):
        import_pickle(tmp_path / "a.pkl", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_an_array_that_many_samples_share_is_refused(tmp_path: Path) -> None:
    shared = np.ones((1, 50, 25, 3), np.float32)
    samples = [{**annotation(f"{number:02d}"), "keypoint": shared, "total_frames": 50} for number in range(10)]
    with pytest.raises(ValueError, match=r"the joints of all annotations have 150000 bytes, more than the file"):
        import_pickle(written(tmp_path / "a.pkl", samples), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_name_of_pairs_of_pairs_is_not_spelled_out(tmp_path: Path) -> None:
    name: Any = "a"
    for _ in range(60):
        name = (name, name)
    with pytest.raises(ValueError, match="'frame_dir': the name is a tuple; allowed: 1 to 200 printable characters"):
        import_pickle(written(tmp_path / "a.pkl", [{**annotation("a"), "frame_dir": name}]), tmp_path / "store")
