"""Which figures stand beside a table, what they say in words, and why one is not there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from analysis import figure
from analysis.cells import label_columns, value_name
from analysis.choice import Condition, spelled
from analysis.figures import confusion, cost, embedding, learning
from analysis.load import plain
from analysis.outputs import CURVE, FEATURES, losses, output_file, predicted_column, predictions, test_features
from analysis.paper import to_svg
from analysis.report.material import Material
from analysis.report.view import Picture
from stars.outcome import StoreError
from stars.sweep import AxisValue

_MOST_CURVES = 6
_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One summary and what it is made of.

    Attributes:
        table: what `analysis.table.summary` returned.
        conditions: its lines, in the same order.
        numbers: values by fingerprint.
    """

    table: pd.DataFrame
    conditions: Sequence[Condition]
    numbers: Mapping[str, float]

    def best(self) -> Condition:
        """The line with the greatest mean: of the grid, else of the references. Raises ValueError where none has."""
        for grid in (True, False):
            means = self.table["mean"].where((self.table["reference"] == "") == grid)
            if means.notna().any():
                return self.conditions[int(means.argmax())]
        raise ValueError("no line has a number")

    def probes(self, condition: Condition) -> list[str]:
        """Distinct fingerprints of a line that have a number, in the order of the seeds."""
        return [name for name in dict.fromkeys(condition.fingerprints.values()) if name in self.numbers]


class Album:
    """Collects pictures, and the reasons why others could not be made.

    Attributes:
        prefix: begins the name of every picture.
        pictures: those that were made.
        left_out: title and reason of the others.
    """

    def __init__(self, prefix: str) -> None:
        """An empty album."""
        self.prefix = prefix
        self.pictures: list[Picture] = []
        self.left_out: list[str] = []

    def add(self, title: str, make: Callable[[], tuple[Figure, str]]) -> None:
        """Make one picture; a ValueError or StoreError says why there is none."""
        try:
            drawn, words = make()
        except (ValueError, StoreError) as problem:
            self.left_out.append(f"{title}: {' '.join(str(problem).split())}.")
            return
        svg = to_svg(drawn, f"{self.prefix}-{len(self.pictures)}")
        self.pictures.append(Picture(title=title, svg=svg, words=words))


def album(material: Material, measured: Measured, prefix: str, *, with_embedding: bool) -> Album:
    """The figures of one summary.

    Args:
        material: what was read.
        measured: the summary.
        prefix: begins the name of every picture; unique in the page.
        with_embedding: whether t-SNE panels are computed, seconds a sweep.
    """
    found = Album(prefix)
    _add_curves(found, measured.table)
    found.add("Accuracy against training time", partial(_cost, material, measured))
    found.add("Learning curves", partial(_learning, material, measured.conditions))
    found.add("Confusion matrix", partial(_confusion, material, measured))
    if with_embedding:
        found.add("t-SNE of the features", partial(_embedding, material, measured))
    return found


def named(condition: Condition) -> str:
    """A condition in a few words."""
    given = [f"{name}={spelled(content)}" for name, content in condition.labels.items() if content is not None]
    return ", ".join([part for part in (condition.reference, *given) if part]) or "the grid"


def _add_curves(found: Album, table: pd.DataFrame) -> None:
    """A curve along the axis with the most values, for every combination of the others."""
    labels = label_columns(table)
    if not labels:
        found.left_out.append("Curve: the seed is the only axis.")
        return
    grid = table[table["reference"] == ""]
    axis = max(labels, key=lambda name: grid[name].nunique())
    others = [name for name in labels if name != axis]
    # Without other axes there is one cut, which is empty.
    cuts = list(dict.fromkeys(tuple(plain(line[name]) for name in others) for line in grid.to_dict("records")))
    if len(cuts) > _MOST_CURVES:
        found.left_out.append(
            f"Curves: {len(cuts)} combinations of {', '.join(others)}; the first {_MOST_CURVES} are shown."
        )
    for cut in cuts[:_MOST_CURVES]:
        at = {name: content for name, content in zip(others, cut, strict=True) if content is not None}
        where = ", ".join(f"{name}={spelled(content)}" for name, content in at.items())
        title = f"{value_name(table)} along {axis}" + (f" ({where})" if where else "")
        found.add(title[0].upper() + title[1:], partial(_curve, table, axis, at))


def _curve(table: pd.DataFrame, axis: str, at: Mapping[str, AxisValue]) -> tuple[Figure, str]:
    content = figure.info(table, axis, at)
    means = zip(content.ticks, content.means, content.counts, strict=True)
    told = "; ".join(f"{mean:.1f} at {tick}" for tick, mean, count in means if count)
    beside = "; ".join(f"{line.name} {line.mean:.1f}" for line in content.references)
    return figure.compose(content, ""), f"{content.y_label}: {told}." + (f" Beside: {beside}." if beside else "")


