"""When a run that nobody has room for gives up. No Ray."""

from dataclasses import dataclass

import pytest

from cluster.patience import Patience
from cluster.tuner import InOrder


def test_patience_is_three_waits_of_ray_train_and_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "5")
    now = [100.0]
    patience = Patience(lambda: now[0])
    assert patience.seconds == 15
    now[0] += 15
    assert not patience.over()
    now[0] += 0.1
    assert patience.over()
    patience.renew()
    assert not patience.over()
    now[0] += 15.1
    assert patience.over()


@dataclass(frozen=True)
class FakeTrial:
    """A trial, and how it stands."""

    trial_id: str
    status: str


@dataclass
class FakeController:
    """Trials that can be ended."""

    live: set[FakeTrial]
    ended: list[str]

    def get_live_trials(self) -> set[FakeTrial]:
        return self.live

    def stop_trial(self, trial: FakeTrial) -> None:
        self.live.discard(trial)
        self.ended.append(trial.trial_id)


def test_trials_without_a_place_are_ended_once_nothing_more_may_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now, may_start = [100.0], [True]
    monkeypatch.setattr("cluster.tuner.time.monotonic", lambda: now[0])
    scheduler = InOrder(lambda: may_start[0])
    controller = FakeController({FakeTrial("a", "PENDING"), FakeTrial("b", "RUNNING")}, [])
    for _ in range(3):
        scheduler.choose_trial_to_run(controller)
        now[0] += 10
    assert not controller.ended
    may_start[0] = False
    scheduler.choose_trial_to_run(controller)
    assert not controller.ended, "it may be on its way into a free process"
    now[0] += 2.1
    scheduler.choose_trial_to_run(controller)
    assert controller.ended == ["a"]
