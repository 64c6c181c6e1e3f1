"""What a summary says in words and digits: the sheet that every printer shares.

Fractions become per cent with one decimal; what is absent is "-".
"""

import math
from collections.abc import Hashable, Mapping, Sequence

import pandas as pd

from analysis.choice import BASELINE, spelled
from analysis.load import plain
from analysis.sheet import ABSENT, Sheet, per_cent, ranked
from analysis.statistics import BOOTSTRAP_FROM, SIGNIFICANT, sampling_error

# A difference below this many standard errors of one pass over the test samples is not called a win.
RESOLVED = 2.0
# A header that an axis might have for its name; headers have to differ.
_TAKEN = "n"


def label_columns(table: pd.DataFrame) -> list[str]:
    """The axes of a summary: its columns before `reference`."""
    return [str(name) for name in table.columns[: list(table.columns).index("reference")]]


def value_name(table: pd.DataFrame) -> str:
    """What the numbers are, without their unit: `accuracy, k = 10`."""
    metric, k = table.attrs["metric"], table.attrs["k"]
    return f"{metric}" if k is None else f"{metric}, k = {k}"


def sheet(table: pd.DataFrame) -> Sheet:
    """A summary as text; columns that would be empty on every line are left out."""
    labels = label_columns(table)
    in_grid = table["reference"] == ""
    words = {i for i, axis in enumerate(labels) if not pd.api.types.is_any_real_numeric_dtype(table[axis])}
    heads = [f"axis {axis}" if axis == _TAKEN else axis for axis in labels]
    columns = [[_name(line, labels, table.attrs["sweep"]) for line in table.to_dict("records")]]
    columns += [[spelled(plain(content)) for content in table[axis].where(in_grid)] for axis in labels[1:]]
    if not labels:
        words, heads = {0}, ["condition"]
    value_column = len(columns)
    measured = [
        (f"{value_name(table)} (%)", _aligned(table["mean"], table["half_width"])),
        ("n", _of(table["count"], table["planned"])),
        *_comparison(table),
    ]
    if (table["missing"] != "").any():
        words.add(len(columns) + len(measured))
        measured.append(("not there", [text or ABSENT for text in table["missing"]]))
    heads += [head for head, _ in measured]
    columns += [texts for _, texts in measured]
    num_grid = int(in_grid.sum())
    marks = {(i, value_column): mark for i, mark in enumerate(ranked(list(table["mean"]))) if mark is not None}
    return Sheet(
        title=describe(table),
        headers=[(head,) for head in heads],
        lines=list(zip(*columns, strict=True)),
        left=frozenset(words),
        marks=marks,
        blocks=frozenset({num_grid} if 0 < num_grid < len(table) else ()),
        caption=explain(table),
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
        f"({_method(table)}) over {num_seeds(table)}; {_reseeded(attrs['context'].get('reseed_pretraining'))}."
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
            f"left out of difference, interval and test. p: two-sided t test, corrected for "
            f"{int(table['p_value'].notna().sum())} tests (Holm)."
        )
        threshold, samples = _threshold(table), table["samples"].min()
        also = f" or under {100 * threshold:.1f} points, {RESOLVED:g} binomial standard errors of {samples} samples"
        said.append(f"In brackets: not to be called a win (p ≥ {SIGNIFICANT}{also if threshold > 0 else ''}).")
    if table["more_pairs"].notna().any():
        said.append(
            "More seeds: how many would decide with a chance of 80 %, if they are as those at hand; - where it is "
            "decided, or a thousand would not do."
        )
    return "\n".join([*said, *attrs["notes"]])


def num_seeds(table: pd.DataFrame) -> str:
    """How many seeds the lines of the grid were planned for, in words."""
    in_grid = table["reference"] == ""
    planned = table.loc[in_grid if in_grid.any() else ~in_grid, "planned"]
    fewest, most = int(planned.min()), int(planned.max())
    return f"{most} seed{'s' if most > 1 else ''}" if fewest == most else f"{fewest} to {most} seeds"


def _comparison(table: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """The columns that compare with stage 1 alone, where anything can be compared."""
    if not table["difference"].notna().any():
        return []
    columns = [
        (f"vs {BASELINE}", _compared(table)),
        ("p (Holm)", [_probability(p) for p in table["p_holm"]]),
    ]
    if (table["missing_pairs"].fillna(0) > 0).any():
        columns.append(("pairs", _of(table["pairs"], table["pairs"] + table["missing_pairs"])))
    if table["more_pairs"].notna().any():
        columns.append(
            ("more seeds", [ABSENT if (n := plain(more)) is None else str(n) for more in table["more_pairs"]])
        )
    return columns


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
    uncertain = (table["p_holm"] >= SIGNIFICANT) | (table["difference"].abs() < threshold)
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


def _method(table: pd.DataFrame) -> str:
    """How the intervals were made."""
    many, few = (table["count"] >= BOOTSTRAP_FROM).any(), table["count"].between(2, BOOTSTRAP_FROM - 1).any()
    bootstrap = f"expanded percentile bootstrap from {BOOTSTRAP_FROM} seeds"
    return f"Student's t, {bootstrap}" if many and few else bootstrap if many else "Student's t"


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
