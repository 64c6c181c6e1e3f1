"""A search whose numbers are computed from the target's own fields, at once: no training, no Ray."""

import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from cluster.search import Ending, Search
from cluster.study import Study
from cluster.suggestion import Settings, horizons
from stars.recipes import Recipe, small
from stars.space import AxisValue
from stars.stage import Stage
from stars.store import Store
from stars.strategies.nnclr import NNCLR
from stars.tune import Tune
from sweeps.search import SWEEP
from tests.examples import DATA

EPOCHS = 10


def recipe() -> Recipe:
    """The small recipe, with enough epochs for three horizons."""
    base = small(DATA)
    return replace(base, stage2=replace(base.stage2, epochs=EPOCHS))


def settings(**changes: object) -> Settings:
    """What the fake search is about."""
    base = Settings(
        sweep="search",
        space=SWEEP.space(),
        context={"dataset": "example"},
        seeds=(0, 1),
        horizons=horizons(EPOCHS),
        metric="accuracy",
        k=10,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def point(axes: Mapping[str, AxisValue], seed: int) -> Stage:
    """The sweep's own point."""
    return SWEEP.point(recipe(), seed=seed, **axes)


def tuning(stage: Stage) -> Tune:
    """The training behind a target."""
    return stage.features.encoder  # type: ignore[attr-defined, no-any-return]


def number(stage: Stage) -> float:
    """What the target would have measured: best at a rate of 3e-3, a decay of 0.3 and random crops."""
    tuned = tuning(stage)
    assert isinstance(tuned.strategy, NNCLR)
    away = abs(math.log10(tuned.learning_rate / 3e-3)) + abs(tuned.layer_decay - 0.3)
    late = 0.02 * math.log(tuned.epochs if tuned.horizon is None else tuned.horizon)
    return 0.7 - 0.1 * away + late + 0.03 * len(tuned.view.crop) + 0.001 * tuned.seed


def ending(stage: Stage) -> Ending:
    """High rates diverge with seed 1."""
    tuned = tuning(stage)
    return "diverged" if tuned.learning_rate > 1e-2 and tuned.seed == 1 else "finished"


def opened(location: Path, *, num_suggestions: int, in_flight: int = 1) -> Search:
    """The fake search, new or gone on with."""
    study = Study(Store(location), settings(), first=SWEEP.first_points(recipe()))
    return Search(study, point=point, measure=number, num_suggestions=num_suggestions, in_flight=lambda: in_flight)


def drive(location: Path, *, num_suggestions: int, in_flight: int = 1) -> Search:
    """The whole search, or what is left of it."""
    search = opened(location, num_suggestions=num_suggestions, in_flight=in_flight)
    waiting = deque(search.start())
    while not search.finished:
        # The last comes first for every third, so that suggestions overtake each other.
        stage = waiting.pop() if len(waiting) % 3 == 0 else waiting.popleft()
        waiting += search.ended(stage, ending(stage))
    return search


def history(search: Search) -> list[str]:
    """Everything that the search has found, without times and the journal's numbers."""
    return [
        json.dumps(
            [dict(s.axes), s.state, s.reason, [[r.horizon, r.value, dict(r.values), dict(r.probes)] for r in s.rungs]]
        )
        for s in search.study.suggestions()
    ]
