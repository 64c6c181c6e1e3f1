"""Room: what trials take, what fits, and what is refused."""

import pytest

from cluster.resources import Amount, Capacity, DoesNotFit, declared, growing, needs, require


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
        # A share lies on one GPU: two of each, though five would be two in all.
        ((8, 2), (1, 0.4), 4),
        ((3, 2), (1, 0.4), 3),
        ((8, 0), (1, 1), 0),
    ],
)
def test_how_often_something_fits(capacity: tuple[float, float], need: tuple[float, float], fits: int) -> None:
    assert Amount(cpus=capacity[0], gpus=capacity[1]).holds(Amount(cpus=need[0], gpus=need[1])) == fits


def cluster(*nodes: tuple[float, float]) -> Capacity:
    """A cluster of such processors and GPUs."""
    return Capacity(nodes=tuple(Amount(cpus=cpus, gpus=gpus) for cpus, gpus in nodes))


@pytest.mark.parametrize(
    ("nodes", "need", "fits"),
    [
        ([(3, 0), (3, 0), (3, 0)], (2, 0), 3),
        ([(16, 0), (4, 4)], (2, 1), 2),
        ([(1, 0), (1, 0)], (2, 0), 0),
        ([], (1, 0), 0),
    ],
)
def test_a_worker_fits_onto_one_node(nodes: list[tuple[float, float]], need: tuple[float, float], fits: int) -> None:
    assert cluster(*nodes).holds(Amount(cpus=need[0], gpus=need[1])) == fits


def test_a_cluster_that_grows_holds_what_it_will_hold() -> None:
    worker = Amount(cpus=1, gpus=0)
    largest = Amount(cpus=4, gpus=1)
    for nodes in ([], [(1, 0)], [(1, 0), (2, 0)], [(1, 0), (3, 1)], [(6, 1)]):
        now = cluster(*nodes)
        grown = growing(now.nodes, largest)
        assert (grown.cpus, grown.gpus) == (max(4, now.cpus), 1)
        assert grown.holds(worker) == max(4, now.cpus)


def test_how_far_a_cluster_grows_is_read_from_the_environment() -> None:
    assert declared({}) == Amount(cpus=0, gpus=0)
    assert declared({"STARS_MAX_CPUS": "64", "STARS_MAX_GPUS": "8"}) == Amount(cpus=64, gpus=8)


@pytest.mark.parametrize("text", ["", "many", "-1", "nan", "inf"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DoesNotFit, match=rf"\$STARS_MAX_GPUS is '{text}'; allowed: how many"):
        declared({"STARS_MAX_GPUS": text})


def test_what_can_never_start_is_refused_at_once() -> None:
    two = needs(num_workers=2, cpus_per_trial=None, gpus_per_trial=2, has_gpus=True)
    require(cluster((2, 2)), two)
    require(cluster((1, 1), (1, 1)), two)
    require(growing([], Amount(cpus=2, gpus=2)), two)
    with pytest.raises(
        DoesNotFit, match="--gpus-per-trial is 2 for 2 workers; allowed: at most 1, all that the cluster"
    ):
        require(cluster((2, 1)), two)
    with pytest.raises(DoesNotFit, match=r"all that the cluster has or can grow to \(\$STARS_MAX_CPUS, "):
        require(cluster((1, 2)), two)
    with pytest.raises(DoesNotFit, match=r"takes 1 processors and 1 GPUs of one node; allowed: .* 0 such workers"):
        require(cluster((2, 0), (0, 2)), two)


def test_what_no_node_holds_is_refused() -> None:
    wide = needs(num_workers=1, cpus_per_trial=2, gpus_per_trial=None, has_gpus=False)
    with pytest.raises(DoesNotFit, match="each of 1 workers takes 2 processors"):
        require(cluster((1, 0), (1, 0)), wide)
