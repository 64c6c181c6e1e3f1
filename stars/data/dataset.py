"""Which data an experiment is about: a packed store under a protocol and a rule of labels, and the split they give."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64

from stars.data import protocols
from stars.data.packed import Packed
from stars.stage import Value

LabelRule = Literal["action", "action-setup", "action-replication"]
Missing = Literal["refuse", "zero"]

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
        protocol: what is trained on and what is tested on.
        coordinates_missing: NaN coordinates are refused, or become 0 when a batch is cut.
    """

    name: str
    content: str
    joints: int
    label_rule: LabelRule
    protocol: protocols.Protocol
    coordinates_missing: Missing = "refuse"

    def check(self) -> None:
        """Refuse what cannot name a data set."""
        if not self.name:
            raise ValueError("Data.name is ''; allowed: a name")
        if len(self.content) != 64 or not set(self.content) <= set("0123456789abcdef"):
            raise ValueError(f"Data.content is {self.content!r}; allowed: 64 hexadecimal digits")
        if self.joints < 1:
            raise ValueError(f"Data.joints is {self.joints}; allowed: 1 or more")


@dataclass(frozen=True, eq=False)
class Split:
    """A data set's samples under its protocol.

    Attributes:
        data: the value it follows from.
        packed: the store.
        labels: class of every sample of the store, from 0 without gaps, in the order of actions.
        num_classes: number of classes.
        class_names: per class, `A013` or `A013S002` or `A013R002`.
        train: rows of the store to train on, in published order.
        test: rows to test on, in published order.
    """

    data: Data
    packed: Packed
    labels: Int64[np.ndarray, " sample"]
    num_classes: int
    class_names: tuple[str, ...]
    train: Int64[np.ndarray, " train"]
    test: Int64[np.ndarray, " test"]


def describe(
    packed: Packed,
    name: str | None = None,
    label_rule: LabelRule = "action",
    protocol: protocols.Protocol = "XSub",
    coordinates_missing: Missing = "refuse",
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
    labels, class_names = _classes(data.label_rule, packed)
    groups = packed.column(protocols.GROUPED_BY[data.protocol])
    train, test = protocols.rows(data.protocol, groups)
    for part, rows in (("training", train), ("test", test)):
        if len(rows) == 0:
            column = protocols.GROUPED_BY[data.protocol]
            present = ", ".join(map(str, sorted(set(groups.tolist()))))
            raise ValueError(
                f"Data.protocol is {data.protocol!r}; allowed: one with training and test samples. "
                f"{data.name} has the {column}s {present}, which gives no {part} sample"
            )
        absent = sorted(set(range(len(class_names))) - set(labels[rows].tolist()))
        if absent:
            shown = ", ".join(class_names[label] for label in absent[:10])
            raise ValueError(
                f"Data.protocol is {data.protocol!r}; allowed: one with training and test samples of every class. "
                f"In {data.name}, {len(absent)} of {len(class_names)} classes have no {part} sample: {shown}"
            )
    return Split(data, packed, labels, len(class_names), class_names, train, test)


def _check_missing(data: Data, packed: Packed) -> None:
    num_nan = packed.column("num_nan")
    samples = np.flatnonzero(num_nan)
    if len(samples) and data.coordinates_missing == "refuse":
        raise ValueError(
            f"Data.coordinates_missing is 'refuse'; allowed: 'zero'. {data.name} has {num_nan.sum()} NaN coordinates "
            f"in {len(samples)} of {len(num_nan)} samples, the first in {packed.names[samples[0]]}"
        )


def _classes(rule: LabelRule, packed: Packed) -> tuple[Int64[np.ndarray, " sample"], tuple[str, ...]]:
    """Number the combinations of the rule's columns that occur, in ascending order."""
    columns: Sequence[str] = rule.split("-")
    combinations, labels = np.unique(
        np.stack([packed.column(column) for column in columns], axis=1), axis=0, return_inverse=True
    )
    names = (
        "".join(f"{_LETTERS[column]}{number:03d}" for column, number in zip(columns, combination, strict=True))
        for combination in combinations.tolist()
    )
    return labels.astype(np.int64), tuple(names)
