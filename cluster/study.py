"""One Optuna study: asked and told by our driver, and resumable from its journal alone.

Suggestions come from a tree-structured Parzen estimator (Bergstra et al. 2011), stopping is asynchronous successive
halving (Li et al. 2020): a suggestion is measured at every horizon in turn and goes on while it is among the best
third of those that were measured there so far.

The journal decides everything. Randomness of a suggestion comes from the search's seed and the number of suggestions
before it, so that a driver that goes on after another one's death suggests what that one would have. Every step is
written before the next one, in such an order that whatever the last write was, the next driver knows what is open.
Whoever opens a study holds an exclusive lease on it.
"""

import hashlib
import logging
import math
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import cast

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import NopPruner, SuccessiveHalvingPruner
from optuna.samplers import TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from cluster.importance import distribution, importances
from cluster.journal import repair
from cluster.suggestion import FACTOR, SAMPLER, Rung, Settings, State, Suggestion
from stars.outcome import StoreError
from stars.space import AxisValue, Choice, Integer, Range, key
from stars.store import Store

_STATES: dict[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
}
_MOST_REPETITIONS = 50
_DUPLICATE, _CUT_OFF, _REASON = "duplicate_of", "cut_off", "reason"


class Study:
    """The journal of one search, opened by the only driver that may write to it."""

    def __init__(self, store: Store, settings: Settings, first: Sequence[Mapping[str, AxisValue]] = ()) -> None:
        """Open, or begin. What a killed driver left is put in order.

        Args:
            store: the journal is `searches/<sweep>/<study>.journal`.
            settings: give the study its name.
            first: points to suggest before any other, unless they have been.

        Raises:
            ValueError: a first point outside the space.
            StoreError: a journal that is damaged, or that looks for the other extreme.
        """
        self.settings, self.name = settings, settings.name()
        self.exhausted = ""
        self._first = [settings.space.checked(point) for point in first]
        self.path = store.location / "searches" / settings.sweep / f"{self.name}.journal"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        repair(self.path)
        # Optuna logs every trial to the standard error.
        logging.getLogger("optuna").setLevel(logging.WARNING)
        direction = StudyDirection.MAXIMIZE if settings.greater_is_better else StudyDirection.MINIMIZE
        self._study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(self.path))),
            study_name=self.name,
            direction=direction,
            pruner=NopPruner(),
            load_if_exists=True,
        )
        if self._study.direction != direction:
            raise StoreError(f"{self.path}: looks for the other extreme; allowed: a study to {direction.name.lower()}")
        # The pruner marks a trial in its storage before it answers. Killed between the two, its answer would be lost;
        # so it works on a copy in memory, made from the values in the journal.
        pruner = SuccessiveHalvingPruner(min_resource=settings.horizons[0], reduction_factor=FACTOR)
        self._halving = optuna.create_study(direction=direction, pruner=pruner)
        self._halved: dict[int, optuna.Trial] = {}
        self._known: dict[str, int] = {}
        self._recover()

    @property
    def num_suggestions(self) -> int:
        """How many there are, repetitions and those that were cut off left out."""
        return len(self._known)

    def suggestions(self) -> list[Suggestion]:
        """Every suggestion in order, without repetitions and those that were cut off before they were whole."""
        return [self._read(trial) for trial in self._trials() if _counts(trial)]

    def running(self) -> list[Suggestion]:
        """The suggestions that are neither finished, stopped nor failed."""
        return [suggestion for suggestion in self.suggestions() if suggestion.state == "running"]

    def ask(self) -> Suggestion | None:
        """A new point; None when there is none, and `exhausted` then says why."""
        for point in self._first:
            if key(point) not in self._known:
                distributions = {axis: distribution(self.settings.space.ranges[axis]) for axis in point}
                # One line of the journal: there is no half of it.
                self._study.add_trial(
                    create_trial(state=TrialState.RUNNING, params=dict(point), distributions=distributions)
                )
                return self._accept(self._trials()[-1])
        while not self._is_exhausted():
            trial = self._sample()
            if not self._tell_repetition(trial):
                return self._accept(trial)
        return None

    def record(self, number: int, horizon: int, values: Mapping[int, float], probes: Mapping[int, str]) -> State:
        """Note what a suggestion reached at its next horizon. Returns how it stands now.

        Args:
            number: of the suggestion.
            horizon: the next one after those that it was measured at.
            values: by seed; finite.
            probes: fingerprints by seed.
        """
        trial = self._trials()[number]
        seeds, expected = self.settings.seeds, self.settings.horizons[len(trial.intermediate_values)]
        if horizon != expected or set(values) != set(seeds) or not all(map(math.isfinite, values.values())):
            raise ValueError(f"trial {number}, horizon {horizon}: {values}; allowed: each seed, at horizon {expected}")
        written = {
            "values": [values[seed] for seed in seeds],
            "probes": [probes[seed] for seed in seeds],
            "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
        }
        handle = optuna.Trial(self._study, trial._trial_id)
        handle.set_user_attr(_rung_attribute(horizon), written)
        handle.report(math.fsum(values.values()) / len(values), horizon)
        self._decide(number)
        return self._read(self._trials()[number]).state

    def fail(self, number: int, reason: str) -> None:
        """End a suggestion that has no number."""
        self._tell_failure(self._trials()[number], _REASON, reason)

    def best(self) -> Suggestion | None:
        """The best of those that were trained in full; of equals, the first."""
        whole = [suggestion for suggestion in self.suggestions() if suggestion.state == "finished"]
        sign = -1 if self.settings.greater_is_better else 1
        return min(whole, key=lambda s: (sign * s.rungs[-1].value, s.number), default=None)

    def importances(self) -> tuple[dict[str, float], str]:
        """Share of each axis in the variance of the suggestions that were trained in full; or nothing, and why."""
        whole = [(s.axes, s.rungs[-1].value) for s in self.suggestions() if s.state == "finished"]
        return importances(self.settings.space, whole, self.settings.seed)

    def _recover(self) -> None:
        """Put in order what a killed driver left open; at most one step is."""
        for trial in self._trials():
            runs = trial.state == TrialState.RUNNING
            if runs and not self._is_whole(trial):
                self._tell_failure(trial, _CUT_OFF, True)
            elif _counts(trial) and not (runs and self._tell_repetition(trial)):
                self._accept(trial)
        trials = [trial for trial in self._trials() if _counts(trial)]
        undecided = {trial.number for trial in trials if trial.state == TrialState.RUNNING and not _is_decided(trial)}
        for trial in trials:
            for horizon, value in sorted(trial.intermediate_values.items()):
                if trial.number not in undecided or horizon != trial.last_step:
                    self._stands(trial.number, horizon, value)
        for number in sorted(undecided):
            self._decide(number)

    def _decide(self, number: int) -> None:
        """After a report: finish, stop, or note that the suggestion goes on."""
        trial = self._trials()[number]
        horizon = trial.last_step
        assert horizon is not None
        value = trial.intermediate_values[horizon]
        if horizon == self.settings.horizons[-1]:
            self._study.tell(number, value)
        elif self._stands(number, horizon, value):
            optuna.Trial(self._study, trial._trial_id).set_user_attr(_promoted_attribute(horizon), True)
        else:
            self._study.tell(number, state=TrialState.PRUNED)

    def _stands(self, number: int, horizon: int, value: float) -> bool:
        """Whether successive halving lets the suggestion go on; its value counts for later ones from now on."""
        self._halved[number].report(value, horizon)
        return not self._halved[number].should_prune()

    def _sample(self) -> FrozenTrial:
        """Ask the sampler, seeded by how many whole suggestions, repetitions included, came before."""
        before = sum(_CUT_OFF not in trial.user_attrs for trial in self._trials())
        seed = hashlib.sha256(f"{self.settings.seed}/{before}".encode()).digest()[:4]
        with warnings.catch_warnings():
            # `group` counts as experimental; Optuna's version is pinned.
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._study.sampler = TPESampler(seed=int.from_bytes(seed), **SAMPLER)
        handle, point = self._study.ask(), dict[str, AxisValue]()
        for axis, allowed in self.settings.space.ranges.items():
            if self.settings.space.exists(axis, point):
                point[axis] = _suggest(handle, axis, allowed)
        return self._trials()[handle.number]

    def _accept(self, trial: FrozenTrial) -> Suggestion:
        self._known[self._key(trial)] = trial.number
        self._halved[trial.number] = self._halving.ask()
        return self._read(trial)

    def _is_exhausted(self) -> bool:
        total = self.settings.space.num_points()
        repeated = 0
        for trial in reversed(self._trials()):
            if _DUPLICATE not in trial.user_attrs:
                break
            repeated += 1
        if total is not None and len(self._known) >= total:
            self.exhausted = f"all {total} points of the space have been tried"
        elif repeated >= _MOST_REPETITIONS:
            self.exhausted = f"the last {repeated} suggestions had all been tried before"
        return bool(self.exhausted)

    def _tell_repetition(self, trial: FrozenTrial) -> bool:
        """Whether the trial's point is an earlier one's; it is then told so."""
        earlier = self._known.get(self._key(trial))
        if earlier is not None:
            self._tell_failure(trial, _DUPLICATE, earlier)
        return earlier is not None

    def _tell_failure(self, trial: FrozenTrial, name: str, content: str | int) -> None:
        optuna.Trial(self._study, trial._trial_id).set_user_attr(name, content)
        self._study.tell(trial.number, state=TrialState.FAIL)

    def _is_whole(self, trial: FrozenTrial) -> bool:
        return self.settings.space.holds(trial.params)

    def _key(self, trial: FrozenTrial) -> str:
        return key(self.settings.space.checked(trial.params))

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _read(self, trial: FrozenTrial) -> Suggestion:
        assert trial.datetime_start is not None
        return Suggestion(
            number=trial.number,
            axes=self.settings.space.checked(trial.params),
            state=_STATES[trial.state],
            # Killed before the failure was told, a suggestion may have been taken up again after all.
            reason=trial.user_attrs.get(_REASON, "") if trial.state == TrialState.FAIL else "",
            rungs=tuple(self._rung(trial, horizon) for horizon in sorted(trial.intermediate_values)),
            started=trial.datetime_start.astimezone(UTC),
            ended=trial.datetime_complete.astimezone(UTC) if trial.datetime_complete else None,
        )

    def _rung(self, trial: FrozenTrial, horizon: int) -> Rung:
        written = trial.user_attrs[_rung_attribute(horizon)]
        seeds = self.settings.seeds
        return Rung(
            horizon=horizon,
            value=trial.intermediate_values[horizon],
            values=dict(zip(seeds, written["values"], strict=True)),
            probes=dict(zip(seeds, written["probes"], strict=True)),
            ended=datetime.fromisoformat(written["ended"]),
        )


def _rung_attribute(horizon: int) -> str:
    """The user attribute that holds each seed's value and probe."""
    return f"rung_{horizon}"


def _promoted_attribute(horizon: int) -> str:
    """The user attribute that says that successive halving let the trial go on."""
    return f"promoted_{horizon}"


def _counts(trial: FrozenTrial) -> bool:
    """Whether the trial is a suggestion. A running one may yet turn out to be a repetition."""
    if trial.state == TrialState.RUNNING:
        return True
    return trial.state in _STATES and not {_DUPLICATE, _CUT_OFF} & trial.user_attrs.keys()


def _is_decided(trial: FrozenTrial) -> bool:
    """Whether a running trial's last report has been acted on."""
    return trial.last_step is None or _promoted_attribute(trial.last_step) in trial.user_attrs


def _suggest(handle: optuna.Trial, axis: str, allowed: Range) -> AxisValue:
    if isinstance(allowed, Choice):
        return cast(AxisValue, handle.suggest_categorical(axis, allowed.values))
    if isinstance(allowed, Integer):
        return handle.suggest_int(axis, allowed.low, allowed.high, log=allowed.log, step=allowed.step)
    return handle.suggest_float(axis, allowed.low, allowed.high, log=allowed.log)
