"""Every published cell beside ours: how far apart they are, whether that is within the interval, and if not known, why.

A published number is one run (Table 9: a mean of five). It counts as reproduced when it lies in our 95 % interval over
seeds or in Wilson's interval over the test samples, whichever is wider, or rounds into it.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from analysis import places
from analysis.choice import SEED
from analysis.load import CONTEXT, axes, contexts, plain
from analysis.published import cells
from analysis.statistics import interval, wilson

# Half of the last printed digit, in points.
ROUNDING = 0.05

VERDICTS = ("reproduced", "differs", "open", "not ours")
REASONS: Mapping[str, str] = {
    "within the interval": "the published number lies in ours",
    "below the interval": "the published number lies below our interval",
    "above the interval": "the published number lies above our interval",
    "other samples": "our number is of another number of test samples than the published split has",
    "incomplete": "planned seeds are not there, or have failed; the mean over the others decides nothing",
    "without a number": "planned, but no seed has a number",
    "other recipe": "there are numbers, but of another recipe",
    "several experiments": "points of several experiments (data, labels, reseeding …) have its place",
    "not run": "no planned point has this place",
    "no code here": "a method of others, to compare with",
}
"""What the codes in the column `reason` mean."""

_OURS = ("ours", "low", "high", "count", "planned", "missing", "samples", "difference", "tolerance")


@dataclass(kw_only=True)
class _Claim:
    """The points of one experiment that have the place of a cell.

    Attributes:
        recipe: empty where none is recorded.
        fingerprints: by seed; more than one where plans contradict each other.
        states: by fingerprint.
        values: measured fractions, by fingerprint.
        samples: by fingerprint, how many the value is of.
        sweeps: that planned them.
        selected: what chose the checkpoints: `none`, `val` or `test`.
    """

    recipe: str
    fingerprints: dict[object, set[str]] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    values: dict[str, set[float]] = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)
    sweeps: set[str] = field(default_factory=set)
    selected: set[str] = field(default_factory=set)

    def is_ambiguous(self) -> bool:
        """Whether a seed means several computations, or a computation several numbers."""
        names = any(len(found) > 1 for found in self.fingerprints.values())
        return names or any(len(found) > 1 for found in self.values.values())

    def planned(self) -> list[str]:
        """Distinct computations, in the order of the seeds."""
        return list(dict.fromkeys(name for names in self.fingerprints.values() for name in sorted(names)))


def compare(frame: pd.DataFrame, recipe: str = "paper") -> pd.DataFrame:
    """The published cells, one a line, and beside each what a store holds for it.

    Columns: those of `published.cells`; then of ours, in per cent: `ours`, the mean over seeds; `low` and `high`, the
    ends of its interval; `count` of `planned` distinct computations, and `missing`, what became of the others;
    `samples` of the test; `difference` to the published number; `tolerance`, how far it may be away on its side;
    `verdict`, one of `VERDICTS`; `reason`, a code of `REASONS`; `detail`, in words; `sweeps`, that planned ours.

    A cell that two sources report is compared with each.

    Args:
        frame: what `load` returned, of the whole store.
        recipe: whose numbers count.
    """
    lines = list[dict[Any, Any]]()
    named, found = _points(frame), dict[tuple[Any, ...], list[_Claim]]()
    for line in cells().to_dict("records"):
        key = tuple(line[name] for name in ("table", "method", "dataset", "protocol", "metric"))
        if not places.is_ours(line["table"], line["method"]):
            lines.append({**line, **_verdict("not ours", "no code here")})
            continue
        if key not in found:
            found[key] = _claims(named, line)
        lines.append({**line, **_compared(line, found[key], recipe)})
    table = pd.DataFrame(lines)
    for name in ("count", "planned", "samples"):
        table[name] = table[name].astype("Int64")
    table.attrs = {"recipe": recipe}
    return table


def tally(compared: pd.DataFrame) -> pd.DataFrame:
    """How many cells there are of each verdict and reason: columns `verdict`, `reason`, `cells`, `meaning`."""
    counts = compared.groupby(["verdict", "reason"], sort=False).size()
    lines = [
        {"verdict": verdict, "reason": reason, "cells": int(counts[verdict, reason]), "meaning": meaning}
        for verdict in VERDICTS
        for reason, meaning in REASONS.items()
        if (verdict, reason) in counts.index
    ]
    return pd.DataFrame(lines, columns=["verdict", "reason", "cells", "meaning"])


@dataclass(frozen=True, kw_only=True)
class _Points:
    """A loaded frame with every line's axes and experiment, which are looked up again for each cell.

    Attributes:
        frame: with the lines that can have a place: accuracies on the test split, and planned points without numbers.
        records: its lines.
        axes: of each line.
        experiments: of each line, what tells its experiment from others.
        probes: of each sweep, the probes that it has numbers of.
    """

    frame: pd.DataFrame
    records: Sequence[Mapping[Hashable, Any]]
    axes: Sequence[Mapping[str, Any]]
    experiments: Sequence[tuple[object, ...]]
    probes: Mapping[str, frozenset[str]]


def _points(frame: pd.DataFrame) -> _Points:
    measured = (frame["metric"] == "accuracy") & (frame["split"] == "test") & frame["variant"].isna()
    held = frame[frame["sweep"].notna() & (measured | frame["value"].isna())]
    # A number that the test split chose gives way to the point's other one.
    fair = held["selected_on"] != "test"
    held = held[fair | ~held["fingerprint"].isin(held.loc[fair, "fingerprint"])]
    names, where = axes(held), contexts(held)
    return _Points(
        frame=held,
        records=held.to_dict("records"),
        axes=[_given(line) for line in held[names].to_dict("records")],
        experiments=[tuple(_given(line).items()) for line in held[where].to_dict("records")],
        probes={str(sweep): frozenset(some["probe"].dropna()) for sweep, some in held.groupby("sweep", sort=False)},
    )


def _given(line: Mapping[Hashable, Any]) -> dict[str, Any]:
    return {str(name): content for name, cell in line.items() if (content := plain(cell)) is not None}


def _claims(points: _Points, line: Mapping[Hashable, Any]) -> list[_Claim]:
    """What has the place of a published cell, by experiment."""
    measure, names = places.MEASURES[line["metric"]], places.names_of(line["method"])
    here = places.measured_here(points.frame, line["dataset"], line["protocol"]).tolist()
    claims: dict[tuple[object, ...], _Claim] = {}
    for row, matches, at, experiment in zip(points.records, here, points.axes, points.experiments, strict=True):
        if not matches or places.named(row["reference"], at, measure) not in names:
            continue
        if not _measures(row, measure, line["table"], points.probes[row["sweep"]]):
            continue
        recipe = plain(row.get(f"{CONTEXT}recipe")) or plain(row["recipe"]) or ""
        claim = claims.setdefault(experiment, _Claim(recipe=str(recipe)))
        name = row["fingerprint"]
        claim.fingerprints.setdefault(at.get(SEED), set()).add(name)
        claim.states[name] = row["state"]
        claim.sweeps.add(row["sweep"])
        if plain(row["k"]) == measure.k and not math.isnan(row["value"]):
            claim.values.setdefault(name, set()).add(row["value"])
            claim.samples[name] = int(row["count"])
            claim.selected.add(row["selected_on"])
    # Contexts may differ in what does not change the computation.
    return list({frozenset(claim.planned()): claim for claim in claims.values()}.values())


def _measures(row: Mapping[Hashable, Any], measure: places.Measure, table: int, probes: frozenset[str]) -> bool:
    """Whether a line is of this measure's probe.

    A point without numbers is when its sweep's other numbers are; and where there are none, when it names the table.
    """
    if math.isnan(row["value"]):
        return measure.probe in probes if probes else table in places.tables_of(row["paper"])
    return bool(row["probe"] == measure.probe)


def _compared(line: Mapping[Hashable, Any], claims: Sequence[_Claim], recipe: str) -> dict[str, Any]:
    wanted = [claim for claim in claims if claim.recipe == recipe]
    if not wanted:
        others = sorted({claim.recipe or "none recorded" for claim in claims if claim.values})
        return _verdict("open", "other recipe", ", ".join(others)) if others else _verdict("open", "not run")
    claim = wanted[0]
    sweeps = ", ".join(sorted(set().union(*(claim.sweeps for claim in wanted))))
    if len(wanted) > 1 or claim.is_ambiguous():
        return _verdict("open", "several experiments", f"{len(wanted)} in {sweeps}")
    held = [name for name in claim.planned() if name in claim.values]
    absent = _absent(claim)
    if not held:
        return {**_verdict("open", "without a number", absent), "planned": len(claim.planned()), "sweeps": sweeps}
    ours = _ours(line, [100 * next(iter(claim.values[name])) for name in held], min(claim.samples[n] for n in held))
    ours |= {"planned": len(claim.planned()), "missing": absent, "sweeps": sweeps}
    expected = places.SAMPLES.get((line["dataset"], line["protocol"]))
    if expected is not None and ours["samples"] not in expected and "shot" not in line["metric"]:
        return {**_verdict("open", "other samples", f"{ours['samples']}, published {min(expected)}"), **ours}
    if absent:
        return {**_verdict("open", "incomplete", absent), **ours}
    detail = "checkpoint chosen on the test split" if "test" in claim.selected else ""
    if line["value"] < ours["low"] - ROUNDING:
        return {**_verdict("differs", "below the interval", detail), **ours}
    if line["value"] > ours["high"] + ROUNDING:
        return {**_verdict("differs", "above the interval", detail), **ours}
    return {**_verdict("reproduced", "within the interval", detail), **ours}


def _ours(line: Mapping[Hashable, Any], values: Sequence[float], samples: int) -> dict[str, Any]:
    """Mean, interval and difference, in per cent."""
    over_seeds = interval(values)
    low, high = (100 * end for end in wilson(over_seeds.mean / 100, samples))
    if over_seeds.count > 1:
        low, high = min(low, over_seeds.low), max(high, over_seeds.high)
    difference = over_seeds.mean - line["value"]
    return {
        "ours": over_seeds.mean,
        "low": low,
        "high": high,
        "count": over_seeds.count,
        "samples": samples,
        "difference": difference,
        # The published number lies on the side away from the difference.
        "tolerance": (over_seeds.mean - low if difference > 0 else high - over_seeds.mean) + ROUNDING,
    }


def _absent(claim: _Claim) -> str:
    states: dict[str, int] = {}
    for name in claim.planned():
        if name not in claim.values:
            state = claim.states[name]
            words = "finished without this number" if state == "finished" else state
            states[words] = states.get(words, 0) + 1
    return ", ".join(f"{number} {words}" for words, number in sorted(states.items()))


def _verdict(verdict: str, reason: str, detail: str = "") -> dict[str, Any]:
    blank = {name: None if name in ("count", "planned", "samples") else math.nan for name in _OURS}
    return {**blank, "missing": "", "verdict": verdict, "reason": reason, "detail": detail, "sweeps": ""}
