"""Features of other systems: matched by name or by published order, refused where they do not fit."""

import io
import json
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import stars.__main__
from stars.data.dataset import split
from stars.data.packed import Packed
from stars.execute import Workplace, realise
from stars.outcome import StoreError
from stars.probes.features import read_both
from stars.probes.fewshot import FewShot
from stars.probes.foreign import ForeignFeatures, all_foreign, foreign, keep, read_foreign
from stars.probes.knn import KNN
from stars.results import read
from stars.stage import decode, encode
from stars.store import Store
from tests.probes.cases import pack
from tests.stores import snapshot
from tests.training import Tiny

Arrays = Mapping[str, Any]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(name="packed")
def small(tmp_path: Path) -> Packed:
    """Samples 000 to 005; trained on are 004, 000, 002 (subjects 1, 2, 4), tested on 001, 003, 005."""
    return pack(tmp_path / "packed", [(2, 5), (3, 5), (4, 7), (3, 9), (1, 9), (3, 7)])


def written(folder: Path, arrays: Arrays) -> Path:
    path = folder / "theirs.npz"
    np.savez_compressed(path, **arrays)
    return path


def named(order: list[int], **changes: Any) -> dict[str, Any]:
    """Feature [row, 1] of each row, under its name."""
    features = np.array([[row, 1] for row in order], np.float32)
    return {"features": features, "names": np.array([f"{row:03}" for row in order]), **changes}


def ordered(**changes: Any) -> dict[str, Any]:
    return {
        "train_features": np.array([[4, 1], [0, 1], [2, 1]], np.float32),
        "train_labels": np.array([2, 0, 1]),
        "test_features": np.array([[1, 1], [3, 1], [5, 1]], np.float32),
        "test_labels": np.array([0, 2, 1]),
        **changes,
    }


def test_they_are_matched_by_name(packed: Packed, tmp_path: Path) -> None:
    found = read_foreign(written(tmp_path, named([3, 0, 5])), packed, None)
    assert found.part.rows.tolist() == [0, 3, 5]
    assert found.part.features.tolist() == [[0, 1], [3, 1], [5, 1]]
    assert found.num_left == 0
    with_labels = named([3, 0, 5, 1], labels=np.array([1, 7, 4, 7], np.uint8))
    assert read_foreign(written(tmp_path, with_labels), packed, None).part.rows.tolist() == [0, 1, 3, 5]


def test_names_that_the_store_has_not_are_left_and_counted(packed: Packed, tmp_path: Path) -> None:
    arrays = named([3, 0, 5]) | {"names": np.array(["003", "elsewhere", "005"])}
    found = read_foreign(written(tmp_path, arrays), packed, None)
    assert (found.part.rows.tolist(), found.num_left) == ([3, 5], 1)


def test_they_are_matched_by_published_order(packed: Packed, tmp_path: Path) -> None:
    found = read_foreign(written(tmp_path, ordered()), packed, "XSub")
    assert found.part.rows.tolist() == list(range(6))
    assert found.part.features[:, 0].tolist() == list(range(6))


