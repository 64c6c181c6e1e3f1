"""Do two probes of the same test samples differ? McNemar's test on their predictions, sample by sample.

One run against one run: it says whether these two differ on these samples, and nothing about other seeds.
"""

import numpy as np

from analysis.outputs import predicted_column, predictions
from analysis.statistics import Discordance, mcnemar
from stars.store import Store


def compare(store: Store, first: str, second: str, k: int | None = 10) -> Discordance:
    """Compare the predictions of two probes.

    Args:
        store: where they are.
        first: fingerprint of a probe, or its beginning.
        second: of the other.
        k: neighbours, where a probe predicts with several numbers of them.

    Raises:
        ValueError: no probe or several begin so, they were measured on different samples or with different labels, or
            there is no prediction with that k.
        StoreError: predictions are damaged.
    """
    frames = [predictions(store, _whole(store, name)).set_index("row").sort_index() for name in (first, second)]
    one, other = frames
    if not one.index.equals(other.index) or not np.array_equal(one["label"], other["label"]):
        raise ValueError(
            f"{first} and {second} are about {len(one)} and {len(other)} samples, or labels, that differ; allowed: two "
            f"probes of the same samples and labels"
        )
    right = [
        np.asarray(frame[predicted_column(list(frame.columns), k)] == frame["label"], np.bool_) for frame in frames
    ]
    return mcnemar(right[0], right[1])


def _whole(store: Store, start: str) -> str:
    """The one fingerprint with predictions that begins so."""
    folder = store.location / "predictions"
    found = sorted(path.stem for path in folder.glob("*.parquet") if path.stem.startswith(start))
    if len(found) != 1:
        raise ValueError(f"{start!r} is the beginning of {len(found)} probes with predictions; allowed: of one")
    return found[0]
