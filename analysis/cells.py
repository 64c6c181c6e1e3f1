"""What a summary says in words and digits: the cells, title and caption that every printer shares.

Fractions become per cent with one decimal; what is absent is "-".
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.choice import BASELINE, spelled
from analysis.load import plain
from analysis.statistics import sampling_error

ABSENT = "-"
# A difference below this many standard errors of one pass over the test samples is not called a win.
RESOLVED = 2.0
SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True)
class Cells:
    """A table as text.

    Attributes:
        headers: one per column.
        lines: the grid, then the references.
        left: columns of words, which are aligned left; all others right.
        value_column: the column whose best entries are marked.
        marks: per line `bold` (the best mean), `underline` (the second) or empty.
        grid: how many lines are of the grid.
    """

    headers: list[str]
    lines: list[list[str]]
    left: set[int]
    value_column: int
    marks: list[str]
    grid: int


def label_columns(table: pd.DataFrame) -> list[str]:
    """The axes of a summary: its columns before `reference`."""
    return [str(name) for name in table.columns[: list(table.columns).index("reference")]]


def value_name(table: pd.DataFrame) -> str:
    """What the numbers are, without their unit: `accuracy, k = 10`."""
    metric, k = table.attrs["metric"], table.attrs["k"]
    return f"{metric}" if k is None else f"{metric}, k = {k}"


def cells(table: pd.DataFrame) -> Cells:
    """The text of a summary; columns that would be empty on every line are left out."""
    labels = label_columns(table)
    first = labels[0] if labels else "condition"
    value = f"{value_name(table)} (%)"
    columns = {first: [_name(line, labels, table.attrs["sweep"]) for line in table.to_dict("records")]}
    in_grid = table["reference"] == ""
    for axis in labels[1:]:
        shown = table[axis].where(in_grid)
        columns[axis] = [spelled(plain(content)) for content in shown]
    columns[value] = _aligned(table["mean"], table["half_width"])
    columns["n"] = _of(table["count"], table["planned"])
    if table["difference"].notna().any():
        columns[f"vs {BASELINE}"] = _compared(table)
        columns["p"] = [_probability(p) for p in table["p_value"]]
        if (table["missing_pairs"].fillna(0) > 0).any():
            columns["pairs"] = _of(table["pairs"], table["pairs"] + table["missing_pairs"])
    if (table["missing"] != "").any():
        columns["not there"] = [words or ABSENT for words in table["missing"]]
    words = {axis for axis in labels if not pd.api.types.is_any_real_numeric_dtype(table[axis])}
    return Cells(
        headers=list(columns),
        lines=[list(line) for line in zip(*columns.values(), strict=True)],
        left={i for i, name in enumerate(columns) if name in words | {"not there", "condition"}},
        value_column=list(columns).index(value),
        marks=_marks(table["mean"]),
        grid=int(in_grid.sum()),
    )


def describe(table: pd.DataFrame) -> str:
    """A title: sweep, what it reproduces, and the context."""
    context = table.attrs["context"]
    chosen = " ".join(f"{k}={spelled(v)}" for k, v in context.items() if k != "reseed_pretraining")
    return f"{table.attrs['sweep']}: {table.attrs['paper']}" + (f" ({chosen})" if chosen else "")


def explain(table: pd.DataFrame) -> str:
    """A caption: what ± is, how many seeds and what they reseed, what brackets and gaps mean; and the notes."""
    attrs = table.attrs
    number = f"{attrs['probe']} {value_name(table)}".strip()
    said = [
        f"{number}, on the {attrs['split']} split, in per cent: mean ± half width of its 95 % interval "
        f"(Student's t) over {num_seeds(table)}; {_reseeded(attrs['context'].get('reseed_pretraining'))}."
    ]
    if (table["count"] < table["planned"]).any():
        said.append("n = 4/5: of five planned numbers four are there, and the mean is over those.")
    if (table["count"] == 1).any():
        said.append("n = 1: how far seeds spread is unknown (-).")
    if (table["planned"] == 1).any() and (table["planned"] > 1).any():
        said.append("One number is planned where every seed means the same computation.")
    if table["difference"].notna().any():
        said.append(
            f"Differences: paired by seed, or against the only number of {BASELINE}; a seed that one side lacks is "
            f"left out. p: two-sided t test, not corrected for the number of lines."
        )
        threshold, samples = _threshold(table), table["samples"].min()
        also = f" or under {100 * threshold:.1f} points, {RESOLVED:g} binomial standard errors of {samples} samples"
        said.append(f"In brackets: not to be called a win (p ≥ {SIGNIFICANT}{also if threshold > 0 else ''}).")
    return "\n".join([*said, *attrs["notes"]])


def num_seeds(table: pd.DataFrame) -> str:
    """How many seeds the lines of the grid were planned for, in words."""
    in_grid = table["reference"] == ""
    planned = table.loc[in_grid if in_grid.any() else ~in_grid, "planned"]
    fewest, most = int(planned.min()), int(planned.max())
    return f"{most} seed{'s' if most > 1 else ''}" if fewest == most else f"{fewest} to {most} seeds"


def per_cent(fraction: float) -> str:
    """One decimal; "-" for NaN."""
    # Adding zero turns -0.0 into 0.0.
    return ABSENT if math.isnan(fraction) else f"{round(100 * fraction, 1) + 0.0:.1f}"


def _name(line: Mapping[Hashable, object], labels: Sequence[str], sweep: str) -> str:
    if not line["reference"]:
        return spelled(plain(line[labels[0]])) if labels else sweep
    taken = [f"{axis}={spelled(content)}" for axis in labels if (content := plain(line[axis])) is not None]
    return f"{line['reference']} ({', '.join(taken)})" if taken else str(line["reference"])


def _of(part: "pd.Series[int]", whole: "pd.Series[int]") -> list[str]:
    pairs = zip(map(plain, part), map(plain, whole), strict=True)
    return [ABSENT if p is None else str(p) if p == w else f"{p}/{w}" for p, w in pairs]


def _aligned(means: "pd.Series[float]", half_widths: "pd.Series[float]", *, signed: bool = False) -> list[str]:
    """`71.3 ± 1.2`, with the digits of one column below each other; "-" where there is no mean."""
    left = [("+" if signed and text != ABSENT and float(text) > 0 else "") + text for text in map(per_cent, means)]
    right = list(map(per_cent, half_widths))
    wide, narrow = max(map(len, left)), max(map(len, right))
    return [
        ABSENT if text == ABSENT else f"{text:>{wide}} ± {half:>{narrow}}"
        for text, half in zip(left, right, strict=True)
    ]


def _compared(table: pd.DataFrame) -> list[str]:
    """Differences, in brackets where they are not to be called a win."""
    texts = _aligned(table["difference"], table["difference_half_width"], signed=True)
    threshold = _threshold(table)
    uncertain = (table["p_value"] >= SIGNIFICANT) | (table["difference"].abs() < threshold)
    return [
        text if text == ABSENT else f"({text})" if doubt else f" {text} "
        for text, doubt in zip(texts, uncertain, strict=True)
    ]


def _threshold(table: pd.DataFrame) -> float:
    """How large a difference of two accuracies has to be; 0 for a number that is no accuracy.

    The largest over the lines, so that the caption can say one number.
    """
    if table.attrs["metric"] != "accuracy":
        return 0.0
    lines = table.loc[table["difference"].notna(), ["mean", "samples"]].to_dict("records")
    return max((RESOLVED * sampling_error(line["mean"], line["samples"]) for line in lines), default=0.0)


def _marks(means: "pd.Series[float]") -> list[str]:
    """Best and second by the digits that are printed: what looks equal is marked equally."""
    printed = [ABSENT if math.isnan(mean) else per_cent(mean) for mean in means]
    ranked = sorted({float(text) for text in printed if text != ABSENT}, reverse=True)
    if len(ranked) < 2:
        return [""] * len(printed)
    marks = {ranked[0]: "bold", ranked[1]: "underline"}
    return [marks.get(float(text), "") if text != ABSENT else "" for text in printed]


def _probability(p_value: float) -> str:
    if math.isnan(p_value):
        return ABSENT
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _reseeded(reseed_pretraining: object) -> str:
    if reseed_pretraining is None:
        return "what the seeds reseed is not recorded"
    if reseed_pretraining:
        return "every seed reseeds stage 1 and tuning"
    return "every seed reseeds tuning alone, stage 1 has one fixed seed"
