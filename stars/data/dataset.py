"""Which data an experiment is about: a packed store under a protocol and a rule of labels, and the split they give."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypedDict

import numpy as np
from jaxtyping import Int64

from stars.data import protocols
from stars.data.packed import UNKNOWN, Packed, SecondBody
from stars.stage import Value, later

LabelRule = Literal["action", "action-setup", "action-replication"]
Missing = Literal["refuse", "zero"]


class Filling(TypedDict):
    """What `batches.Clips` puts where the store holds nothing."""

    zero_missing: bool
    copy_body: bool


_LETTERS = {"action": "A", "setup": "S", "replication": "R"}


@dataclass(frozen=True, kw_only=True)
class Data(Value):
    """A data set, a protocol and a rule of labels, as part of an experiment's value.

    Attributes:
        name: of the data set, for tables.
        content: SHA-256 of the packed store, 64 hexadecimal digits. The store's place is found at the edge.
        joints: of a body.
        label_rule: what makes a class: the action alone, or the action together with setup or replication (recordings
            of correct and incorrect movements, for instance, that a data set tells apart by the setup).
        protocol: what is trained on and what is tested on. XSub, XView, XSet: the published rule, or the data set's own
            list where it brings one. subjects: all but `test_subjects` are trained on. list: `train_list` is.
        coordinates_missing: NaN coordinates are refused, or become 0 when a batch is cut.
        validation_subjects: of the training part, ascending: held out of it to choose settings by. With them there is
            no test part, so that nothing chosen can have seen it.
        second_body: of a sequence of one body: zeros, or a copy of the first (published preprocessing of NTU-120).
        test_subjects: with the protocol `subjects`: who is tested on, ascending.
        train_list: with the protocol `list`: SHA-256 of the list of training samples, which lies beside the store's
            files (`lists.keep`); all other samples are tested on.
        actions: the only ones that are trained and tested on, ascending; none named is all. The novel classes of the
            few-shot protocol are the actions 61 to 120 of NTU-120, those that it is pretrained on the first 60.
    """

    name: str
    content: str
    joints: int
    label_rule: LabelRule
    protocol: protocols.Protocol
    coordinates_missing: Missing = "refuse"
    validation_subjects: tuple[int, ...] = later(())
    second_body: SecondBody = later("zero")
    test_subjects: tuple[int, ...] = later(())
    train_list: str = later("")
    actions: tuple[int, ...] = later(())

    def check(self) -> None:
        """Refuse what cannot name a data set."""
        if not self.name:
            raise ValueError("Data.name is ''; allowed: a name")
        if not _is_hash(self.content):
            raise ValueError(f"Data.content is {self.content!r}; allowed: 64 hexadecimal digits")
        if self.joints < 1:
            raise ValueError(f"Data.joints is {self.joints}; allowed: 1 or more")
        for field in ("validation_subjects", "test_subjects", "actions"):
            numbers = getattr(self, field)
            if list(numbers) != sorted(set(numbers)):
                raise ValueError(f"Data.{field} is {numbers}; allowed: ascending numbers")
        if bool(self.test_subjects) != (self.protocol == "subjects"):
            raise ValueError(
                f"Data.test_subjects is {self.test_subjects} with the protocol {self.protocol!r}; allowed: "
                "one or more with the protocol 'subjects', none with another"
            )
        if (self.protocol == "list") != _is_hash(self.train_list) or (self.protocol != "list" and self.train_list):
            raise ValueError(
                f"Data.train_list is {self.train_list!r} with the protocol {self.protocol!r}; allowed: "
                "64 hexadecimal digits with the protocol 'list', '' with another"
            )

    def filling(self) -> Filling:
        """What a batch holds where the store holds nothing."""
        return {"zero_missing": self.coordinates_missing == "zero", "copy_body": self.second_body == "copy"}


@dataclass(frozen=True, eq=False)
class Split:
    """A data set's samples under its protocol.

    Attributes:
        data: the value it follows from.
        packed: the store.
        labels: class of every sample of the store, from 0 without gaps, in the order of actions; -1 of a sample whose
            action the data leave out.
        num_classes: number of classes.
        class_names: per class, `A013` or `A013S002` or `A013R002`.
        train: rows of the store to train on, in published order.
        measured: rows to measure on, in published order.
        measured_name: `test`; or `val`, where the data hold out validation subjects.
    """

    data: Data
    packed: Packed
    labels: Int64[np.ndarray, " sample"]
    num_classes: int
    class_names: tuple[str, ...]
    train: Int64[np.ndarray, " train"]
    measured: Int64[np.ndarray, " measured"]
    measured_name: Literal["val", "test"]

    def parts(self) -> dict[str, Int64[np.ndarray, " part"]]:
        """Both parts by name: `train`, and `test` or `val`."""
        return {"train": self.train, self.measured_name: self.measured}


def describe(
    packed: Packed,
    name: str | None = None,
    label_rule: LabelRule = "action",
    protocol: protocols.Protocol = "XSub",
    coordinates_missing: Missing = "refuse",
    *,
    test_subjects: Sequence[int] = (),
    train_list: str = "",
    actions: Sequence[int] = (),
) -> Data:
    """The value for a packed store; its name is the store's own unless another is given."""
    manifest = packed.manifest
    return Data(
        name=manifest.name if name is None else name,
        content=manifest.content,
        joints=manifest.num_joints,
        label_rule=label_rule,
        protocol=protocol,
        coordinates_missing=coordinates_missing,
        second_body=manifest.second_body,
        test_subjects=tuple(test_subjects),
        train_list=train_list,
        actions=tuple(actions),
    )


