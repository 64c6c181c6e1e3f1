"""The protocols of NTU RGB+D: which sample is trained on, which is tested on, and in which order they stand.

The order is that of the published data files: not by name, but subject after subject, camera after camera or setup
after setup, and by name within one.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Int64

Protocol = Literal["XSub", "XView", "XSet"]

# NTU-60 has the subjects 1 to 40, and the list of NTU-120 agrees with its own there.
TRAIN_SUBJECTS = frozenset(
    (
        *(1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38),
        *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89),
        *(91, 92, 93, 94, 95, 97, 98, 100, 103),
    )
)
TRAIN_CAMERAS = frozenset([2, 3])

GROUPED_BY: dict[Protocol, str] = {"XSub": "subject", "XView": "camera", "XSet": "setup"}
"""The column of the index that decides, per protocol."""


def rows(
    protocol: Protocol, groups: Int64[np.ndarray, " sample"]
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " test"]]:
    """The training and the test rows, in published order.

    Args:
        protocol: XSub trains on half of the subjects, XView on cameras 2 and 3, XSet on the even setups.
        groups: every sample's subject, camera or setup (`GROUPED_BY`), samples ordered by name.

    Raises:
        ValueError: XView with a camera other than 1, 2 and 3.
    """
    present = sorted(set(groups.tolist()))
    if protocol == "XView" and (unknown := [camera for camera in present if camera not in {1, 2, 3}]):
        raise ValueError(f"Data.protocol is 'XView', and there is a camera {unknown[0]}; allowed: cameras 1, 2, 3")
    train = [group for group in present if _is_training(protocol, group)]
    test = [group for group in present if not _is_training(protocol, group)]
    return _in_order(train, groups), _in_order(test, groups)


def _is_training(protocol: Protocol, group: int) -> bool:
    match protocol:
        case "XSub":
            return group in TRAIN_SUBJECTS
        case "XView":
            return group in TRAIN_CAMERAS
        case "XSet":
            return group % 2 == 0


def _in_order(chosen: Sequence[int], groups: Int64[np.ndarray, " sample"]) -> Int64[np.ndarray, " chosen"]:
    empty = np.empty(0, np.int64)
    return np.concatenate([empty, *(np.flatnonzero(groups == group) for group in chosen)])
