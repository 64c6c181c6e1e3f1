"""Gaps and failures: every planned point that has no number, the step at which it stands, and why."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from analysis.choice import spelled
from analysis.load import axes, plain
from analysis.report.material import Material
from analysis.report.values import anchor
from analysis.report.view import Cell, Failure, Table
from stars.outcome import Outcome

_WORDS = {"oom": "out of memory"}


def worded(state: str) -> str:
    """A state as the page calls it."""
    return _WORDS.get(state, state)


def failure(material: Material, title: str, link: str, points: pd.DataFrame) -> Failure | None:
    """The gaps of one sweep in one context; None where there are none.

    Args:
        material: what was read.
        title: sweep and context.
        link: to its section.
        points: the lines of the frame.
    """
    # Seeds that mean the same computation are one gap.
    absent = points[points["state"] != "finished"].drop_duplicates("fingerprint")
    if absent.empty:
        return None
    names = [name for name in axes(points) if absent[name].notna().any()]
    lines = []
    for line in absent.to_dict("records"):
        step, outcome = _standing(material.chains.get(line["fingerprint"], ()), material.outcomes)
        lines.append(
            [
                Cell(text=str(line["reference"]) or "grid"),
                *(_axis_cell(plain(line[name])) for name in names),
                Cell(text=worded(line["state"]), look=f"state {line['state']}"),
                Cell(text=_short(step), link=f"#{anchor(step.partition('/')[2])}" if outcome else ""),
                Cell(text=_reason(outcome), look="long"),
            ]
        )
    counts = Counter(map(worded, absent["state"]))
    numeric = [pd.api.types.is_any_real_numeric_dtype(absent[name]) for name in names]
    headers = [("line", False), *zip(names, numeric, strict=True), ("state", False), ("step", False), ("why", False)]
    return Failure(
        title=title,
        link=link,
        counts=sorted(counts.items()),
        table=Table(name=f"Points of {title} without a number", headers=headers, lines=lines),
    )


def _standing(chain: Sequence[str], outcomes: Mapping[str, Outcome]) -> tuple[str, Outcome | None]:
    """The step that failed, or else the first that has no outcome."""
    for step in chain:
        outcome = outcomes.get(step)
        if outcome is not None and outcome.status != "finished":
            return step, outcome
    return next((step for step in chain if step not in outcomes), ""), None


def _short(step: str) -> str:
    kind, _, fingerprint = step.partition("/")
    return f"{kind} {fingerprint[:12]}"


def _reason(outcome: Outcome | None) -> str:
    if outcome is None:
        return "not computed yet"
    after = "" if outcome.horizon is None else f"after {outcome.horizon} steps"
    return ", ".join(part for part in (outcome.reason, after) if part) or outcome.status


def _axis_cell(content: "bool | int | float | str | None") -> Cell:
    order = "" if content is None or isinstance(content, str) else json.dumps(content)
    return Cell(text=spelled(content), order=order)
