"""Figures beside the curve of a sweep: what they show, and that names stay names."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis.figures import confusion, coordinates, cost, embedding, learning
from analysis.paper import literal, to_svg

HOSTILE = r"<b>$\frac{</b> & $x_$"


def _trials(**changes: Any) -> pd.DataFrame:
    lines = [
        (0, "finished", 6, 0.72, 0.001, "whole", None),
        (1, "stopped", 2, 0.50, 0.3, "whole", None),
        (2, "finished", 2, 0.71, 0.01, "random", 3),
        (2, "finished", 6, 0.75, 0.01, "random", 3),
        (4, "failed", 2, math.nan, 0.9, "whole", None),
        (5, "running", 2, math.nan, 0.5, "random", 7),
    ]
    names = ["trial", "state", "horizon", "value", "axis.rate", "axis.crop", "axis.patches"]
    frame = pd.DataFrame(lines, columns=names).astype({"axis.patches": object})
    frame["axis.patches"] = [None if pd.isna(v) else int(v) for v in frame["axis.patches"]]
    shared = {"study": "s-1", "metric": "accuracy", "k": 10, "greater_is_better": True}
    frame.attrs = dict((shared | changes).items())
    return frame


def _confusion(names: tuple[str, ...] = ("a", "b", "c", "d")) -> confusion.ConfusionInfo:
    labels = np.array([0, 0, 0, 0, 1, 1])
    return confusion.info([(labels, np.array([0, 0, 0, 1, 2, 1])), (labels, np.array([0, 0, 0, 0, 1, 1]))], names)


def test_rows_of_a_confusion_matrix_are_shares_of_the_true_class() -> None:
    content = _confusion()
    assert content.classes == ("a", "b", "c")
    assert content.shares[0] == pytest.approx((87.5, 12.5, 0))
    assert content.shares[1] == pytest.approx((0, 75, 25))
    # Class c was predicted and has no sample of its own; class d never occurs.
    assert all(math.isnan(share) for share in content.shares[2])
    assert (content.counts, content.num_runs) == ((8, 4, 0), 2)
    assert content.accuracy == pytest.approx(100 * 10 / 12)
    assert content.pairs == (("b", "c", 25.0), ("a", "b", 12.5))


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [([], [], "no sample"), ([0], [0, 1], "2 predictions; allowed: .* 1"), ([0], [2], "2 to 2; allowed: 0 to 1")],
)
def test_a_confusion_matrix_refuses(labels: list[int], predicted: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        confusion.info([(np.array(labels, dtype=np.int64), np.array(predicted, dtype=np.int64))], ("a", "b"))


def test_sixty_names_are_readable() -> None:
    names = tuple(f"play with phone/tablet {i}" for i in range(60))
    labels = np.arange(60)
    figure = confusion.compose(confusion.info([(labels, labels)], names), "")
    # A row is higher than a line of its six-point names.
    assert figure.get_size_inches().min() * figure.axes[0].get_position().height / 60 > 6 / 72
    texts = [text.get_text() for text in (*figure.axes[0].get_xticklabels(), *figure.axes[0].get_yticklabels())]
    assert texts == [*names, *names]


def test_a_figure_is_written_as_png_and_pdf(tmp_path: Path) -> None:
    written = confusion.draw(_confusion(), tmp_path / "c.png", "title")
    assert [path.name for path in written] == ["c.png", "c.pdf"]
    with Image.open(written[0]) as image:
        assert min(image.size) > 400
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in confusion.draw(_confusion(), tmp_path / "c.png", "title")] == first


def test_the_same_classes_are_drawn_from_a_seed() -> None:
    labels = np.repeat(np.arange(40), 30)
    kept = embedding.sample(labels, seed=3, num_classes=15, num_samples=10)
    assert np.array_equal(kept, embedding.sample(labels, seed=3, num_classes=15, num_samples=10))
    assert not np.array_equal(kept, embedding.sample(labels, seed=4, num_classes=15, num_samples=10))
    assert np.unique(labels[kept], return_counts=True)[1].tolist() == [10] * 15
    assert (np.diff(kept) > 0).all()
    with pytest.raises(ValueError, match="num_classes is 36; allowed: 1 to 35"):
        embedding.sample(labels, 0, num_classes=36)
    with pytest.raises(ValueError, match="num_samples is 0"):
        embedding.sample(labels, 0, num_samples=0)


def test_panels_share_classes_and_show_what_is_apart() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 3 + 2
    apart = (np.eye(5)[labels] * 9 + generator.normal(size=(60, 5))).astype(np.float32)
    noise = generator.normal(size=(60, 7)).astype(np.float32)
    names = ("p", "q", "r", "s", "t")
    content = embedding.info({"tuned": apart, "noise": noise}, labels, names, seed=0)
    assert content.classes == ("r", "s", "t")
    assert content == embedding.info({"tuned": apart, "noise": noise}, labels, names, seed=0)
    tuned, random = content.panels
    assert tuned.classes == random.classes == tuple((labels - 2).tolist())
    same = []
    for panel in content.panels:
        points = np.array(panel.points)
        assert points.min() >= 0 and points.max() <= 1  # noqa: PT018 - one range
        distances = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.eye(60) * 9
        same.append(float((labels[distances.argmin(axis=1)] == labels).mean()))
    assert same[0] == 1.0
    assert same[1] < 0.7
    with pytest.raises(ValueError, match="tuned has features of 59 samples; allowed: of the 60"):
        embedding.info({"tuned": apart[1:]}, labels, names, 0)
    with pytest.raises(ValueError, match="0 methods and 60 samples"):
        embedding.info({}, labels, names, 0)


def test_learning_curves_average_as_far_as_all_reach() -> None:
    content = learning.info({"tune": {"a": [np.array([3.0, 2.0, 1.0]), np.array([1.0, 1.0])]}, "pretrain": {}})
    ((kind, (line,)),) = content.panels
    assert (kind, line.mean, line.seeds) == ("tune", (2.0, 1.5), ((3.0, 2.0, 1.0), (1.0, 1.0)))
    many = learning.info({"tune": {str(i): [np.ones(2)] for i in range(20)}})
    assert [line.name for line in many.panels[0][1]] == ["0", "3", "6", "10", "13", "16", "19"]
    assert "13 conditions in between are not shown" in many.note
    with pytest.raises(ValueError, match="tune, a: a loss is not finite"):
        learning.info({"tune": {"a": [np.array([1.0, math.nan])]}})
    with pytest.raises(ValueError, match="no stage left a learning curve"):
        learning.info({"tune": {"a": []}})


def test_accuracy_against_training_time() -> None:
    methods = [
        cost.Method(name="slow", values=[0.8, 0.82], seconds=[7200.0, 7200.0]),
        cost.Method(name="fast", values=[0.7], seconds=[60.0]),
        cost.Method(name="chance", values=[0.1], seconds=[0.0]),
        cost.Method(name="missing", values=[], seconds=[]),
    ]
    content = cost.info(methods, "accuracy (%)", ["gpu", "cpu"])
    assert [(mark.name, mark.count) for mark in content.marks] == [("fast", 1), ("slow", 2)]
    assert (content.unit, content.logarithmic) == ("hours", True)
    assert (content.marks[1].time, content.marks[1].value) == pytest.approx((2.0, 81.0))
    assert "cpu, gpu" in content.note
    with pytest.raises(ValueError, match="a: 0 times; allowed: one for each of 1 numbers"):
        cost.info([cost.Method(name="a", values=[0.1], seconds=[])], "", [])
    with pytest.raises(ValueError, match="no method has both"):
        cost.info(methods[2:], "", [])


def test_parallel_coordinates_break_where_an_axis_does_not_exist() -> None:
    content = coordinates.info(_trials())
    assert [coordinate.name for coordinate in content.coordinates] == [
        "rate",
        "crop",
        "patches",
        "accuracy, k = 10 (%)",
    ]
    assert [coordinate.logarithmic for coordinate in content.coordinates] == [True, False, False, False]
    assert [(trial.number, trial.whole) for trial in content.trials] == [(1, False), (0, True), (2, True)]
    best = content.trials[-1]
    assert best.value == pytest.approx(75)
    assert best.heights == pytest.approx((math.log(10) / math.log(300), 1.0, 0.0, 1.0))
    assert math.isnan(content.trials[0].heights[2])
    # Whole numbers have whole ticks.
    assert content.coordinates[2].ticks == ((0.0, "3"),)
    smaller = coordinates.info(_trials(greater_is_better=False))
    assert smaller.trials[-1].number == 0
    with pytest.raises(ValueError, match="no trial has a value yet"):
        coordinates.info(_trials().assign(value=math.nan))


def _search_named(name: str) -> coordinates.CoordinatesInfo:
    frame = _trials()
    renamed = frame.rename(columns={"axis.rate": f"axis.{name}"}).replace({"axis.crop": {"whole": name}})
    renamed.attrs = frame.attrs
    return coordinates.info(renamed)


FIGURES: list[Callable[[str], Figure]] = [
    lambda name: confusion.compose(_confusion((name, "b", "c", "d")), name),
    lambda name: embedding.compose(
        embedding.info({name: np.eye(6, dtype=np.float32)}, np.zeros(6, dtype=np.int64), (name,), 0), name
    ),
    lambda name: learning.compose(learning.info({name: {name: [np.ones(1)], "b": [np.ones(3)] * 2}}), name),
    lambda name: cost.compose(cost.info([cost.Method(name=name, values=[0.5], seconds=[9.0])], name, [name]), name),
    lambda name: coordinates.compose(_search_named(name), name),
]


@pytest.mark.parametrize("compose", FIGURES)
def test_a_name_is_no_markup_and_no_formula(compose: Callable[[str], Figure]) -> None:
    svg = to_svg(compose(HOSTILE), "f-1")
    texts = [element.text or "" for element in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]
    assert any("<b>$" in text for text in texts)
    assert "<b>" not in svg


def test_figures_of_a_page_do_not_collide() -> None:
    first, second = (to_svg(FIGURES[0]("a"), name) for name in ("f-1", "f-2"))
    identifiers = [
        {element.get("id") for element in ElementTree.fromstring(svg).iter() if element.get("id")}
        for svg in (first, second)
    ]
    assert identifiers[0]
    assert not identifiers[0] & identifiers[1]
    assert first.replace("f-1", "f-2") == second
    # The page decides about size, ink and paper.
    head = first[: first.index(">")]
    assert 'viewBox="' in head
    assert ' width="' not in head
    assert "#000000" not in first
    assert "currentColor" in first


def test_dollar_signs_are_literal() -> None:
    figure = Figure()
    figure.text(0, 0, literal("$a$ and $b"))
    assert ">$a$ and $b<" in to_svg(figure, "f")
