import itertools
import math
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from analysis.figure import CurveInfo, draw, info
from analysis.layout import limits_of, place, spread
from analysis.load import load
from analysis.table import summary


def _info(laboratory: Any, sweep: str = "lr_decay", axis: str = "layer_decay", **at: Any) -> CurveInfo:
    return info(summary(load(laboratory.store), sweep=sweep), axis, at)


def test_info_is_in_per_cent_and_keeps_gaps(lr_decay: Any) -> None:
    content = _info(lr_decay)
    assert content.xs == (0.1, 0.2, 1.0)
    assert (content.positions, content.scale, content.ticks) == ((0.1, 0.2, 1.0), "linear", ("0.1", "0.2", "1.0"))
    assert content.means == pytest.approx((80.4, 75.4, 70.2))
    assert content.values[2] == pytest.approx((70.0, 70.2, 70.4))
    assert (content.counts, content.planned) == ((5, 5, 3), (5, 5, 5))
    assert all(low < mean < high for low, mean, high in zip(content.lows, content.means, content.highs, strict=True))
    assert content.y_label == "accuracy, k = 10 (%)"
    assert "5 seeds" in content.note


def test_a_reference_far_away_does_not_flatten_the_curve(lr_decay: Any) -> None:
    content = _info(lr_decay)
    stage_1, chance = content.references
    assert (stage_1.label, stage_1.shown, stage_1.count) == ("stage 1 only 70.0", True, 1)
    assert (chance.label, chance.shown) == ("chance 1.7 ↓", False)
    low, high = content.limits
    assert 60 < low < 69.5
    assert 80.4 < high < 90
    assert low <= chance.label_at <= high


def test_labels_of_close_references_are_moved_apart(laboratory: Any) -> None:
    name = laboratory.named
    points = [("", {"d": d}, name(d)) for d in (0.1, 0.9)]
    laboratory.plan("s", [*points, *[(f"reference {i}", {}, name("r", i)) for i in range(4)]])
    for d in (0.1, 0.9):
        laboratory.measure(name(d), 0.8 + d / 100)
    for i in range(3):
        laboratory.measure(name("r", i), 0.8 + i * 1e-5)
    content = _info(laboratory, "s", "d")
    heights = [line.label_at for line in content.references]
    gaps = [b - a for a, b in itertools.pairwise(heights)]
    assert min(gaps) > 0.04 * (content.limits[1] - content.limits[0])
    assert content.absent == ("reference 3",)
    assert [math.isnan(low) for low in content.lows] == [True, True]


def test_one_curve_at_a_time(laboratory: Any) -> None:
    name = laboratory.named
    at = [(strategy, size) for strategy in ("dino", "nnclr") for size in (4, 8)]
    grid = [("", {"strategy": strategy, "size": size}, name(strategy, size)) for strategy, size in at]
    beside = [("before", {"strategy": strategy}, name(strategy)) for strategy in ("dino", "nnclr")]
    laboratory.plan("two", [*grid, *beside, ("chance", {}, name("chance"))])
    for i, (strategy, size) in enumerate(at):
        laboratory.measure(name(strategy, size), 0.5 + i / 100)
    for i, reference in enumerate(("dino", "nnclr", "chance")):
        laboratory.measure(name(reference), 0.5 + i / 100)
    with pytest.raises(ValueError, match="axis strategy is open; choose one of dino, nnclr"):
        _info(laboratory, "two", "size")
    with pytest.raises(ValueError, match="strategy is moco; the summary has dino, nnclr"):
        _info(laboratory, "two", "size", strategy="moco")
    with pytest.raises(ValueError, match="axis 'seed' is unknown; the summary has strategy, size"):
        _info(laboratory, "two", "seed")
    content = _info(laboratory, "two", "size", strategy="nnclr")
    assert content.means == pytest.approx((52.0, 53.0))
    assert [(line.name, round(line.mean)) for line in content.references] == [("before", 51), ("chance", 52)]
    words = _info(laboratory, "two", "strategy", size="8")
    assert (words.positions, words.scale, words.x_label) == ((0.0, 1.0), "even", "strategy")


