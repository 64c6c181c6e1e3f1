"""How many sequences of each part the published experiments use, beside how many a prepared store has.

Sources: the authors' lists of names, counted; for PKU-MMD phase II the STARS paper, section 4.1.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from stars.data.dataset import describe, parts
from stars.data.missing import missing_skeletons
from stars.data.ntu import NtuName, parse_name
from stars.data.packed import Packed
from stars.data.pku import video_of
from stars.data.prepare import LAST_SETUP, SUFFIX, NtuDataSet
from stars.data.skeleton import Unreadable

DataSet = Literal["ntu60", "ntu120", "pku1", "pku2"]
Protocol = Literal["XSub", "XView", "XSet"]
Part = Literal["train", "test"]

# Training and test. A second number is that of older papers, which count three recordings more in XSub's test part and
# in XSet's training part. PKU-MMD's numbers of clips by view are nowhere stated.
_COUNTS: dict[DataSet, dict[Protocol, tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "ntu60": {"XSub": ((40091,), (16487,)), "XView": ((37646,), (18932,))},
    "ntu120": {"XSub": ((63026,), (50919, 50922)), "XSet": ((54468, 54471), (59477,))},
    "pku1": {"XSub": ((18841,), (2704,)), "XView": ((), ())},
    "pku2": {"XSub": ((5332,), (1613,)), "XView": ((), ())},
}
_PARTS: tuple[Part, ...] = ("train", "test")
_FIRST_SETUP_OF_120 = 18
_NUM_CAMERAS = 3
_NUM_ACTIONS = 60  # in each half of NTU-120


@dataclass(frozen=True, kw_only=True)
class Count:
    """The size of one part of one protocol.

    Attributes:
        protocol: XSub, XView or XSet.
        part: train or test.
        published: what it is in publications; none where none states it.
        found: what it is in the store.
    """

    protocol: Protocol
    part: Part
    published: tuple[int, ...]
    found: int

    @property
    def agrees(self) -> bool:
        """Whether the store has a published number, or there is none."""
        return not self.published or self.found in self.published


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Which names a store lacks, and which it has beyond the published ones; ascending."""

    absent: tuple[str, ...]
    unexpected: tuple[str, ...] = ()


def counts(data_set: DataSet, packed: Packed) -> tuple[Count, ...]:
    """The size of every part of every protocol of the data set.

    Raises:
        ValueError: the store cannot be split so, since it is of another data set.
    """
    found = []
    for protocol, published in _COUNTS[data_set].items():
        rows = parts(describe(packed, protocol=protocol), packed)
        for part, numbers, chosen in zip(_PARTS, published, rows, strict=True):
            found.append(Count(protocol=protocol, part=part, published=numbers, found=len(chosen)))
    return tuple(found)


def ntu_difference(data_set: NtuDataSet, packed: Packed) -> Difference:
    """The recordings that a store of NTU RGB+D should hold and does not, and the other way round.

    Of every setup, subject and replication of which anything is there, in the store or among what was rejected, all
    cameras and all actions of that setup were recorded; those without a skeleton are not expected. Of what is absent
    altogether no name is known.
    """
    present = frozenset(packed.names)
    rejected = {file.removesuffix(SUFFIX) for file in packed.rejected["file"].to_pylist()}
    groups = set()
    for name in present | rejected:
        try:
            labels = parse_name(name)
        except Unreadable:
            continue
        if labels.setup <= LAST_SETUP[data_set]:
            groups.add((labels.setup, labels.subject, labels.replication))
    expected = set()
    for setup, subject, replication in groups:
        first = 1 if setup < _FIRST_SETUP_OF_120 else 1 + _NUM_ACTIONS
        for camera in range(1, _NUM_CAMERAS + 1):
            for action in range(first, first + _NUM_ACTIONS):
                expected.add(_name_of(NtuName(setup, camera, subject, replication, action)))
    expected -= missing_skeletons()
    return Difference(absent=tuple(sorted(expected - present)), unexpected=tuple(sorted(present - expected)))


def pku_difference(packed: Packed, videos: Collection[str]) -> Difference:
    """The videos that the split files name and of which no action is in the store, and what was rejected or left out.

    Args:
        packed: a store of PKU-MMD.
        videos: all that the data set's split files name.
    """
    present = {video_of(name) for name in packed.names}
    rejected = {
        entry["file"] if entry["line"] is None else f"{entry['file']}:{entry['line']}"
        for entry in packed.rejected.to_pylist()
    }
    return Difference(
        absent=tuple(sorted({*(set(videos) - present), *rejected})),
        unexpected=tuple(sorted(present - set(videos))),
    )


def _name_of(labels: NtuName) -> str:
    return "".join(f"{letter}{number:03d}" for letter, number in zip("SCPRA", labels, strict=True))
