"""Protocols and labels: which rows are trained on, in which order, and what is refused."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stars.data import lists
from stars.data.dataset import describe, split, validation_subjects
from stars.data.ntu import NtuName, parse_name
from stars.data.packed import UNKNOWN, Damaged, Packed
from stars.data.packing import Packer
from stars.data.protocols import GROUPED_BY, TRAIN_SUBJECTS, rows
from stars.stage import decode, encode, fingerprint


def store(folder: Path, names: Sequence[str], *, nan_in: Sequence[str] = ()) -> Packed:
    """A store of these samples, all of them alike but for NaN."""
    with Packer(folder / "store", name="toy", source="tests") as packer:
        for name in sorted(names):
            sequence = np.ones((2, 1, 25, 3), np.float32)
            if name in nan_in:
                sequence[1, 0, 3] = np.nan
            packer.append(name, parse_name(name), sequence)
        packer.finish()
    return Packed.open(folder / "store")


def names_of(**columns: Sequence[int]) -> list[str]:
    """All combinations; what is not given is 1."""
    combinations: list[dict[str, int]] = [{}]
    for column in ("setup", "camera", "subject", "replication", "action"):
        combinations = [{**c, column: value} for c in combinations for value in columns.get(column, [1])]
    return [
        f"S{c['setup']:03d}C{c['camera']:03d}P{c['subject']:03d}R{c['replication']:03d}A{c['action']:03d}"
        for c in combinations
    ]


def test_lists_have_the_published_sizes() -> None:
    assert len(TRAIN_SUBJECTS) == 53
    assert len([subject for subject in TRAIN_SUBJECTS if subject <= 40]) == 20
    assert max(TRAIN_SUBJECTS) == 103


def test_cross_subject_rows_stand_subject_by_subject(tmp_path: Path) -> None:
    packed = store(tmp_path, names_of(setup=[1, 2], subject=[3, 1, 45, 41, 2], action=[1, 2]))
    parts = split(describe(packed), packed)
    subjects = packed.column("subject")
    assert subjects[parts.train].tolist() == [1] * 4 + [2] * 4 + [45] * 4
    assert subjects[parts.measured].tolist() == [3] * 4 + [41] * 4
    for part in (parts.train, parts.measured):
        assert part.dtype == np.int64
        for subject in set(subjects[part].tolist()):
            names = [packed.names[row] for row in part if subjects[row] == subject]
            assert names == sorted(names)


def test_cross_view_rows_stand_camera_by_camera(tmp_path: Path) -> None:
    packed = store(tmp_path, names_of(setup=[1, 2], camera=[1, 2, 3]))
    parts = split(describe(packed, protocol="XView"), packed)
    assert packed.column("camera")[parts.train].tolist() == [2, 2, 3, 3]
    assert packed.column("camera")[parts.measured].tolist() == [1, 1]


def test_cross_setup_rows_stand_setup_by_setup(tmp_path: Path) -> None:
    packed = store(tmp_path, names_of(setup=[4, 1, 2, 3], subject=[1, 2]))
    parts = split(describe(packed, protocol="XSet"), packed)
    assert packed.column("setup")[parts.train].tolist() == [2, 2, 4, 4]
    assert packed.column("setup")[parts.measured].tolist() == [1, 1, 3, 3]


@pytest.mark.parametrize("protocol", GROUPED_BY)
def test_every_row_is_in_one_part(protocol: Any) -> None:
    groups = np.random.default_rng(0).integers(1, 4, size=50)
    train, test = rows(protocol, groups)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(50))


@pytest.mark.parametrize(
    ("rule", "class_names"),
    [
        ("action", ("A007", "A060")),
        ("action-setup", ("A007S001", "A007S002", "A060S001", "A060S002")),
        ("action-replication", ("A007R001", "A060R001")),
    ],
)
def test_labels_number_the_classes_that_occur(tmp_path: Path, rule: Any, class_names: tuple[str, ...]) -> None:
    packed = store(tmp_path, names_of(setup=[1, 2], subject=[1, 3], action=[60, 7]))
    parts = split(describe(packed, label_rule=rule), packed)
    assert parts.class_names == class_names
    assert parts.num_classes == len(class_names)
    assert parts.labels.dtype == np.int64
    for name, label in zip(packed.names, parts.labels, strict=True):
        labels = parse_name(name)
        assert class_names[label].startswith(f"A{labels.action:03d}")
        assert rule != "action-setup" or class_names[label].endswith(f"S{labels.setup:03d}")


def test_the_value_says_which_content(tmp_path: Path) -> None:
    packed = store(tmp_path, names_of(subject=[1, 3]))
    data = describe(packed)
    assert (data.name, data.content, data.joints) == ("toy", packed.manifest.content, 25)
    assert decode(encode(data)) == data
    assert fingerprint(describe(packed, "other", protocol="XView")) != fingerprint(data)
    other = store(tmp_path / "other", names_of(subject=[1, 4]))
    with pytest.raises(ValueError, match=r"Data.content is '.*'; allowed: '.*', that of"):
        split(data, other)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "", "Data.name is ''"),
        ("content", "abc", "Data.content is 'abc'; allowed: 64 hex"),
        ("joints", 0, "Data.joints is 0"),
        ("protocol", "XSubject", "Data.protocol is 'XSubject'; allowed: 'XSub', 'XView', 'XSet'"),
        ("label_rule", "subject", "Data.label_rule is 'subject'"),
        ("coordinates_missing", "keep", "Data.coordinates_missing is 'keep'"),
        ("second_body", "mirror", "Data.second_body is 'mirror'; allowed: 'zero', 'copy'"),
        ("test_subjects", [1], r"Data.test_subjects is \(1,\) with the protocol 'XSub'; allowed: one or more with"),
        ("train_list", "0" * 64, "Data.train_list is '0{64}' with the protocol 'XSub'; allowed: 64 hex"),
        ("protocol", "subjects", r"Data.test_subjects is \(\) with the protocol 'subjects'"),
        ("protocol", "list", "Data.train_list is '' with the protocol 'list'"),
    ],
)
def test_impossible_values_are_refused(tmp_path: Path, field: str, value: Any, message: str) -> None:
    document = encode(describe(store(tmp_path, names_of(subject=[1, 3]))))
    with pytest.raises(ValueError, match=message):
        decode({**document, "coordinates_missing": "refuse", field: value})


@pytest.mark.parametrize(
    ("names", "protocol", "message"),
    [
        (names_of(subject=[1, 2]), "XSub", "the subjects 1, 2, which gives no test sample"),
        (names_of(subject=[3, 6]), "XSub", "the subjects 3, 6, which gives no training sample"),
        (names_of(camera=[1]), "XView", "the cameras 1, which gives no training sample"),
        (names_of(camera=[1, 2, 4]), "XView", "there is a camera 4; allowed: cameras 1, 2, 3"),
        (names_of(setup=[2, 4]), "XSet", "the setups 2, 4, which gives no test sample"),
        (
            [*names_of(subject=[1, 3]), *names_of(subject=[3], action=[9, 8])],
            "XSub",
            "2 of 3 classes have no training sample: A008, A009",
        ),
        ([*names_of(subject=[1, 3]), *names_of(subject=[1], action=[9])], "XSub", "no test sample: A009"),
    ],
)
def test_parts_that_cannot_work_are_refused(tmp_path: Path, names: list[str], protocol: Any, message: str) -> None:
    packed = store(tmp_path, names)
    with pytest.raises(ValueError, match=message):
        split(describe(packed, protocol=protocol), packed)


def test_nan_is_refused_or_accepted_as_the_value_says(tmp_path: Path) -> None:
    names = names_of(subject=[1, 3], action=[1, 2])
    packed = store(tmp_path, names, nan_in=names[1:3])
    with pytest.raises(ValueError, match=f"has 6 NaN coordinates in 2 of 4 samples, the first in {names[1]}"):
        split(describe(packed), packed)
    assert len(split(describe(packed, coordinates_missing="zero"), packed).train) == 2


def test_validation_subjects_leave_the_training_part_and_no_test_sample_is_seen(tmp_path: Path) -> None:
    packed = store(tmp_path, names_of(subject=[1, 2, 3, 4, 5, 8, 9, 45], action=[1, 2]))
    data = describe(packed)
    whole = split(data, packed)
    chosen = validation_subjects(data, packed)
    parts = split(replace(data, validation_subjects=chosen), packed)
    subjects = packed.column("subject")
    assert set(subjects[parts.measured].tolist()) == set(chosen)
    assert set(parts.train.tolist()) | set(parts.measured.tolist()) == set(whole.train.tolist())
    assert not set(parts.train.tolist()) & set(parts.measured.tolist())
    assert (whole.measured_name, parts.measured_name) == ("test", "val")
    assert list(parts.parts()) == ["train", "val"]


def test_validation_subjects_outside_the_training_part_are_refused(tmp_path: Path) -> None:
    packed = store(tmp_path, names_of(subject=[1, 2, 3, 4, 5, 8, 9, 45], action=[1, 2]))
    with pytest.raises(ValueError, match=r"validation_subjects names 3; allowed: subjects of the training part"):
        split(replace(describe(packed), validation_subjects=(3,)), packed)
    with pytest.raises(ValueError, match="allowed: ascending"):
        replace(describe(packed), validation_subjects=(2, 1))


def test_a_fifth_of_the_training_subjects_is_held_out_and_one_alone_cannot_be(tmp_path: Path) -> None:
    training = sorted(TRAIN_SUBJECTS)[:11]
    packed = store(tmp_path, names_of(subject=[*training, 3]))
    assert validation_subjects(describe(packed), packed) == (training[2], training[8])
    alone = store(tmp_path / "alone", names_of(subject=[1, 3]))
    with pytest.raises(ValueError, match=r"subject 1 alone in its training part; allowed in a search: two or more"):
        validation_subjects(describe(alone), alone)


def test_fields_at_their_default_are_not_in_the_value(tmp_path: Path) -> None:
    document = encode(describe(store(tmp_path, names_of(subject=[1, 3]))))
    assert not document.keys() & {"second_body", "test_subjects", "train_list", "actions"}


def test_some_subjects_are_left_out_of_the_training(tmp_path: Path) -> None:
    packed = store(tmp_path, names_of(setup=[1, 2], subject=[1, 2, 3, 7], action=[1, 2]))
    data = describe(packed, protocol="subjects", test_subjects=[2, 7])
    given = split(data, packed)
    subjects = packed.column("subject")
    assert subjects[given.train].tolist() == [1] * 4 + [3] * 4
    assert subjects[given.measured].tolist() == [2] * 4 + [7] * 4
    assert decode(encode(data)) == data
    assert fingerprint(data) != fingerprint(describe(packed, protocol="subjects", test_subjects=[2]))
    assert validation_subjects(data, packed) == (3,)
    with pytest.raises(ValueError, match=r"test_subjects names 4; allowed: subjects that are there, \[1, 2, 3, 7\]"):
        split(describe(packed, protocol="subjects", test_subjects=[2, 4]), packed)
    with pytest.raises(ValueError, match="the subjects 1, 2, 3, 7, which gives no training sample"):
        split(describe(packed, protocol="subjects", test_subjects=[1, 2, 3, 7]), packed)
    with pytest.raises(ValueError, match=r"test_subjects is \(7, 2\); allowed: ascending"):
        describe(packed, protocol="subjects", test_subjects=[7, 2])


def test_novel_classes_are_those_that_are_named(tmp_path: Path) -> None:
    packed = store(tmp_path, names_of(subject=[1, 3], camera=[1, 2], action=[2, 60, 61, 62]))
    novel = describe(packed, actions=[61, 62])
    given = split(novel, packed)
    assert given.class_names == ("A061", "A062")
    assert given.num_classes == 2
    action = packed.column("action")
    assert given.labels.tolist() == [{61: 0, 62: 1}.get(number, -1) for number in action.tolist()]
    for rows_of, subject in ((given.train, 1), (given.measured, 3)):
        assert set(packed.column("subject")[rows_of].tolist()) == {subject}
        assert action[rows_of].tolist() == [61, 62, 61, 62]
    assert fingerprint(novel) != fingerprint(describe(packed))
    with pytest.raises(ValueError, match=r"Data.actions names 63; allowed: actions that are there, 2, 60-62"):
        split(describe(packed, actions=[61, 63]), packed)
    with pytest.raises(ValueError, match=r"actions is \(62, 61\); allowed: ascending"):
        describe(packed, actions=[62, 61])


def test_a_list_of_ones_own_is_trained_on(tmp_path: Path) -> None:
    names = names_of(subject=[1, 2, 3], action=[1, 2])
    packed = store(tmp_path, names)
    chosen = [names[5], names[0]]
    digest = lists.keep(packed.path, chosen)
    assert lists.keep(packed.path, reversed(chosen)) == digest
    given = split(describe(packed, protocol="list", train_list=digest), packed)
    assert [packed.names[row] for row in given.train] == sorted(chosen)
    assert [packed.names[row] for row in given.measured] == [name for name in names if name not in chosen]
    Packed.open(packed.path).verify()
    with pytest.raises(Damaged, match=r"lists/0{64}\.txt"):
        split(describe(packed, protocol="list", train_list="0" * 64), packed)
    foreign = lists.keep(packed.path, [*chosen, "a", "b"])
    with pytest.raises(ValueError, match="names 'a' and 1 more that are not there"):
        split(describe(packed, protocol="list", train_list=foreign), packed)
    everything = lists.keep(packed.path, names)
    with pytest.raises(ValueError, match="All samples of toy are in the other part"):
        split(describe(packed, protocol="list", train_list=everything), packed)
    (packed.path / lists.place(digest)).write_text(names[1] + "\n")
    with pytest.raises(Damaged, match="altered since it was written"):
        split(describe(packed, protocol="list", train_list=digest), packed)


@pytest.mark.parametrize(
    ("names", "message"), [(["a", "b", "a"], "'a' twice"), (["a\nb"], r"'a\\nb'; allowed"), ([""], "''; allowed")]
)
def test_lists_that_say_nothing_clear_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lists.keep(tmp_path, names)


def test_subjects_that_are_not_known_are_refused_where_they_matter(tmp_path: Path) -> None:
    with Packer(tmp_path / "store", name="toy", source="tests") as packer:
        for camera in (1, 2):
            labels = NtuName(setup=1, camera=camera, subject=UNKNOWN, replication=1, action=1)
            packer.append(str(camera), labels, np.ones((1, 1, 25, 3), np.float32))
        packer.finish()
    packed = Packed.open(tmp_path / "store")
    with pytest.raises(ValueError, match="'XSub', and the subject of 2 samples is not known; allowed: a protocol that"):
        split(describe(packed), packed)
    by_camera = describe(packed, protocol="XView")
    assert len(split(by_camera, packed).train) == 1
    with pytest.raises(ValueError, match="the subject of some training samples of toy is not known"):
        validation_subjects(by_camera, packed)


def test_a_store_brings_the_protocols_that_it_lists(tmp_path: Path) -> None:
    names = names_of(subject=[1, 3], action=[1])
    with Packer(tmp_path / "store", name="toy", source="tests") as packer:
        for name in names:
            packer.append(name, parse_name(name), np.ones((1, 1, 25, 3), np.float32))
        manifest = packer.finish({"XSub": names[1:]})
    packed = Packed.open(tmp_path / "store")
    packed.verify()
    assert split(describe(packed), packed).train.tolist() == [1], "not by subject"
    (digest,) = manifest.protocols.values()
    (tmp_path / "store" / lists.place(digest)).write_text(names[0] + "\n")
    with pytest.raises(Damaged, match=digest):
        packed.verify()
    with Packer(tmp_path / "other", name="toy", source="tests") as packer:
        packer.append(names[0], parse_name(names[0]), np.ones((1, 1, 25, 3), np.float32))
        with pytest.raises(ValueError, match="'XSub' trains on 'x'; allowed: names of samples"):
            packer.finish({"XSub": ["x"]})
