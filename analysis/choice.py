"""Which lines of a loaded frame a table is about: one sweep in one context, and of every point one number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from analysis.load import CONTEXT, axes, contexts, plain
from stars.sweep import AxisValue

SEED = "seed"
# The reference that every other line of a table is compared with.
BASELINE = "stage 1 only"
# Columns that may tell two numbers of one point apart once split, metric and k are chosen.
_DISTINGUISHING = ("probe", "feature", "k", "draw", "variant", "selected_on", "epoch", "value")


@dataclass(kw_only=True)
class Condition:
    """The points that differ in their seed alone: one line of a table.

    Attributes:
        reference: empty for the grid.
        labels: values on the axes other than the seed, by axis; None on an axis that a reference does not take.
        fingerprints: by seed (None where there is no such axis).
        states: by fingerprint.
    """

    reference: str
    labels: Mapping[str, AxisValue | None]
    fingerprints: dict[AxisValue | None, str] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)

    def described(self) -> str:
        """Name and values, for a message."""
        given = [f"{name}={content}" for name, content in self.labels.items() if content is not None]
        return ", ".join([self.reference or "the grid", *given])


def choose(
    frame: pd.DataFrame, sweep: str, context: Mapping[str, AxisValue] | None = None
) -> tuple[pd.DataFrame, dict[str, AxisValue]]:
    """The lines of one sweep in one context, and that context.

    Args:
        frame: what `load` returned.
        sweep: its name.
        context: as many entries as it takes to leave one of the planned contexts; values may be given as text.

    Raises:
        ValueError: an unknown sweep or context entry, or not exactly one context left; lists what there is.
    """
    points = frame[frame["sweep"] == sweep]
    if points.empty:
        there = ", ".join(sorted(frame["sweep"].dropna().unique())) or "none"
        raise ValueError(f"sweep {sweep!r} is not in the frame; there are: {there}")
    columns = [name for name in contexts(points) if points[name].notna().any()]
    known = [name.removeprefix(CONTEXT) for name in columns]
    wanted = dict(context or {})
    if unknown := sorted(wanted.keys() - set(known)):
        raise ValueError(f"context {unknown[0]!r} is unknown; {sweep} has {', '.join(known) or 'none'}")
    keys = [tuple(map(plain, line)) for line in points[columns].itertuples(index=False)]
    planned = [dict(zip(known, key, strict=True)) for key in dict.fromkeys(keys)]
    left = [entries for entries in planned if all(_same(entries[name], given) for name, given in wanted.items())]
    if len(left) > 1:
        raise ValueError(f"sweep {sweep} is planned in {len(left)} contexts; choose one: {_listed(left)}")
    if not left:
        asked = " ".join(f"{name}={spelled(given)}" for name, given in wanted.items())
        raise ValueError(f"sweep {sweep} is not planned with {asked}; there is: {_listed(planned)}")
    chosen = tuple(left[0].values())
    return points[[key == chosen for key in keys]], {name: v for name, v in left[0].items() if v is not None}


def conditions(points: pd.DataFrame) -> list[Condition]:
    """The lines of a table, grid first, in the order of the frame.

    Raises:
        ValueError: a point that two plans give different fingerprints: code or data changed its meaning between them.
    """
    names = axes(points)
    labels = [name for name in names if name != SEED]
    found: dict[tuple[object, ...], Condition] = {}
    for line in points[["reference", "fingerprint", "state", *names]].to_dict("records"):
        at = {name: plain(line[name]) for name in labels}
        key = (line["reference"], *at.values())
        condition = found.setdefault(key, Condition(reference=line["reference"], labels=at))
        seed, print_ = plain(line[SEED]) if SEED in names else None, line["fingerprint"]
        known = condition.fingerprints.setdefault(seed, print_)
        if known != print_:
            raise ValueError(
                f"{condition.described()}, seed {seed} is planned as {known[:12]} and as {print_[:12]}: code or data "
                f"changed its meaning between two plans; choose one of the plans in the store"
            )
        condition.states[print_] = line["state"]
    return list(found.values())


def numbers(
    points: pd.DataFrame,
    *,
    metric: str,
    k: int | None,
    split: str = "test",
    feature: str | None = None,
    selected_on: str | None = None,
) -> pd.DataFrame:
    """One number of every measured point: a frame with the row's columns, indexed by fingerprint.

    A number that has a k counts when it is `k`, one without always. A number from a checkpoint that was chosen on the
    samples that it is measured on gives way to the point's other one unless `selected_on` asks for it.

    Raises:
        ValueError: several numbers of one point remain; names the columns in which they differ.
    """
    held = points[points["value"].notna() & (points["metric"] == metric) & (points["split"] == split)]
    held = held[held["k"].isna() | (held["k"] == k).fillna(value=False)] if k is not None else held[held["k"].isna()]
    if feature is not None:
        held = held[held["feature"] == feature]
    if selected_on is not None:
        held = held[held["selected_on"] == selected_on]
    else:
        fair = held["selected_on"] != held["split"]
        held = held[fair | ~held["fingerprint"].isin(held.loc[fair, "fingerprint"])]
    held = held.drop_duplicates(["fingerprint", *_DISTINGUISHING])
    repeated = held[held["fingerprint"].duplicated(keep=False)]
    if not repeated.empty:
        first = repeated[repeated["fingerprint"] == repeated["fingerprint"].iloc[0]]
        differing = [
            f"{name} ({', '.join(str(plain(v)) for v in first[name].unique())})"
            for name in _DISTINGUISHING
            if first[name].nunique(dropna=False) > 1
        ]
        raise ValueError(f"{metric} has several numbers for one point; they differ in {', '.join(differing)}: choose")
    return held.set_index("fingerprint")


def spelled(content: AxisValue | None) -> str:
    """A value as a table shows it; "-" where there is none."""
    if content is None:
        return "-"
    return str(content).lower() if isinstance(content, bool) else str(content)


def _same(actual: AxisValue | None, given: AxisValue) -> bool:
    if isinstance(given, str) and actual is not None and not isinstance(actual, str):
        return spelled(actual) == given.lower()
    return isinstance(actual, bool) == isinstance(given, bool) and actual == given


def _listed(planned: Sequence[Mapping[str, AxisValue | None]]) -> str:
    """Contexts by the entries in which they differ; a single one in full."""
    first = planned[0]
    differing = [name for name in first if any(entries[name] != first[name] for entries in planned)]
    return " | ".join(
        " ".join(f"{name}={spelled(entries[name])}" for name in differing or first) for entries in planned
    )