def test_without_a_value_there_is_nothing_to_draw(laboratory: Any) -> None:
    laboratory.plan("s", [("", {"d": 0.1}, laboratory.named(0))])
    with pytest.raises(ValueError, match="sweep s: no point of the grid has a value"):
        _info(laboratory, "s", "d")


@pytest.mark.parametrize(
    ("xs", "scale"),
    [
        ((0.1, 0.2, 0.3, 0.45, 0.65, 0.85, 1.0), "linear"),
        ((1024, 4096, 8192, 16384, 65536), "logarithmic"),
        (tuple(100 * 2**i for i in range(12)), "logarithmic"),
        ((0.0, 0.001, 0.01, 0.1, 1.0), "even"),
        (("nnclr", "moco"), "even"),
        ((False, True), "even"),
        ((0.2,), "linear"),
    ],
)
def test_axis_values_are_placed_so_that_ticks_stay_apart(xs: Any, scale: str) -> None:
    positions, found = place(xs)
    assert found == scale
    assert list(positions) == sorted(positions)
    assert len(set(positions)) == len(xs)


@given(st.lists(st.floats(0, 100), max_size=8), st.floats(0.1, 10))
def test_spread_keeps_distance_order_and_limits(heights: list[float], gap: float) -> None:
    moved = spread(heights, gap, 0.0, 100.0)
    pairs = sorted(zip(heights, moved, strict=True))
    assert all(later[1] - earlier[1] >= gap - 1e-9 for earlier, later in itertools.pairwise(pairs))
    assert all(-1e-9 <= height <= 100 + 1e-9 for height in moved)


def test_spread_moves_no_more_than_it_must() -> None:
    assert spread([10.0, 50.0], 5, 0, 100) == [10.0, 50.0]
    assert spread([51.0, 50.0], 5, 0, 100) == pytest.approx([53.0, 48.0])
    assert spread([0.0, 1.0], 5, 0, 100) == pytest.approx([0.0, 5.0])
    # More labels than there is room for share it.
    assert spread([1.0, 1.0, 1.0], 80, 0, 100) == pytest.approx([0.0, 50.0, 100.0])


def test_limits_hold_everything_near() -> None:
    low, high = limits_of([70.0, math.nan, 80.0], [60.0, 1.7])
    assert 50 < low < 60
    assert 80 < high < 90
    # One value is not drawn as if it varied.
    assert limits_of([70.0], []) == (69.5, 70.5)


@pytest.mark.parametrize("sweep", ["lr_decay", "words", "one"])
def test_draw_writes_png_and_pdf(lr_decay: Any, tmp_path: Path, sweep: str) -> None:
    name = lr_decay.named
    lr_decay.plan("words", [("", {"strategy": s}, name(s)) for s in ("a long name of a strategy", "moco", "dino")])
    lr_decay.measure(name("moco"), 0.5)
    lr_decay.plan("one", [("", {"size": 8, "seed": s}, name(0.1, s)) for s in range(2)])
    axis = {"lr_decay": "layer_decay", "words": "strategy", "one": "size"}[sweep]
    content = _info(lr_decay, sweep, axis)
    written = draw(content, tmp_path / "figure.png", "a title " * 20)
    assert written == [tmp_path / "figure.png", tmp_path / "figure.pdf"]
    first = [path.read_bytes() for path in written]
    with Image.open(written[0]) as image:
        assert image.size == (1280, 800)
        assert len(image.convert("L").getcolors() or []) > 20
    assert first[1].startswith(b"%PDF")
    # The same table gives the same bytes, also from another thread.
    thread = threading.Thread(target=draw, args=(content, tmp_path / "figure.png", "a title " * 20))
    thread.start()
    thread.join()
    assert [path.read_bytes() for path in written] == first


def test_only_png_is_a_figure_path(lr_decay: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"figure .*figure.jpg: allowed: a path that ends in .png"):
        draw(_info(lr_decay), tmp_path / "figure.jpg", "title")
    assert not list(tmp_path.glob("figure*"))
