"""Whether two stores hold the same numbers: result rows, tensors and losses, to the last bit."""

from pathlib import Path

import pyarrow.parquet as pq
from safetensors.numpy import load_file

from stars.curve import CURVE_FILE
from stars.outcome import Outcome
from stars.results import read
from stars.store import Store


def differences(one: Path, other: Path) -> list[str]:
    """What differs between two stores, in words; nothing when they are equal.

    Compared are the rows by fingerprint, metric and k, the tensors of every finished stage, and every loss of a
    training. Times, attempts and the machine are not.
    """
    stores = Store(one, read_only=True), Store(other, read_only=True)
    rows, stages = [_rows(store) for store in stores], [_finished(store) for store in stores]
    found = [f"row {key}: {rows[0].get(key)} and {rows[1].get(key)}" for key in _unlike(*rows)]
    found += [f"{stage}: finished in one store only" for stage in sorted(stages[0].keys() ^ stages[1].keys())]
    if not rows[0] or not stages[0]:
        found.append(f"{one}: holds nothing to compare")
    for stage in sorted(stages[0].keys() & stages[1].keys()):
        contents = [_content(store, stage, found[stage]) for store, found in zip(stores, stages, strict=True)]
        found += [f"{stage}: {name} differs" for name in _unlike(*contents)]
    return found


def _unlike(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """The keys that are not in both with the same value."""
    return sorted(key for key in one.keys() | other.keys() if key not in one or one[key] != other.get(key))


def _rows(store: Store) -> dict[str, object]:
    """Every number, as its exact hexadecimal form, by what it is."""
    return {
        " ".join(str(row[name]) for name in ("fingerprint", "metric", "split", "k")): float(row["value"]).hex()
        for row in read(store).to_pylist()
    }


def _finished(store: Store) -> dict[str, Outcome]:
    """The outcome of every finished stage, by kind and fingerprint."""
    outcomes = {f"{kind}/{name}": store.last_outcome(kind, name)[0] for kind, name in store.stages()}
    return {stage: last for stage, last in outcomes.items() if last is not None and last.status == "finished"}


def _content(store: Store, stage: str, outcome: Outcome) -> dict[str, object]:
    """Type, shape and bytes of every tensor a stage has left, and its losses."""
    folder = store.location / stage / "attempts" / outcome.attempt / "output"
    content: dict[str, object] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        for name, array in load_file(path).items():
            content[f"{path.name}/{name}"] = (str(array.dtype), array.shape, array.tobytes())
    if (folder / CURVE_FILE).is_file():
        content["losses"] = [loss.hex() for loss in pq.read_table(folder / CURVE_FILE)["loss"].to_pylist()]
    return content