@pytest.mark.parametrize(("given", "kept"), [("<f2", torch.float32), ("<f4", torch.float32), ("<f8", torch.float64)])
def test_precision_is_single_or_double(packed: Packed, tmp_path: Path, given: str, kept: torch.dtype) -> None:
    arrays = named([1, 2])
    found = read_foreign(written(tmp_path, arrays | {"features": arrays["features"].astype(given)}), packed, None)
    assert found.part.features.dtype == kept


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"names": np.array(["000"])}, r"array 'features' is missing"),
        ({"features": np.ones((1, 2))}, r"array 'names' is missing; allowed: one, or --protocol"),
        (named([0, 1], names=np.array([1, 2])), r"names is no array of text"),
        (named([0, 1], names=np.array([["000", "001"]])), r"names is no array of text"),
        (named([0, 1], names=np.array(["000"])), r"names has 1 entries; allowed: as many as features, 2"),
        (named([0, 1], names=np.array(["000", "000"])), r"names has '000' twice"),
        (named([0, 1], names=np.array(["a", "b"])), r"names has \['a'\], …, of which .* has none; allowed: '000'"),
        (named([0, 1], features=np.ones((2, 2), int)), r"features is int64 of shape \(2, 2\); allowed: real numbers"),
        (named([0, 1], features=np.ones(2)), r"features is float64 of shape \(2,\)"),
        (named([0, 1], features=np.ones((2, 0))), r"features is float64 of shape \(2, 0\)"),
        (named([0, 1], features=np.array([[1.0], [np.nan]])), r"features\[1\] is not finite"),
        (named([0, 1], labels=np.array([0.0, 0.0])), r"labels is float64 of shape \(2,\); allowed: 2 whole numbers"),
        (named([0, 1], labels=np.array([0])), r"labels is int64 of shape \(1,\)"),
        (
            named([0, 1, 2], labels=np.array([4, 4, 4])),
            r"002 has the label 4 and the action 7, where 000 has the label 4 and the action 5; allowed: one .* label",
        ),
        (named([0, 1, 2], labels=np.array([4, 5, 6])), r"001 has the label 5 and the action 5, .* every action"),
    ],
)
def test_files_that_do_not_fit_are_refused(packed: Packed, tmp_path: Path, arrays: Arrays, words: str) -> None:
    with pytest.raises(ValueError, match=rf"theirs\.npz: .*{words}"):
        read_foreign(written(tmp_path, arrays), packed, None)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (named([0, 1]), r"array 'train_features' is missing"),
        (ordered(train_features=np.ones((2, 2))), r"train_features has 2 samples; allowed: the 3 of case under XSub"),
        (ordered(test_features=np.ones((3, 5))), r"train_features and test_features are 2 and 5 wide"),
        (ordered(test_labels=np.array([0, 1, 2])), r"003 has the label 1 .* may stand in another order"),
        ({k: v for k, v in ordered().items() if k != "train_labels"}, r"array 'train_labels' is missing"),
    ],
)
def test_another_order_is_refused(packed: Packed, tmp_path: Path, arrays: Arrays, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_foreign(written(tmp_path, arrays), packed, "XSub")


def raw(folder: Path, members: Mapping[str, bytes]) -> Path:
    path = folder / "raw.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<U3', 'fortran_order': False, 'shape': (2,), 'x': __import__('os').system('true')}",
        "{'descr': '<U3', 'fortran_order': False, 'shape': (999999999,), }",
        "{'descr': '<U0', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<U3', 'fortran_order': False, 'shape': (2,), }" + "(" * 500,
    ],
)
def test_hostile_names_are_refused(packed: Packed, tmp_path: Path, text: str) -> None:
    features = io.BytesIO()
    np.save(features, np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"raw\.npz: names"):
        read_foreign(raw(tmp_path, {"features.npy": features.getvalue(), "names.npy": header(text)}), packed, None)


def test_pickled_names_and_broken_files_are_refused(packed: Packed, tmp_path: Path) -> None:
    arrays = named([0, 1], names=np.array(["000", "001"], object))
    with pytest.raises(ValueError, match="names is no array of text"):
        read_foreign(written(tmp_path, arrays), packed, None)
    whole = written(tmp_path, named([0, 1, 2])).read_bytes()
    for length in range(0, len(whole), 23):
        (tmp_path / "cut.npz").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.npz: "):
            read_foreign(tmp_path / "cut.npz", packed, None)


def test_a_flipped_byte_is_refused_or_changes_nothing(packed: Packed, tmp_path: Path) -> None:
    path = written(tmp_path, named([0, 1, 2]))
    whole, expected = path.read_bytes(), read_foreign(path, packed, None).content()
    refused = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            assert read_foreign(path, packed, None).content() == expected
        except ValueError:
            refused += 1
    assert refused > 20


def run(monkeypatch: pytest.MonkeyPatch, *typed: str | Path) -> int:
    """The exit status."""
    monkeypatch.setattr(sys, "argv", ["stars", *map(str, typed)])
    try:
        stars.__main__.main()
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


