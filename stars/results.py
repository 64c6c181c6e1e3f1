"""The row: one number, with everything that tells where it comes from. Schema, write, read.

A probe leaves its numbers in `numbers.json` and, where it classifies, `predictions.parquet`. Once its outcome exists
they are published as `results/<fingerprint>.parquet` and `predictions/<fingerprint>.parquet`, created only if absent
and a pure function of the outcome, so that a run killed between the two is completed by the next. No sweep axes stand
in a row: a probe that two sweeps share is one file, and the planned points (`stars.sweep`) say where it belongs.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from stars.outcome import Outcome, StoreError
from stars.parquet import LATER, read_all, to_bytes
from stars.stage import Stage, fingerprint
from stars.store import Store

ROW_VERSION = 2
READABLE = frozenset({1, ROW_VERSION})
"""Versions of rows that this code reads: what came later than a row is null there."""
NUMBERS = "numbers.json"
PREDICTIONS = "predictions.parquet"

SCHEMA = pa.schema(
    [
        pa.field("fingerprint", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("data_content", pa.string(), nullable=False),
        pa.field("protocol", pa.string(), nullable=False),
        pa.field("label_rule", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("probe", pa.string(), nullable=False),
        # Version of the probe's class: rows of several are not compared.
        pa.field("stage_version", pa.int32(), nullable=False),
        pa.field("feature", pa.string(), nullable=False),
        pa.field("k", pa.int32()),
        pa.field("draw", pa.int32(), metadata=LATER),
        pa.field("variant", pa.string(), metadata=LATER),
        pa.field("metric", pa.string(), nullable=False),
        # A fraction, not per cent.
        pa.field("value", pa.float64()),
        # Samples that the value is computed on.
        pa.field("count", pa.int64(), nullable=False),
        pa.field("selected_on", pa.string(), nullable=False),
        pa.field("epoch", pa.int32()),
        # Seeds of the stages that have one, by kind, as JSON.
        pa.field("seeds", pa.string(), nullable=False),
        pa.field("recipe", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),
        pa.field("seconds", pa.float64(), nullable=False),
        pa.field("gpu_seconds", pa.float64(), nullable=False),
        pa.field("device", pa.string(), nullable=False),
        pa.field("workers", pa.int32(), nullable=False),
        pa.field("code", pa.string(), nullable=False),
        pa.field("libraries", pa.string(), nullable=False),
        pa.field("finished", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("schema_version", pa.int32(), nullable=False),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Number:
    """What a probe measured.

    Attributes:
        split: the samples it was measured on: `train`, `val` or `test`.
        probe: `knn`, `linear`, …
        feature: which vector of the encoder: `pooled`, `projected`, …; empty where none is used.
        k: neighbours, where there are any.
        metric: `accuracy` is a fraction in [0, 1]; over several draws it is their mean, and what belongs to one of them
            has a metric of its own (`accuracy_of_draw`), so that nobody averages it a second time.
        value: the number.
        count: samples it was computed on.
        selected_on: what chose the checkpoint: `none` is the last epoch.
        epoch: the epoch of the checkpoint, where there is one.
        draw: which draw, from 0, of those that the probe averages over.
        variant: which of several settings that the probe measured side by side.
    """

    split: Literal["train", "val", "test"]
    probe: str
    feature: str
    k: int | None
    metric: str
    value: float
    count: int
    selected_on: Literal["none", "val", "test"] = "none"
    epoch: int | None = None
    draw: int | None = None
    variant: str | None = None

    def title(self) -> str:
        """What tells it from the probe's other numbers, in few words."""
        chosen = "" if self.selected_on == "none" else f"best on {self.selected_on}"
        return " ".join(str(part) for part in (self.metric, self.k, self.variant, chosen) if part)


def write_numbers(folder: Path, numbers: Sequence[Number]) -> None:
    """Leave a probe's numbers in its output folder."""
    (folder / NUMBERS).write_text(json.dumps([asdict(number) for number in numbers], indent=1, allow_nan=False))


