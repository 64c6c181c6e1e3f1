"""Room: what trials take, what fits, and what is refused."""

import pytest

from cluster.resources import Amount, DoesNotFit, needs, require


def asked(workers: int = 1, cpus: float | None = None, gpus: float | None = None, has: bool = False) -> Amount:
    """What one trainer takes."""
    return needs(num_workers=workers, cpus_per_trial=cpus, gpus_per_trial=gpus, has_gpus=has).trainer


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({}, (1, 0)),
        ({"workers": 4}, (4, 0)),
        ({"workers": 4, "has": True}, (4, 4)),
        ({"gpus": 0.25, "has": True}, (1, 0.25)),
        ({"gpus": 0.0, "has": True}, (1, 0)),
        ({"workers": 2, "cpus": 8, "gpus": 2}, (8, 2)),
    ],
)
def test_what_a_trial_takes(given: dict[str, float], taken: tuple[float, float]) -> None:
    amount = asked(**given)  # type: ignore[arg-type]
    assert (amount.cpus, amount.gpus) == taken


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"workers": 0}, "--workers is 0; allowed: 1 or more"),
        ({"workers": 2, "cpus": 3}, "--cpus-per-trial is 3; allowed: a multiple of --workers, 2"),
        ({"cpus": 0}, "--cpus-per-trial is 0"),
        ({"workers": 2, "gpus": 0.5}, "--gpus-per-trial is 0.5; allowed: 0, or a multiple of --workers, 2"),
        ({"gpus": 2}, "--gpus-per-trial is 2 with one worker"),
        ({"gpus": -1}, "--gpus-per-trial is -1"),
        ({"workers": 2, "gpus": 2.5}, "--gpus-per-trial is 2.5"),
    ],
)
def test_what_no_trial_can_take_is_refused(given: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        asked(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("capacity", "need", "fits"),
    [
        ((8, 0), (1, 0), 8),
        ((8, 2), (1, 1), 2),
        ((2, 8), (1, 1), 2),
        ((8, 1), (1, 1 / 3), 3),
        ((8, 1), (1, 0.4), 2),
        ((8, 0), (1, 1), 0),
        ((-1, 0), (1, 0), 0),
    ],
)
def test_how_often_something_fits(capacity: tuple[float, float], need: tuple[float, float], fits: int) -> None:
    assert Amount(cpus=capacity[0], gpus=capacity[1]).holds(Amount(cpus=need[0], gpus=need[1])) == fits


def test_what_can_never_start_is_refused_at_once() -> None:
    two = needs(num_workers=2, cpus_per_trial=None, gpus_per_trial=2, has_gpus=True)
    require(Amount(cpus=2, gpus=2), two)
    with pytest.raises(DoesNotFit, match="--gpus-per-trial is 2; allowed: at most 1, all that the cluster has or can"):
        require(Amount(cpus=2, gpus=1), two)
