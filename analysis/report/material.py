"""What a report is made of: the joined frame, the chain of steps behind every point, and how each step ended."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.load import CONTEXT, contexts, load, plain
from stars.outcome import Outcome
from stars.store import Store
from stars.sweep import AxisValue, read_plans


@dataclass(frozen=True, kw_only=True)
class Material:
    """All that is read from the store, once.

    Attributes:
        store: where from.
        frame: what `analysis.load.load` returned, for all sweeps.
        chains: `kind/fingerprint` of everything that a point needs, inputs first, by the point's fingerprint.
        outcomes: last outcomes by `kind/fingerprint`; steps that have none are left out.
    """

    store: Store
    frame: pd.DataFrame
    chains: Mapping[str, Sequence[str]]
    outcomes: Mapping[str, Outcome]


def read(store: Store) -> Material:
    """Read everything. Raises StoreError naming what is damaged or of another version."""
    frame = load(store)
    planned = read_plans(store).select(["fingerprint", "upstream"]).to_pylist()
    chains = {line["fingerprint"]: line["upstream"] for line in planned}
    # A number that no plan mentions has no chain; its own outcome is where its probe says.
    alone = frame[frame["sweep"].isna()].drop_duplicates("fingerprint")
    chains |= {line["fingerprint"]: [f"{line['probe']}/{line['fingerprint']}"] for line in alone.to_dict("records")}
    outcomes = {}
    for step in dict.fromkeys(step for chain in chains.values() for step in chain):
        outcome, _ = store.last_outcome(*step.split("/"))
        if outcome is not None:
            outcomes[step] = outcome
    return Material(store=store, frame=frame, chains=chains, outcomes=outcomes)


def in_contexts(frame: pd.DataFrame) -> Iterator[tuple[str, dict[str, AxisValue], pd.DataFrame]]:
    """The lines of every sweep in every context that it was planned in: its name, the context, the lines."""
    for sweep, points in frame[frame["sweep"].notna()].groupby("sweep", sort=True):
        columns = contexts(points)
        keys = [tuple(map(plain, line)) for line in points[columns].itertuples(index=False)]
        for key in dict.fromkeys(keys):
            given = zip(columns, key, strict=True)
            context = {name.removeprefix(CONTEXT): content for name, content in given if content is not None}
            yield str(sweep), context, points[[other == key for other in keys]]
