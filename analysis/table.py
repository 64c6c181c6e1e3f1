"""The table of a sweep: one line per condition with mean, interval and what is missing; and how it is printed.

`summary` is pure information, in fractions. The printers show per cent with one decimal.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from analysis import printing
from analysis.cells import sheet
from analysis.choice import BASELINE, SEED, Condition, choose, conditions, numbers
from analysis.load import axes, notes
from analysis.statistics import SIGNIFICANT, holm, interval, more_pairs, paired
from stars.sweep import AxisValue

COLUMNS = (
    "reference",
    "mean",
    "low",
    "high",
    "half_width",
    "count",
    "planned",
    "missing",
    "samples",
    "difference",
    "difference_half_width",
    "p_value",
    "p_holm",
    "wins",
    "pairs",
    "missing_pairs",
    "more_pairs",
    "values",
)
_WHOLE = ("count", "planned", "samples", "wins", "pairs", "missing_pairs", "more_pairs")
_CONFIDENCE = 0.95


def summary(
    frame: pd.DataFrame,
    *,
    sweep: str,
    metric: str = "accuracy",
    k: int | None = 10,
    context: Mapping[str, AxisValue] | None = None,
    split: str = "test",
    feature: str | None = None,
    selected_on: str | None = None,
) -> pd.DataFrame:
    """The sweep in one context: a line per combination of the axes other than the seed, then one per reference.

    Columns: those axes; `reference` (empty for the grid); `mean`, `low`, `high`, `half_width` (95 %, over seeds, see
    `statistics.interval`); `count`, the distinct fingerprints with a value, of `planned` distinct ones, so that a
    reference planned for five seeds that all mean the same computation is n = 1; `missing`, what became of the others;
    `samples`, the fewest test samples that a value is computed on; `difference` to the reference "stage 1 only", paired
    by seed, with `difference_half_width`, `p_value`, `wins`, `pairs` and `missing_pairs` (see `statistics.paired`),
    `p_holm`, corrected for the number of lines with a p value, and `more_pairs`, how many more would decide a line that
    is not (see `statistics.more_pairs`); `values`, one per fingerprint, by seed, as fractions; greater is better.

    `attrs` hold what a caption needs: sweep, paper, metric, probe, k, split, context, and the `notes` on these numbers.

    Args:
        frame: what `load` returned.
        sweep: its name.
        metric: which numbers.
        k: neighbours, for numbers that have any.
        context: which of the planned contexts, where there are several (see `choice.choose`).
        split: samples the numbers are measured on.
        feature: which vector of the encoder, where a probe measured several.
        selected_on: what chose the checkpoint; by default not the test split where there is another number.

    Raises:
        ValueError: an unknown sweep, several contexts or several numbers of a point to choose from, a point that two
            plans give different fingerprints, or an axis with the name of one of the columns.
    """
    points, chosen = choose(frame, sweep, context)
    labels = _labels(points, sweep)
    measured = numbers(points, metric=metric, k=k, split=split, feature=feature, selected_on=selected_on)
    found = conditions(points)
    values, samples = measured["value"].to_dict(), measured["count"].to_dict()
    lines = [_line(condition, found, values, samples) for condition in found]
    _decide(lines)
    table = pd.DataFrame({axis: pd.Series([line[axis] for line in lines], dtype=points[axis].dtype) for axis in labels})
    for name in COLUMNS:
        table[name] = pd.Series([line[name] for line in lines], dtype=_dtype(name))
    table.attrs = {
        "sweep": sweep,
        "paper": str(points["paper"].iloc[0]),
        "metric": metric,
        "probe": ", ".join(sorted(measured["probe"].unique())),
        "k": k if measured["k"].notna().any() else None,
        "split": split,
        "context": chosen,
        "notes": notes(measured.reset_index()),
    }
    return table


def _labels(points: pd.DataFrame, sweep: str) -> list[str]:
    labels = [axis for axis in axes(points) if axis != SEED]
    if taken := sorted(set(labels) & set(COLUMNS)):
        raise ValueError(f"sweep {sweep}: axis {taken[0]!r} has the name of a column of the summary; rename the axis")
    return labels


def _line(
    condition: Condition, found: Sequence[Condition], values: Mapping[Any, float], samples: Mapping[Any, int]
) -> dict[str, Any]:
    distinct = list(dict.fromkeys(condition.fingerprints.values()))
    held = [name for name in distinct if name in values]
    around = interval([values[name] for name in held], _CONFIDENCE)
    absent: dict[str, int] = {}
    for name in distinct:
        if name not in values:
            state = condition.states[name]
            words = "finished without this number" if state == "finished" else state
            absent[words] = absent.get(words, 0) + 1
    line = {
        **condition.labels,
        "reference": condition.reference,
        "mean": around.mean,
        "low": around.low,
        "high": around.high,
        "half_width": around.half_width,
        "count": around.count,
        "planned": len(distinct),
        "missing": ", ".join(f"{number} {words}" for words, number in sorted(absent.items())),
        "samples": min((samples[name] for name in held), default=None),
        "values": tuple(values[name] for name in held),
        **dict.fromkeys(("difference", "difference_half_width", "p_value", "deviation"), math.nan),
        **dict.fromkeys(("wins", "pairs", "missing_pairs", "more_pairs")),
    }
    baseline = _baseline(condition, found)
    if baseline is not None:
        compared = paired(_by_seed(condition, values), _by_seed(baseline, values), _CONFIDENCE)
        line["difference"], line["difference_half_width"] = compared.difference, compared.interval.half_width
        line["p_value"], line["wins"] = compared.p_value, compared.wins
        line["deviation"] = compared.deviation
        line["pairs"], line["missing_pairs"] = compared.count, compared.missing
    return line


def _decide(lines: Sequence[dict[str, Any]]) -> None:
    """Correct the p values for their number; where one decides nothing, say how many seeds more would."""
    corrected = holm([line["p_value"] for line in lines])
    num_tests = sum(not math.isnan(p) for p in corrected)
    for line, p_value in zip(lines, corrected, strict=True):
        line["p_holm"] = p_value
        if p_value >= SIGNIFICANT and line["deviation"] > 0:
            line["more_pairs"] = more_pairs(line["difference"], line["deviation"], line["pairs"], num_tests)


def _baseline(condition: Condition, found: Sequence[Condition]) -> Condition | None:
    """The line of "stage 1 only" that agrees with the condition on the axes it takes."""
    if condition.reference == BASELINE:
        return None
    for other in (other for other in found if other.reference == BASELINE):
        taken = {axis: content for axis, content in other.labels.items() if content is not None}
        if taken.items() <= condition.labels.items():
            return other
    return None


def _by_seed(condition: Condition, values: Mapping[Any, float]) -> "pd.Series[float] | float":
    """Values by seed, NaN where there is none; one number when every seed means the same computation."""
    if len(set(condition.fingerprints.values())) == 1:
        return float(values.get(next(iter(condition.fingerprints.values())), math.nan))
    return pd.Series({seed: values.get(name, math.nan) for seed, name in condition.fingerprints.items()}, dtype=float)


def _dtype(name: str) -> str:
    if name in _WHOLE:
        return "Int64"
    if name == "values":
        return "object"
    return "str" if name in ("reference", "missing") else "float64"


def to_rich(table: pd.DataFrame, title: str | None = None, caption: str | None = None) -> Table:
    """For a terminal: per cent, best bold, second underlined, "-" for what is absent.

    Args:
        table: what `summary` returned.
        title: by default what `cells.describe` says.
        caption: by default what `cells.explain` says.
    """
    content = sheet(table)
    shown = Table(
        title=Text(content.title if title is None else title, style="bold"),
        caption=Text(content.caption if caption is None else caption),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for i, header in enumerate(content.columns()):
        shown.add_column(Text(header), justify="left" if i in content.left else "right", no_wrap=i not in content.left)
    for number, line in enumerate(content.lines):
        texts = [Text(cell, style=content.marks.get((number, i), "")) for i, cell in enumerate(line)]
        shown.add_row(*texts, end_section=number + 1 in content.blocks)
    return shown


def to_markdown(table: pd.DataFrame, title: str | None = None, caption: str | None = None) -> str:
    """The same table as Markdown, best `**bold**`, second `<u>underlined</u>`, caption below."""
    content = sheet(table)
    return printing.markdown(
        replace(
            content,
            title=content.title if title is None else title,
            caption=content.caption if caption is None else caption,
        )
    )


def to_csv(table: pd.DataFrame) -> str:
    """Every column for another program: fractions in full precision, empty where absent, `values` as JSON."""
    return printing.csv(table.assign(values=table["values"].map(json.dumps)))
