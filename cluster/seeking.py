"""A search as a source of targets; and after it the winner, trained on the whole training part and measured on test."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import pyarrow as pa

from cluster.binding import Run
from cluster.search import Search
from cluster.study import Study
from cluster.suggestion import Settings, horizons
from stars.horizon import planned_epochs
from stars.results import read_numbers
from stars.space import AxisValue
from stars.stage import Stage, fingerprint
from stars.store import Store
from stars.sweep import SEED, Point, plan_table, points, write_plan

_EXPORT_SECONDS = 5.0


def settings_of(run: Run) -> Settings:
    """What the search is about; names its study. Raises ValueError where there is nothing to search."""
    sweep, recipe = run.sweep, run.validation
    if recipe is None:
        raise ValueError(f"{sweep.name} is bound as a grid; allowed: a search")
    example = sweep.point(recipe, **sweep.some_point(recipe), seed=0)
    subjects = ",".join(map(str, recipe.data.validation_subjects))
    return Settings(
        sweep=sweep.name,
        space=sweep.space(),
        # The example's fingerprint stands for every value of the recipe: other code, another study.
        context={**recipe.context(), "validation_subjects": subjects, "example": fingerprint(example)},
        seeds=tuple(int(seed) for seed in sweep.axes.get(SEED, (0,))),
        horizons=horizons(planned_epochs(example)),
        metric=sweep.metric,
        k=sweep.neighbours,
        greater_is_better=sweep.greater_is_better,
    )


class Seeking:
    """Suggestions until there are enough; then the winner."""

    def __init__(self, run: Run, settings: Settings, slots: Callable[[], int]) -> None:
        """Open the study; `slots` says how many trials the cluster holds now. Raises what `Study` raises."""
        self._run, self._store, self._settings = run, run.store, settings
        self.study = Study(run.store, settings, run.sweep.first_points(run.validation))
        self._search = Search(
            self.study,
            point=self._point,
            measure=self._measure,
            num_suggestions=run.options.trials,
            # As many as fill the cluster with one seed each; the rest of their seeds queue.
            in_flight=lambda: math.ceil(slots() / len(settings.seeds)),
        )
        self._confirming: set[str] = set()
        self._exported = 0.0

    def start(self) -> list[Stage]:
        """What an earlier driver left under way, and new suggestions; the winner when there are enough already."""
        return self._search.start() or self._confirm()

    def ended(self, stage: Stage, status: str) -> list[Stage]:
        """See `Search.ended`."""
        if fingerprint(stage) in self._confirming:
            return []
        targets = self._search.ended(stage, status)  # type: ignore[arg-type]
        if time.monotonic() - self._exported > _EXPORT_SECONDS:
            self._search.export(self._store, importances=False)
            self._exported = time.monotonic()
        return targets or self._confirm()

    def more(self) -> list[Stage]:
        """New suggestions, where the cluster has grown; see `Search.more`."""
        return [] if self._search.finished else self._search.more()

    def close(self) -> None:
        """Write the view of the study as it stands."""
        self._search.export(self._store)

    @property
    def winner(self) -> list[Point]:
        """The winner's points and the references, once the search is over; none without a winner."""
        return winner_points(self._run, self._search.winner()) if self._search.finished else []

    def _confirm(self) -> list[Stage]:
        """The winner's points once the search is over: planned, so that what is missing of them shows."""
        planned = self.winner
        if planned:
            write_plan(self._store, winner_plan(self._run, planned))
        targets = list(dict.fromkeys(point.stage for point in planned))
        self._confirming = {fingerprint(target) for target in targets}
        return targets

    def _point(self, axes: Mapping[str, AxisValue], seed: int) -> Stage:
        probe = self._run.sweep.point(self._run.validation, **axes, seed=seed)
        if planned_epochs(probe) != self._settings.horizons[-1]:
            raise ValueError(
                f"it trains for {planned_epochs(probe)} epochs; allowed in one search: {self._settings.horizons[-1]}, "
                "those of its first point"
            )
        return probe

    def _measure(self, stage: Stage) -> float | None:
        return measured(self._store, stage, self._settings)


def measured(store: Store, stage: Stage, settings: Settings) -> float | None:
    """The number that the search looks at, on validation subjects; None when the probe has no such number."""
    for number in read_numbers(store, stage):
        wanted = (number.split, number.metric, number.selected_on) == ("val", settings.metric, "none")
        if wanted and number.k in (None, settings.k):
            return number.value
    return None


def winner_points(run: Run, axes: Mapping[str, AxisValue] | None) -> list[Point]:
    """The winner over the sweep's seeds and the references, on the whole training part; none without a winner."""
    if axes is None:
        return []
    only = {name: (content,) for name, content in axes.items()}
    chosen = replace(run.sweep, axes={**only, SEED: run.sweep.axes.get(SEED, (0,))}, ranges={})
    return points(chosen, run.recipe)


def winner_plan(run: Run, planned: list[Point]) -> pa.Table:
    """The plan of the winner's points, under a name of its own."""
    return plan_table(replace(run.sweep, name=f"{run.sweep.name}_winner"), run.recipe, planned)
