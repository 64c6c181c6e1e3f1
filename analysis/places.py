"""Which of our numbers belongs to which published cell.

A point finds its place by names, not by a list of sweeps: its reference, or the only axis that says what was run
(`method`, `strategy`, `augmentation` or `views`), is called as the paper calls the row, whatever the case and the
signs between letters ("STARS-3stage", `stars_3stage`), or has one of the other names below. Axes that the cell itself
fixes, as `label_fraction=0.01` does for Table 9, have to be there; a point with any other axis but the seed varies
something that the published method does not, and has no place. The data set is known by the beginning of its name.

A sweep of another table is given its place by naming its axis, its values and its references so.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from stars.sweep import AxisValue

NAMING = ("method", "strategy", "augmentation", "views")
"""Axes whose value names what was run."""
# Axes that say where and how a point is measured: the row's own columns decide.
_MEASURING = frozenset({"seed", "dataset", "protocol", "probe", "k"})

_OTHER_NAMES: Mapping[str, frozenset[str]] = {
    "MAMP": frozenset({"stage1only"}),
    "STARS": frozenset({"nnclr"}),
    "NNCLR": frozenset({"stars"}),
    "STARS-3stage": frozenset({"threestage"}),
    "W/o pre-training": frozenset({"untrainedencoder", "fromscratch"}),
    "No Augmentation": frozenset({"none"}),
    "Spatial Flip": frozenset({"flip"}),
    "Spatial Flip + Rotation": frozenset({"fliprotation"}),
}
# In the other tables every method is one that this project computes.
_COMPARED = frozenset({1, 2, 3, 4, 5, 9})
_OURS = frozenset({"MAMP", "STARS", "STARS-3stage", "W/o pre-training"})


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a published metric is measured here.

    Attributes:
        probe: as rows name it.
        k: neighbours or exemplars, where there are any.
        where: axes that a point must have, and their values.
    """

    probe: str
    k: int | None = None
    where: Mapping[str, AxisValue] = field(default_factory=dict)


MEASURES: Mapping[str, Measure] = {
    "linear top-1": Measure(probe="linear"),
    "fine-tune top-1": Measure(probe="finetune"),
    "transfer top-1": Measure(probe="finetune", where={"source": "ntu60"}),
    "semi-supervised 1% top-1": Measure(probe="finetune", where={"label_fraction": 0.01}),
    **{f"KNN k={k} top-1": Measure(probe="knn", k=k) for k in (1, 10, 20, 40)},
    **{f"{shots}-shot top-1": Measure(probe="fewshot", k=shots) for shots in (1, 2, 5)},
}

DATA_SETS: Mapping[str, str] = {
    "NTU-60": "ntu60",
    "NTU-120": "ntu120",
    "PKU-MMD II": "pku2",
    "NTU-60 to PKU-MMD II": "pku2",
    "NTU-60 XSub to 60 new NTU-120 classes": "ntu120",
}
"""Of each published data set the beginning of our names for what is tested on."""

SAMPLES: Mapping[tuple[str, str], frozenset[int]] = {
    ("NTU-60", "XSub"): frozenset({16487}),
    ("NTU-60", "XView"): frozenset({18932}),
    # 50,919 without the recordings that are known to be incomplete; released lists keep three of them.
    ("NTU-120", "XSub"): frozenset({50919, 50922}),
    ("NTU-120", "XSet"): frozenset({59477}),
    ("PKU-MMD II", "XSub"): frozenset({1613}),
    ("NTU-60 to PKU-MMD II", "XSub"): frozenset({1613}),
}
"""How many test samples a published number is computed on, where that is known."""


def is_ours(table: int, method: str) -> bool:
    """Whether this project computes the method; the others stand in the tables to compare with."""
    return table not in _COMPARED or method in _OURS


def names_of(method: str) -> frozenset[str]:
    """What a reference or an axis value may be called to mean a published method, spelled by `spelling`."""
    return _OTHER_NAMES.get(method, frozenset()) | {spelling(method)}


def tables_of(paper: str) -> list[int]:
    """The numbers of the tables that a sweep says it reproduces ("Tables 1 and 2", "Table 6, Figure 4")."""
    lists = re.findall(r"Tables? (\d+(?:(?:, | and )\d+)*)", paper)
    return [int(number) for numbers in lists for number in re.findall(r"\d+", numbers)]


def spelling(name: str) -> str:
    """Letters and digits alone, in lower case."""
    return re.sub(r"[\W_]", "", name.lower())


def named(reference: str, axes: Mapping[str, AxisValue], measure: Measure) -> str | None:
    """What a point is called, spelled by `spelling`; None where it has no place under this measure.

    Args:
        reference: empty for a point of the grid.
        axes: its values on the axes that it takes.
        measure: of the cell.
    """
    left = {axis: content for axis, content in axes.items() if axis not in _MEASURING}
    for axis, content in measure.where.items():
        if left.pop(axis, None) != content:
            return None
    if reference:
        return None if left else spelling(reference)
    if len(left) != 1:
        return None
    ((axis, content),) = left.items()
    return spelling(str(content)) if axis in NAMING else None


def measured_here(frame: pd.DataFrame, dataset: str, protocol: str) -> "pd.Series[bool]":
    """The lines of a loaded frame whose test data are those of a published column.

    Args:
        frame: what `load` returned.
        dataset: as published.
        protocol: as published.
    """
    names, protocols = (
        frame[name].fillna(frame[f"context.{name}"]) if f"context.{name}" in frame else frame[name]
        for name in ("dataset", "protocol")
    )
    begins = names.fillna("").str.lower().str.startswith(DATA_SETS[dataset])
    return begins & (protocols.fillna("").str.lower() == protocol.lower())
