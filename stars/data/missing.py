"""The recordings of NTU RGB+D whose skeleton is missing or incomplete, as the data set's authors list them.

Every published number is of the data without them: 56,578 of the 56,880 recordings of NTU-60, and 113,945 of the
114,480 of NTU-120.
"""

import functools
from importlib import resources

_LIST = "ntu_missing_skeletons.txt"


@functools.cache
def missing_skeletons() -> frozenset[str]:
    """All 535 names of NTU-120; those with a setup up to 17 are the 302 of NTU-60."""
    names = set()
    for line in resources.files("stars.data").joinpath(_LIST).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            start, *recordings = line.split()
            for recording in recordings:
                replication, action = map(int, recording.split("."))
                names.add(f"{start}R{replication:03d}A{action:03d}")
    return frozenset(names)
