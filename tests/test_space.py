"""What a search may suggest: ranges, conditions, points, and how a sweep is pinned."""

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stars.space import Choice, Integer, Range, Real, Space, key, without_impossible
from stars.sweep import Sweep, points
from sweeps import lr_decay, search

CROP = Choice(values=("whole", "random"))
SMALLEST = Real(low=0.2, high=0.9, when=(("crop", ("random",)),))
SPACE = Space(ranges={"rate": Real(low=1e-4, high=1.0, log=True), "crop": CROP, "smallest": SMALLEST})

BAD: dict[str, tuple[Callable[[], object], str]] = {
    "reversed": (lambda: Real(low=1, high=0), "Real is 1 to 0; allowed: finite numbers that ascend"),
    "endless": (lambda: Real(low=0, high=float("inf")), "Real is 0 to inf"),
    "logarithm of 0": (lambda: Real(low=0, high=1, log=True), "Real.low is 0 on a logarithmic scale; allowed: above 0"),
    "step past the end": (lambda: Integer(low=0, high=5, step=2), "Integer.step is 2; allowed: 1 or more"),
    "whole logarithm of 0": (lambda: Integer(low=0, high=5, log=True), "Integer is 0 by 1 on a logarithmic scale"),
    "no choice": (lambda: Choice(values=()), "Choice.values is []; allowed: one or more different"),
    "equal choices": (lambda: Choice(values=(1, True)), "Choice.values is [1, True]; allowed: one or more different"),
    "not a number": (lambda: Choice(values=(float("nan"),)), "Choice.values has nan"),
    "declared later": (
        lambda: Space(ranges={"smallest": SMALLEST, "crop": CROP}),
        "smallest exists when 'crop' has some value; allowed: a choice that is declared before it, here none",
    ),
    "no such value": (
        lambda: Space(ranges={"crop": Choice(values=("whole", "half")), "smallest": SMALLEST}),
        "smallest exists only when crop is 'random'; allowed: whole, half",
    ),
}


@pytest.mark.parametrize(("make", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_searched_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the words are compared below
        make()
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("point", "words"),
    [
        ({"crop": "whole"}, "axis rate is missing; allowed: numbers from 0.0001 to 1.0"),
        ({"rate": 2.0, "crop": "whole"}, "rate is 2.0; allowed: numbers from 0.0001 to 1.0"),
        ({"rate": True, "crop": "whole"}, "rate is True; allowed: numbers"),
        ({"rate": 0.1, "crop": "half"}, "crop is 'half'; allowed: whole, random"),
        ({"rate": 0.1, "crop": "random"}, "axis smallest is missing; allowed: numbers from 0.2 to 0.9"),
        ({"rate": 0.1, "crop": "whole", "smallest": 0.5}, "smallest is 0.5; allowed: only where crop is random"),
        ({"rate": 0.1, "crop": "whole", "depth": 1}, "axis 'depth' is unknown; allowed: rate, crop, smallest"),
    ],
)
def test_a_point_outside_is_refused_by_axis_and_value(point: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the words are compared below
        SPACE.checked(point)
    assert words in str(refused.value)
    assert not SPACE.holds(point)


def test_equal_points_have_one_key() -> None:
    one, other = SPACE.checked({"rate": 1, "crop": "whole"}), SPACE.checked({"crop": "whole", "rate": 1.0})
    assert key(one) == key(other)
    assert list(other) == ["rate", "crop"]
    step = Space(ranges={"blocks": Integer(low=2, high=8, step=3)})
    assert step.checked({"blocks": 5.0}) == {"blocks": 5}
    assert not step.holds({"blocks": 6})


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 4), st.integers(1, 3))
def test_points_are_counted_as_if_listed(a: int, b: int, c: int, step: int) -> None:
    ranges: dict[str, Range] = {
        "a": Choice(values=tuple(range(a))),
        "b": Choice(values=tuple("wxyz"[:b]), when=(("a", (0,)),)),
        "c": Integer(low=0, high=c * step, step=step, when=(("b", ("w",)),)),
    }
    found = Space(ranges=ranges)
    tried = itertools.product([*range(a)], [None, *"wxyz"[:b]], [None, *range(c * step + 1)])
    maybe = [{name: v for name, v in zip("abc", values, strict=True) if v is not None} for values in tried]
    assert found.num_points() == sum(map(found.holds, maybe))


