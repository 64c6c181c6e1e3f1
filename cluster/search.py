"""A search: which targets to run next, given how the last ones ended. Knows nothing of Ray.

    targets = search.start()
    while not search.finished:
        … run one of `targets` …
        targets += search.ended(stage, status)

A target that is finished in the store already is not run: the driver says at once that it ended.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

import pyarrow as pa

from cluster.study import Study
from cluster.suggestion import Suggestion
from stars.horizon import shortened
from stars.parquet import to_bytes
from stars.space import AxisValue
from stars.stage import Stage, fingerprint, kind, upstream
from stars.store import Store
from stars.trials import IMPORTANCES_SCHEMA, TRIALS_SCHEMA, VIEW_VERSION, importances_key, view_key

Ending: TypeAlias = Literal["finished", "diverged", "oom", "lost", "error"]
"""`lost` when its machines went away too often, `error` for a defect. What was interrupted has not ended."""


@dataclass(kw_only=True)
class _Open:
    """A suggestion that is being measured at one horizon: its target and how that ended, by seed."""

    axes: Mapping[str, AxisValue]
    rung: int
    targets: dict[int, Stage] = field(default_factory=dict)
    endings: dict[int, Ending] = field(default_factory=dict)


class Search:
    """The suggestions of a study on their way through its horizons."""

    def __init__(
        self,
        study: Study,
        *,
        point: Callable[[Mapping[str, AxisValue], int], Stage],
        measure: Callable[[Stage], float | None],
        num_suggestions: int,
        in_flight: Callable[[], int],
        shorten: Callable[[Stage, int], Stage] = shortened,
    ) -> None:
        """Prepare; `start` gives the first targets.

        Args:
            study: asked and told; its settings hold seeds and horizons.
            point: the probe of a suggestion with one seed, on the validation data, after the whole training.
            measure: the number of a finished probe; None when it has none.
            num_suggestions: how many to try in all, those of earlier drivers included.
            in_flight: how many suggestions may be under way now; asked again and again.
            shorten: the probe after so many epochs; the probe itself when that is all of them.
        """
        if num_suggestions < 1:
            raise ValueError(f"num_suggestions is {num_suggestions}; allowed: 1 or more")
        self.study, self._settings = study, study.settings
        self._point, self._measure, self._shorten = point, measure, shorten
        self._num_suggestions, self._in_flight = num_suggestions, in_flight
        self._open: dict[int, _Open] = {}
        self._places: dict[str, tuple[int, int]] = {}
        self._started = False
        self._upstreams: dict[tuple[int, int], list[str]] = {}

    @property
    def finished(self) -> bool:
        """Whether nothing is under way and nothing more will be suggested."""
        enough = self.study.num_suggestions >= self._num_suggestions or bool(self.study.exhausted)
        return self._started and not self._open and enough

    def start(self) -> list[Stage]:
        """The targets to run now: of suggestions that an earlier driver left under way, and of new ones."""
        targets = []
        for suggestion in self.study.running():
            targets += self._begin(suggestion, len(suggestion.rungs))
        self._started = True
        return targets + self.more()

    def more(self) -> list[Stage]:
        """Targets of new suggestions, where there is room for any: `ended` looks itself."""
        targets: list[Stage] = []
        while len(self._open) < max(1, self._in_flight()) and self.study.num_suggestions < self._num_suggestions:
            suggestion = self.study.ask()
            if suggestion is None:
                break
            targets += self._begin(suggestion, 0)
        return targets

    def ended(self, stage: Stage, status: Ending) -> list[Stage]:
        """Note how a target ended. Returns the targets that can be run now because of it.

        Raises:
            ValueError: a stage that is no target under way, or a status that is no ending.
        """
        if status not in get_args(Ending):
            raise ValueError(f"status is {status!r}; allowed: {', '.join(get_args(Ending))}")
        name = fingerprint(stage)
        if name not in self._places:
            raise ValueError(f"{name[:12]} has not been asked for; allowed: a target under way")
        number, seed = self._places.pop(name)
        under_way = self._open[number]
        under_way.endings[seed] = status
        if len(under_way.endings) < len(under_way.targets):
            return []
        del self._open[number]
        return self._judge(number, under_way) + self.more()

    def winner(self) -> Mapping[str, AxisValue] | None:
        """The axes of the best suggestion that was trained in full; None when there is none."""
        best = self.study.best()
        return None if best is None else best.axes

    def export(self, store: Store, *, importances: bool = True) -> None:
        """Rewrite the view of the study: one row for each suggestion and horizon.

        Args:
            store: where.
            importances: rewrite the importance of the axes as well, which takes a second per two hundred suggestions.
        """
        sweep, name = self._settings.sweep, self.study.name
        shared = {
            "study": name,
            "sweep": sweep,
            "horizons": list(self._settings.horizons),
            "metric": self._settings.metric,
            "k": self._settings.k,
            "greater_is_better": self._settings.greater_is_better,
            "context": json.dumps(dict(self._settings.context), sort_keys=True),
            "schema_version": VIEW_VERSION,
        }
        rows = [{**shared, **row} for suggestion in self.study.suggestions() for row in self._rows(suggestion)]
        store.replace(view_key(sweep, name), to_bytes(pa.Table.from_pylist(rows, schema=TRIALS_SCHEMA)))
        if importances:
            store.replace(importances_key(sweep, name), to_bytes(self._importances()))

    def _importances(self) -> pa.Table:
        name = self.study.name
        shares, why = self.study.importances()
        lines = [
            {"study": name, "axis": axis, "importance": shares.get(axis), "reason": why or _meaning(bool(allowed.when))}
            for axis, allowed in self._settings.space.ranges.items()
        ]
        return pa.Table.from_pylist(lines, schema=IMPORTANCES_SCHEMA)

    def _begin(self, suggestion: Suggestion, rung: int) -> list[Stage]:
        """The targets of a suggestion at a horizon; none, and it has failed, when its point cannot be."""
        number, axes = suggestion.number, suggestion.axes
        try:
            whole = {seed: self._point(axes, seed) for seed in self._settings.seeds}
            return self._enter(number, axes, rung, whole)
        except ValueError as problem:
            self.study.fail(number, f"refused: {problem}")
            return []

    def _enter(self, number: int, axes: Mapping[str, AxisValue], rung: int, whole: Mapping[int, Stage]) -> list[Stage]:
        targets = {seed: self._shorten(stage, self._settings.horizons[rung]) for seed, stage in whole.items()}
        places: dict[str, tuple[int, int]] = {}
        for seed, target in targets.items():
            name = fingerprint(target)
            if other := (self._places | places).get(name):
                raise ValueError(
                    f"{self._settings.sweep}: {dict(axes)} with seed {seed} is the same experiment as trial {other[0]} "
                    f"with seed {other[1]}; allowed: axes and seeds that each change it"
                )
            places[name] = (number, seed)
        self._places |= places
        self._open[number] = _Open(axes=axes, rung=rung, targets=targets)
        return list(targets.values())

    def _judge(self, number: int, measured: _Open) -> list[Stage]:
        """All seeds are in: end the suggestion, or send it on to its next horizon."""
        values, problems = {}, []
        for seed in self._settings.seeds:
            ending = measured.endings[seed]
            value = self._measure(measured.targets[seed]) if ending == "finished" else None
            if ending != "finished":
                problems.append(f"seed {seed}: {ending}")
            elif value is None or not math.isfinite(value):
                problems.append(f"seed {seed}: no number" if value is None else f"seed {seed}: {value}")
            else:
                values[seed] = value
        if problems:
            self.study.fail(number, "; ".join(problems))
            return []
        probes = {seed: fingerprint(target) for seed, target in measured.targets.items()}
        state = self.study.record(number, self._settings.horizons[measured.rung], values, probes)
        if state != "running":
            return []
        whole = {seed: self._point(measured.axes, seed) for seed in self._settings.seeds}
        return self._enter(number, measured.axes, measured.rung + 1, whole)

    def _rows(self, suggestion: Suggestion) -> list[dict[str, Any]]:
        """A row for every horizon that the suggestion was measured at, and one where it is now or failed."""
        common = {
            "trial": suggestion.number,
            "state": suggestion.state,
            "reason": suggestion.reason,
            "axes": json.dumps(dict(suggestion.axes)),
        }
        rows: list[dict[str, Any]] = []
        started: datetime = suggestion.started
        for rung in suggestion.rungs:
            measured = {"values": json.dumps(rung.values), "probes": json.dumps(rung.probes), "value": rung.value}
            needed = self._upstream(suggestion, rung.horizon)
            times = {"started": started, "ended": rung.ended}
            rows.append({**common, **measured, **times, "horizon": rung.horizon, "upstream": needed})
            started = rung.ended
        if suggestion.state in ("running", "failed"):
            horizon = self._settings.horizons[len(rows)]
            needed = self._upstream(suggestion, horizon)
            empty = {"value": None, "values": "", "probes": "", "horizon": horizon, "upstream": needed}
            rows.append({**common, **empty, "started": started, "ended": suggestion.ended})
        return rows

    def _upstream(self, suggestion: Suggestion, horizon: int) -> list[str]:
        """`kind/fingerprint` of all that a suggestion needs at a horizon; nothing where its point is refused."""
        place = (suggestion.number, horizon)
        if place not in self._upstreams:
            try:
                probes = [self._shorten(self._point(suggestion.axes, seed), horizon) for seed in self._settings.seeds]
            except ValueError:
                # The study has it as failed, with the reason.
                probes = []
            self._upstreams[place] = [f"{kind(stage)}/{fingerprint(stage)}" for stage in upstream(*probes)]
        return self._upstreams[place]


def _meaning(conditional: bool) -> str:
    return "where it does not exist, it counts as the middle of its range" if conditional else ""