def _cost(material: Material, measured: Measured) -> tuple[Figure, str]:
    methods, devices = [], set()
    for condition in measured.conditions:
        held, seconds = measured.probes(condition), []
        for name in held:
            trained = [material.outcomes[step].measured for step in _trained(material, name)]
            seconds.append(float(sum(one["seconds"] for one in trained)))
            devices |= {str(one["device"]) for one in trained}
        values = [measured.numbers[name] for name in held]
        methods.append(cost.Method(name=named(condition), values=values, seconds=seconds))
    content = cost.info(methods, f"{value_name(measured.table)} (%)", sorted(devices))
    told = "; ".join(f"{mark.name} {mark.value:.1f} after {mark.time:.1f} {content.unit}" for mark in content.marks)
    return cost.compose(content, ""), f"{content.y_label}: {told}."


def _learning(material: Material, conditions: Sequence[Condition]) -> tuple[Figure, str]:
    stages: dict[str, dict[str, list[str]]] = {}
    for condition in conditions:
        for name in condition.fingerprints.values():
            for step in _trained(material, name):
                held = stages.setdefault(step.partition("/")[0], {}).setdefault(named(condition), [])
                if step not in held:
                    held.append(step)
    curves = {kind: _read_curves(material, _merged(by_name)) for kind, by_name in stages.items()}
    content = learning.info(curves)
    told = "; ".join(
        f"{kind}, {line.name}: from {line.mean[0]:.3g} to {line.mean[-1]:.3g} in {len(line.mean)} epochs"
        for kind, lines in content.panels
        for line in lines
    )
    return learning.compose(content, ""), f"Loss. {told}."


def _merged(by_name: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Conditions that share their stages as one line."""
    same: dict[tuple[str, ...], list[str]] = {}
    for name, steps in by_name.items():
        same.setdefault(tuple(steps), []).append(name)
    return {
        ", ".join(names) if len(names) <= 2 else f"{len(names)} lines of the table": list(steps)
        for steps, names in same.items()
    }


def _read_curves(material: Material, by_name: Mapping[str, list[str]]) -> dict[str, list[learning.Losses]]:
    return {
        name: [losses(output_file(material.store, step, material.outcomes[step], CURVE)) for step in steps]
        for name, steps in by_name.items()
    }


def _confusion(material: Material, measured: Measured) -> tuple[Figure, str]:
    best = measured.best()
    frames = [predictions(material.store, name) for name in measured.probes(best)]
    column = predicted_column(list(frames[0].columns), measured.table.attrs["k"])
    runs = [(frame["label"].to_numpy(), frame[column].to_numpy()) for frame in frames]
    content = confusion.info(runs, frames[0].attrs["classes"])
    told = "; ".join(f"{true} taken for {taken}: {share:.0f} %" for true, taken, share in content.pairs)
    return confusion.compose(content, ""), f"{named(best)}. Most often confused: {told or 'nothing'}."


def _embedding(material: Material, measured: Measured) -> tuple[Figure, str]:
    """The best line and every reference that reads features, each with its first seed, of the same samples."""
    best = measured.best()
    shown = {named(c): c for c in [*(c for c in measured.conditions if c.reference), best]}
    found = {}
    for name, condition in shown.items():
        for probe in measured.probes(condition)[:1]:
            if step := _features_of(material, probe):
                found[name] = (probe, output_file(material.store, step, material.outcomes[step], FEATURES))
    if not found:
        raise ValueError("no line with a number reads features")
    labelled = predictions(material.store, found[next(iter(found))][0]).set_index("row")
    rows = labelled.index.to_numpy()
    keep = embedding.sample(labelled["label"].to_numpy(), _SEED)
    methods = {}
    for name, (_, path) in found.items():
        its_rows, features = test_features(path)
        place = {row: i for i, row in enumerate(its_rows.tolist())}
        methods[name] = features[[place[row] for row in rows[keep].tolist()]]
    content = embedding.info(methods, labelled["label"].to_numpy()[keep], labelled.attrs["classes"], _SEED)
    panels = ", ".join(panel.name for panel in content.panels)
    return embedding.compose(content, ""), f"Panels: {panels}. Classes: {', '.join(content.classes)}. {content.note}"


def _trained(material: Material, probe: str) -> list[str]:
    """The training stages behind a probe: finished steps before it that left a learning curve."""
    chain = material.chains.get(probe, ())[:-1]
    return [
        step
        for step in chain
        if (outcome := material.outcomes.get(step)) and any(file.path == CURVE for file in outcome.files)
    ]


def _features_of(material: Material, probe: str) -> str | None:
    chain = material.chains.get(probe, ())
    held = [s for s in chain if (o := material.outcomes.get(s)) and any(f.path == FEATURES for f in o.files)]
    return held[-1] if held else None
