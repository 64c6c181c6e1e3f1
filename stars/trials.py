"""Trials of searches as rows: what a search tried, how far it went, and which axes mattered. Schemas and reading.

A search keeps its own journal. These tables are views, made anew from it:
`searches/<sweep>/<study>.parquet` and `searches/<sweep>/<study>-importances.parquet`.
"""

from pathlib import Path

import pyarrow as pa

from stars.outcome import StoreError
from stars.parquet import read_all
from stars.store import Store

VIEW_VERSION = 1
IMPORTANCES = "-importances"

TRIALS_SCHEMA = pa.schema(
    [
        pa.field("study", pa.string(), nullable=False),
        pa.field("sweep", pa.string(), nullable=False),
        # As the journal numbers them; numbers that are left out were repetitions, or cut off before they were whole.
        pa.field("trial", pa.int32(), nullable=False),
        # Of the whole trial: `finished` (trained in full), `stopped` (at its last horizon here), `failed`, `running`.
        pa.field("state", pa.string(), nullable=False),
        # Why it failed; empty otherwise.
        pa.field("reason", pa.string(), nullable=False),
        # Values by axis, as JSON.
        pa.field("axes", pa.string(), nullable=False),
        # Epochs of training behind this row's value.
        pa.field("horizon", pa.int32(), nullable=False),
        # Mean over the seeds; null while it runs and where it failed.
        pa.field("value", pa.float64()),
        # By seed, as JSON; empty where `value` is null.
        pa.field("values", pa.string(), nullable=False),
        # Fingerprints of the probes by seed, as JSON; empty where `value` is null.
        pa.field("probes", pa.string(), nullable=False),
        # `kind/fingerprint` of everything that the row's probes need, for all seeds: what the search has run, or runs.
        pa.field("upstream", pa.list_(pa.string()), nullable=False),
        pa.field("started", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("ended", pa.timestamp("us", tz="UTC")),
        # What the whole study shares.
        pa.field("horizons", pa.list_(pa.int32()), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("k", pa.int32()),
        pa.field("greater_is_better", pa.bool_(), nullable=False),
        # What the command line chose (data, recipe …), as JSON.
        pa.field("context", pa.string(), nullable=False),
        pa.field("schema_version", pa.int32(), nullable=False),
    ]
)

IMPORTANCES_SCHEMA = pa.schema(
    [
        pa.field("study", pa.string(), nullable=False),
        pa.field("axis", pa.string(), nullable=False),
        # A share; those of a study add up to 1. Null where it could not be told.
        pa.field("importance", pa.float64()),
        # Why it could not be told, or what it means where the axis does not always exist; empty otherwise.
        pa.field("reason", pa.string(), nullable=False),
    ]
)


def view_key(sweep: str, study: str) -> str:
    """Where the view of a study lies."""
    return f"searches/{sweep}/{study}.parquet"


def importances_key(sweep: str, study: str) -> str:
    """Where the importances of a study's axes lie."""
    return f"searches/{sweep}/{study}{IMPORTANCES}.parquet"


def studies(store: Store, sweep: str) -> list[str]:
    """Names of the searches of a sweep that have a view."""
    names = [Path(key).stem for key in store.keys(f"searches/{sweep}", ".parquet")]
    return [name for name in names if not name.endswith(IMPORTANCES)]


def read_trials(store: Store, sweep: str, study: str) -> pa.Table:
    """The rows of one search, in `TRIALS_SCHEMA`.

    Raises:
        StoreError: a damaged file, or one of another version; names it.
    """
    path = store.location / view_key(sweep, study)
    table = read_all([path], TRIALS_SCHEMA)
    if versions := set(table["schema_version"].to_pylist()) - {VIEW_VERSION}:
        raise StoreError(f"{path}: schema version {sorted(versions)}; this code reads {VIEW_VERSION}")
    return table


def read_importances(store: Store, sweep: str, study: str) -> pa.Table:
    """The importance of every axis of one search, in `IMPORTANCES_SCHEMA`. Raises StoreError naming a damaged file."""
    return read_all([store.location / importances_key(sweep, study)], IMPORTANCES_SCHEMA)