def test_the_command_is_told_once_and_changes_nothing_again(
    packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    store = Store(tmp_path / "store")
    file = written(tmp_path, named([5, 4, 3, 2, 1, 0]))
    typed = ("import-features", file, "--data", packed.path)
    assert run(monkeypatch, *typed) == 0
    assert "6 of the 6 samples of case, 2 wide" in capsys.readouterr().out
    (stage,) = all_foreign(store)
    assert (stage.name, stage.data_content) == ("theirs", packed.manifest.content)
    assert decode(json.loads(json.dumps(encode(stage)))) == stage
    before = {name: content for name, content in snapshot(store.location).items() if "probe/" not in name}
    assert run(monkeypatch, *typed) == 0
    assert "was in" in capsys.readouterr().out
    assert {name: content for name, content in snapshot(store.location).items() if "probe/" not in name} == before
    # The same features in another order of the file are the same.
    assert run(monkeypatch, "import-features", written(tmp_path, named([0, 1, 2, 3, 4, 5])), *typed[2:]) == 0
    assert list(all_foreign(store)) == [stage]
    assert run(monkeypatch, "import-features", written(tmp_path, named([0, 1])), *typed[2:]) == 2
    assert "--name is theirs, which is " in capsys.readouterr().err
    assert run(monkeypatch, *typed, "--protocol", "XSub") == 2
    assert "array 'train_features' is missing" in capsys.readouterr().err
    assert run(monkeypatch, *typed, "--name", "a b") == 2
    assert "ForeignFeatures.name is 'a b'; allowed: letters" in capsys.readouterr().err


def imported(tiny: Tiny, workplace: Workplace, folder: Path) -> ForeignFeatures:
    """The features of the untrained encoder, as if somebody else had made them."""
    ours = tiny.recipe.knn(tiny.recipe.untrained(seed=0)).features
    realise(ours, workplace)
    packed = Packed.open(tiny.packed)
    both = read_both(workplace.store.output(ours), split(tiny.data, packed))
    features, rows = (torch.cat([getattr(part, name) for part in both]).numpy() for name in ("features", "rows"))
    path = written(folder, {"features": features, "names": np.array(packed.names)[rows]})
    found = read_foreign(path, packed, None)
    stage = foreign("theirs", found, packed)
    assert keep(workplace.store, stage, found, path)
    assert not keep(workplace.store, stage, found, path)
    return stage


def test_probes_read_them_as_they_read_ours(tiny: Tiny, tmp_path: Path) -> None:
    workplace = tiny.workplace(tmp_path / "store")
    theirs = imported(tiny, workplace, tmp_path)
    own = tiny.recipe.knn(tiny.recipe.untrained(seed=0))
    for probe in (own, FewShot(features=own.features, data=tiny.data)):
        values: dict[str, list[tuple[object, ...]]] = {}
        for one in (probe, replace(probe, features=theirs)):
            assert realise(one, workplace).status == "finished"
        for row in read(workplace.store).to_pylist():
            if row["probe"] == ("knn" if isinstance(probe, KNN) else "fewshot"):
                values.setdefault(row["feature"], []).append((row["metric"], row["k"], row["draw"], row["value"]))
        assert values.keys() == {"pooled", "foreign theirs"}
        assert sorted(values["pooled"], key=str) == sorted(values["foreign theirs"], key=str)


def test_any_part_of_their_recordings_can_be_read(tiny: Tiny, tmp_path: Path) -> None:
    workplace = tiny.workplace(tmp_path / "store")
    theirs = imported(tiny, workplace, tmp_path)
    data = replace(tiny.data, actions=(3, 4))
    assert realise(KNN(features=theirs, data=data, k=(1,)), workplace).status == "finished"
    (row,) = read(workplace.store).to_pylist()
    assert row["count"] == 4
    with pytest.raises(ValueError, match=r"KNN\.data\.content is 0{64}; allowed: .*, of which the features theirs are"):
        KNN(features=theirs, data=replace(tiny.data, content="0" * 64), k=(1,))


def test_they_cannot_be_computed_and_say_how_they_come(tiny: Tiny, tmp_path: Path) -> None:
    stage = ForeignFeatures(name="theirs", content="1" * 64, data_content=tiny.data.content)
    with pytest.raises(StoreError, match=r"the features theirs .* import-features FILE --data STORE --name NAME"):
        realise(stage, tiny.workplace(tmp_path))
    for field in ("content", "data_content"):
        with pytest.raises(ValueError, match=rf"ForeignFeatures\.{field} is 'x'; allowed: 64 hexadecimal"):
            replace(stage, **{field: "x"})