def split(data: Data, packed: Packed) -> Split:
    """Apply the protocol and the rule of labels.

    Raises:
        ValueError: the store is not the one that `data` means, it holds NaN and `data` refuses them, a part of the
            protocol is empty, or a class has no sample in one of the parts.
    """
    manifest = packed.manifest
    for field, given, found in (
        ("content", data.content, manifest.content),
        ("joints", data.joints, manifest.num_joints),
    ):
        if given != found:
            raise ValueError(f"Data.{field} is {given!r}; allowed: {found!r}, that of {packed.path}")
    _check_missing(data, packed)
    labels, class_names = _classes(data, packed)
    train, measured = parts(data, packed)
    name: Literal["val", "test"] = "test"
    if data.validation_subjects:
        train, measured = _held_out(data, packed, train)
        name = "val"
    for part, rows in (("training", train), ("validation" if name == "val" else "test", measured)):
        _check_part(data, packed, part, labels[rows], class_names)
    return Split(data, packed, labels, len(class_names), class_names, train, measured, name)


def parts(data: Data, packed: Packed) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " test"]]:
    """The training and the test rows under protocol and choice of actions, in published order; they may be empty.

    Raises:
        ValueError: the store does not know what the protocol asks for, or has none of an action that is asked for.
        Damaged: a list of training samples is not there, or altered.
    """
    train, test = _under_protocol(data, packed)
    if not data.actions:
        return train, test
    action = packed.column("action")
    if absent := sorted(set(data.actions) - set(action.tolist())):
        raise ValueError(f"Data.actions names {absent[0]}; allowed: actions that are there, {_ranges(action)}")
    train, test = (rows[np.isin(action[rows], data.actions)] for rows in (train, test))
    return train, test


def _under_protocol(data: Data, packed: Packed) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " test"]]:
    if data.protocol == "subjects":
        return protocols.without_subjects(data.test_subjects, packed.column("subject"))
    if data.protocol == "list":
        return protocols.listed(packed.train_list(data.train_list), packed.names)
    if own := packed.manifest.protocols.get(data.protocol):
        return protocols.listed(packed.train_list(own), packed.names)
    return protocols.rows(data.protocol, packed.column(protocols.GROUPED_BY[data.protocol]))


