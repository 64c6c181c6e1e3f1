"""The protocols of NTU RGB+D: which sample is trained on, which is tested on, and in which order they stand.

The order is that of the published data files: not by name, but subject after subject, camera after camera or setup
after setup, and by name within one.
"""

from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int64

from stars.data.packed import UNKNOWN

Protocol = Literal["XSub", "XView", "XSet", "subjects", "list"]
"""XSub, XView and XSet as published; all but some subjects; all but a list of samples."""
Published = Literal["XSub", "XView", "XSet"]

# NTU-60 has the subjects 1 to 40, and the list of NTU-120 agrees with its own there.
TRAIN_SUBJECTS = frozenset(
    (
        *(1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38),
        *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89),
        *(91, 92, 93, 94, 95, 97, 98, 100, 103),
    )
)
TRAIN_CAMERAS = frozenset([2, 3])

GROUPED_BY: dict[Published, str] = {"XSub": "subject", "XView": "camera", "XSet": "setup"}
"""The column of the index that decides, per protocol."""


def rows(
    protocol: Published, groups: Int64[np.ndarray, " sample"]
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " test"]]:
    """The training and the test rows, in published order.

    Args:
        protocol: XSub trains on half of the subjects, XView on cameras 2 and 3, XSet on the even setups.
        groups: every sample's subject, camera or setup (`GROUPED_BY`), samples ordered by name.

    Raises:
        ValueError: a group that is not known, or XView with a camera other than 1, 2 and 3.
    """
    present = _known(protocol, GROUPED_BY[protocol], groups)
    if protocol == "XView" and (unknown := [camera for camera in present if camera not in {1, 2, 3}]):
        raise ValueError(f"Data.protocol is 'XView', and there is a camera {unknown[0]}; allowed: cameras 1, 2, 3")
    train = [group for group in present if is_training(protocol, group)]
    test = [group for group in present if not is_training(protocol, group)]
    return _in_order(train, groups), _in_order(test, groups)


def without_subjects(
    test_subjects: Collection[int], subjects: Int64[np.ndarray, " sample"]
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " test"]]:
    """Train on everybody but some subjects, test on these; subject after subject.

    Args:
        test_subjects: who is left out of the training.
        subjects: every sample's subject, samples ordered by name.

    Raises:
        ValueError: a subject is not known, or one that is to be left out is not there.
    """
    present = _known("subjects", "subject", subjects)
    if absent := sorted(set(test_subjects) - set(present)):
        raise ValueError(f"Data.test_subjects names {absent[0]}; allowed: subjects that are there, {present}")
    train = [subject for subject in present if subject not in test_subjects]
    return _in_order(train, subjects), _in_order(sorted(test_subjects), subjects)


def listed(
    training: Collection[str], names: Sequence[str]
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " test"]]:
    """Train on the samples of a list, test on all others; both by name.

    Args:
        training: names of samples.
        names: of all samples, ascending.

    Raises:
        ValueError: a name in the list is that of no sample.
    """
    if unknown := sorted(set(training) - set(names)):
        raise ValueError(
            f"the list of training samples names {unknown[0]!r} and {len(unknown) - 1} more that are not there; "
            "allowed: names of samples"
        )
    is_listed = np.array([name in training for name in names], bool)
    return np.flatnonzero(is_listed), np.flatnonzero(~is_listed)


def whole_numbers(option: str, text: str | None) -> tuple[int, ...]:
    """Ascending numbers from text like `1,4-6`; none from None. Raises ValueError naming the option and what it has."""
    found: set[int] = set()
    for part in [] if text is None else text.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last) if dash else (first, first)
        if not all(end.isdecimal() and len(end) <= 6 for end in ends) or int(ends[0]) > int(ends[1]):
            raise ValueError(f"{option} has {part!r}; allowed: numbers and ranges, as 1,4-6")
        found.update(range(int(ends[0]), int(ends[1]) + 1))
    return tuple(sorted(found))


def is_training(protocol: Published, group: int) -> bool:
    """Whether a protocol trains on a subject, camera or setup."""
    match protocol:
        case "XSub":
            return group in TRAIN_SUBJECTS
        case "XView":
            return group in TRAIN_CAMERAS
        case "XSet":
            return group % 2 == 0


def _known(protocol: Protocol, column: str, groups: Int64[np.ndarray, " sample"]) -> list[int]:
    """The groups that are there, ascending. Raises ValueError if that of a sample is not known."""
    present: list[int] = np.unique(groups).tolist()
    if UNKNOWN in present:
        raise ValueError(
            f"Data.protocol is {protocol!r}, and the {column} of {(groups == UNKNOWN).sum()} samples is not known; "
            f"allowed: a protocol that does not ask for the {column}"
        )
    return present


def _in_order(chosen: Sequence[int], groups: Int64[np.ndarray, " sample"]) -> Int64[np.ndarray, " chosen"]:
    empty = np.empty(0, np.int64)
    return np.concatenate([empty, *(np.flatnonzero(groups == group) for group in chosen)])