def read_numbers(store: Store, stage: Stage) -> list[Number]:
    """The numbers of a finished probe; none for a stage that measures nothing.

    Raises:
        StoreError: the stage is not finished, or its files are damaged.
    """
    path = store.output(stage) / NUMBERS
    return [Number(**number) for number in json.loads(path.read_text())] if path.is_file() else []


def publish(store: Store, stage: Stage, outcome: Outcome, output: Path) -> None:
    """Write the rows of a finished probe, unless they are there; nothing for a stage that measures nothing."""
    if not (output / NUMBERS).is_file():
        return
    if (output / PREDICTIONS).is_file():
        store.create(f"predictions/{fingerprint(stage)}.parquet", (output / PREDICTIONS).read_bytes())
    numbers = json.loads((output / NUMBERS).read_text())
    common = _provenance(stage, outcome)
    table = pa.Table.from_pylist([{**common, **number} for number in numbers], schema=SCHEMA)
    store.create(_key(stage), to_bytes(table))


def published(store: Store, stage: Stage) -> bool:
    """Whether the stage's rows are there."""
    return (store.location / _key(stage)).is_file()


def read(store: Store) -> pa.Table:
    """Every row of the store, page checksums verified.

    Raises:
        StoreError: a damaged or foreign file, by name.
    """
    return read_all([store.location / key for key in store.keys("results", ".parquet")], SCHEMA)


def states(store: Store, upstreams: Iterable[Sequence[str]]) -> list[str]:
    """For every planned point, given as its `kind/fingerprint` chain, how it stands.

    `finished`; the status of the first step that failed (`diverged`, `oom`); or `missing`.
    """
    known: dict[str, str | None] = {}

    def status(step: str) -> str | None:
        if step not in known:
            outcome, _ = store.last_outcome(*step.split("/"))
            known[step] = outcome.status if outcome else None
        return known[step]

    found = []
    for chain in upstreams:
        if status(chain[-1]) == "finished":
            found.append("finished")
            continue
        failed = [s for s in map(status, chain) if s not in (None, "finished")]
        found.append(failed[0] if failed and failed[0] else "missing")
    return found


def _key(stage: Stage) -> str:
    return f"results/{fingerprint(stage)}.parquet"


def _provenance(stage: Stage, outcome: Outcome) -> dict[str, Any]:
    measured = outcome.measured
    data = _first(outcome.value, "data.dataset.Data")
    return {
        "fingerprint": fingerprint(stage),
        "dataset": data["name"],
        "data_content": data["content"],
        "protocol": data["protocol"],
        "label_rule": data["label_rule"],
        "stage_version": outcome.value["version"],
        "seeds": json.dumps(_seeds(outcome.value), sort_keys=True),
        "recipe": measured.get("recipe", ""),
        "outcome": outcome.status,
        "seconds": measured["seconds"],
        "gpu_seconds": measured["gpu_seconds"],
        "device": measured["device"],
        "workers": measured["workers"],
        "code": measured["code"],
        "libraries": measured["libraries"],
        "finished": datetime.fromisoformat(measured["finished"]),
        "schema_version": ROW_VERSION,
        **dict.fromkeys(("k", "draw", "variant", "epoch")),
    }


def _first(document: Any, tag: str) -> Any:
    """The outermost value of a class in a canonical form: the data that the probe itself reads."""
    queue = [document]
    while queue:
        current = queue.pop(0)
        if isinstance(current, dict):
            if current.get("type") == tag:
                return current
            queue.extend(current.values())
        elif isinstance(current, list):
            queue.extend(current)
    raise StoreError(f"{document.get('type')}: reads no data set, so its rows cannot name one")


def _seeds(document: Any) -> dict[str, int]:
    """Seeds by class, of the value and everything in it."""
    found: dict[str, int] = {}
    if isinstance(document, dict):
        for content in document.values():
            found |= _seeds(content)
        if "seed" in document:
            found[str(document["type"]).rpartition(".")[2].lower()] = document["seed"]
    elif isinstance(document, list):
        for content in document:
            found |= _seeds(content)
    return found