def validation_subjects(data: Data, packed: Packed) -> tuple[int, ...]:
    """A fifth of the subjects of the training part, at least one, spread over their numbers; ascending.

    Raises:
        ValueError: the training part has one subject only, or what `split` refuses.
    """
    train = split(replace(data, validation_subjects=()), packed).train
    subjects = sorted(set(packed.column("subject")[train].tolist()))
    if subjects[0] == UNKNOWN:
        raise ValueError(
            f"the subject of some training samples of {data.name} is not known; allowed in a search: known subjects, "
            "since some are held out for validation"
        )
    if len(subjects) < 2:
        raise ValueError(
            f"--data has the subject {subjects[0]} alone in its training part; allowed in a search: two or more, "
            "since some are held out for validation"
        )
    number = max(1, len(subjects) // 5)
    # The middle of each of `number` equal stretches: neither the first nor the last ones recorded.
    return tuple(subjects[(2 * i + 1) * len(subjects) // (2 * number)] for i in range(number))


def _held_out(
    data: Data, packed: Packed, train: Int64[np.ndarray, " train"]
) -> tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " held"]]:
    subjects = packed.column("subject")[train]
    present = sorted(set(subjects.tolist()))
    if absent := sorted(set(data.validation_subjects) - set(present)):
        raise ValueError(
            f"Data.validation_subjects names {absent[0]}; allowed: subjects of the training part, {present}"
        )
    held = np.isin(subjects, data.validation_subjects)
    return train[~held], train[held]


def _check_part(
    data: Data,
    packed: Packed,
    part: str,
    labels: Int64[np.ndarray, " part"],
    class_names: tuple[str, ...],
) -> None:
    """A part must not be empty, and must hold every class. Raises ValueError naming what is absent."""
    if len(labels) == 0:
        shown = f"All samples of {data.name} are in the other part"
        if data.protocol != "list" and data.protocol not in packed.manifest.protocols:
            column = "subject" if data.protocol == "subjects" else protocols.GROUPED_BY[data.protocol]
            present = ", ".join(map(str, sorted(set(packed.column(column).tolist()))))
            shown = f"{data.name} has the {column}s {present}, which gives no {part} sample"
        raise ValueError(f"Data.protocol is {data.protocol!r}; allowed: one with training and test samples. {shown}")
    absent = sorted(set(range(len(class_names))) - set(labels.tolist()))
    # A handful of validation subjects may well lack a class; they choose settings and are reported to nobody.
    if absent and part != "validation":
        shown = ", ".join(class_names[label] for label in absent[:10])
        raise ValueError(
            f"Data.protocol is {data.protocol!r}; allowed: one with training and test samples of every class. "
            f"In {data.name}, {len(absent)} of {len(class_names)} classes have no {part} sample: {shown}"
        )


def _check_missing(data: Data, packed: Packed) -> None:
    num_nan = packed.column("num_nan")
    samples = np.flatnonzero(num_nan)
    if len(samples) and data.coordinates_missing == "refuse":
        raise ValueError(
            f"Data.coordinates_missing is 'refuse'; allowed: 'zero' (--nan zero). {data.name} has {num_nan.sum()} NaN "
            f"coordinates in {len(samples)} of {len(num_nan)} samples, the first in {packed.names[samples[0]]}"
        )


def _classes(data: Data, packed: Packed) -> tuple[Int64[np.ndarray, " sample"], tuple[str, ...]]:
    """Number the combinations of the rule's columns that occur, in ascending order; -1 where the action is left out."""
    rule = data.label_rule
    columns: Sequence[str] = rule.split("-")
    taken = np.isin(packed.column("action"), data.actions) if data.actions else np.ones(len(packed.names), bool)
    for column in columns:
        if num_unknown := int((packed.column(column) == UNKNOWN).sum()):
            raise ValueError(
                f"Data.label_rule is {rule!r}, and the {column} of {num_unknown} samples is not known; allowed: "
                "a rule of what is known"
            )
    combinations, numbers = np.unique(
        np.stack([packed.column(column)[taken] for column in columns], axis=1), axis=0, return_inverse=True
    )
    labels = np.full(len(taken), -1, np.int64)
    labels[taken] = numbers
    names = (
        "".join(f"{_LETTERS[column]}{number:03d}" for column, number in zip(columns, combination, strict=True))
        for combination in combinations.tolist()
    )
    return labels, tuple(names)


def _ranges(numbers: Int64[np.ndarray, " sample"]) -> str:
    """The distinct numbers in words, as `1-60, 63`."""
    present = np.unique(numbers)
    runs = np.split(present, np.flatnonzero(np.diff(present) > 1) + 1)
    return ", ".join(f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _is_hash(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")