def test_real_numbers_have_no_end() -> None:
    assert SPACE.num_points() is None
    assert Space(ranges={"rate": Real(low=1, high=1)}).num_points() == 1


def test_documents_tell_spaces_apart() -> None:
    spaces = [
        SPACE,
        Space(ranges={**SPACE.ranges, "rate": Real(low=1e-4, high=1.0)}),
        Space(ranges={**SPACE.ranges, "smallest": Real(low=0.2, high=0.9)}),
        Space(ranges={"rate": Choice(values=("1",))}),
        Space(ranges={"rate": Choice(values=(1,))}),
        Space(ranges={"rate": Integer(low=1, high=1)}),
    ]
    assert len({space.document() for space in spaces}) == len(spaces)
    assert (
        Space(ranges={"x": Real(low=0, high=1)}).document() == Space(ranges={"x": Real(low=0.0, high=1.0)}).document()
    )


def test_axes_without_their_condition_are_left_out() -> None:
    ranges: dict[str, Range] = {"crop": Choice(values=("whole",)), "smallest": SMALLEST}
    assert list(without_impossible(ranges)) == ["crop"]


def test_a_sweep_without_a_grid_can_only_be_searched() -> None:
    assert search.SWEEP.searched
    assert not lr_decay.SWEEP.searched
    with pytest.raises(ValueError, match="search has no grid; allowed: a search"):
        points(search.SWEEP, None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="axis crop of search has no grid; allowed: in a search"):
        search.SWEEP.widened({"crop": ["whole"]})


def test_pinned_axes_become_choices() -> None:
    pinned = search.SWEEP.pinned({"layer_decay": [0.2, 1], "crop": ["whole"], "seed": [7]})
    assert pinned.space().ranges["layer_decay"] == Choice(values=(0.2, 1.0))
    assert "smallest_crop" not in pinned.space().ranges
    assert tuple(pinned.axes["seed"]) == (7,)
    from tests.cluster.fake_search import recipe

    assert pinned.first_points(recipe()), "the recipe's own settings are still among them"
    assert not pinned.pinned({"layer_decay": [1.0]}).first_points(recipe())


def test_an_axis_with_a_grid_alone_is_searched_by_its_values() -> None:
    sweep = Sweep(**{**lr_decay.SWEEP.__dict__, "ranges": {}})
    assert sweep.space().ranges == {"layer_decay": Choice(values=tuple(sweep.axes["layer_decay"]))}
    assert sweep.pinned({"layer_decay": [0.123]}).space().ranges == {"layer_decay": Choice(values=(0.123,))}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"depth": [1]}, "axis 'depth' is unknown; search has learning_rate"),
        ({"layer_decay": [2.0]}, "layer_decay is 2.0; allowed: numbers from 0.05 to 1.0"),
        ({"layer_decay": []}, "axis layer_decay is []; allowed: one or more different values"),
        (
            {"crop": ["whole"], "smallest_crop": [0.5]},
            "axis smallest_crop has values; allowed: only where crop is random",
        ),
    ],
)
def test_what_cannot_be_pinned_is_refused(changes: dict[str, list[object]], words: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the words are compared below
        search.SWEEP.pinned(changes)  # type: ignore[arg-type]
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ranges": {"seed": Integer(low=0, high=3)}}, "a range for the axis 'seed'"),
        ({"ranges": {"metric": Real(low=0, high=1)}}, "axis 'metric' is the name of a results column"),
        ({"ranges": {"layer_decay": Real(low=0, high=1)}}, r"layer_decay is 0.0; allowed: in \(0, 1\]"),
    ],
)
def test_a_sweep_refuses_ranges_that_cannot_be(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Sweep(**{**lr_decay.SWEEP.__dict__, **change})
