"""The report: one page that needs nothing else, gaps first, every number led back to its value; names stay names."""

import re
import subprocess
import sys
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from analysis.__main__ import main
from analysis.report import reproduce
from analysis.report.page import build, render
from analysis.report.request import Request
from analysis.report.values import canonical
from analysis.report.view import Page
from stars.sweep import AxisValue
from tests import whole_store
from tests.whole_store import fill, fingerprint, knn, plan, pretrain, tune

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
VOID = {"meta", "br", "img", "input", "hr", "link"}


class Document(HTMLParser):
    """A page read back: its elements, whether they nest, and the text of those with an identifier."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.texts.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)

    def identifiers(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    def links(self) -> set[str]:
        return {attributes["href"] for tag, attributes in self.elements if tag == "a"}


def _page(laboratory: Any, **request: Any) -> Page:
    return build(laboratory.store, Request(**{"figures": "none", **request}), NOW, "python -m analysis report")


@pytest.fixture
def whole(laboratory: Any) -> Any:
    fill(laboratory)
    return laboratory


def test_the_page_is_whole_and_needs_nothing_else(whole: Any) -> None:
    text = render(_page(whole, figures="embedding"))
    document = Document(text)
    identifiers = document.identifiers()
    assert len(set(identifiers)) == len(identifiers)
    assert document.links() <= {f"#{name}" for name in identifiers}
    sources = [v for _, a in document.elements for name, v in a.items() if name in ("src", "href", "xlink:href")]
    assert all(source.startswith(("#", "data:")) for source in sources)
    assert not re.search(r"@import|url\((?!#)", text)
    # Curve, cost, learning curves, confusion matrix and t-SNE.
    assert document.count("svg") == 5
    headers = [attributes for tag, attributes in document.elements if tag == "th"]
    assert headers
    assert all(attributes.get("scope") == "col" for attributes in headers)
    assert document.count("caption") == document.count("table")
    pictures = [a["aria-label"] for tag, a in document.elements if tag == "div" and a.get("role") == "img"]
    assert pictures[0].startswith("Accuracy, k = 10 along layer_decay. accuracy, k = 10 (%): 80.2 at 0.1;")
    assert any("taken for" in words for words in pictures)


def test_only_its_own_script_may_run(whole: Any) -> None:
    text = render(_page(whole))
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'" in text


def _luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_is_readable_on_every_ground() -> None:
    style = (resources.files("analysis.report") / "page.css").read_text()
    light, dark, paper = (
        dict(re.findall(r"--([\w-]+): (#\w+);", block)) for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    )
    pairs = [(ink, ground) for ink in ("ink", "quiet", "accent") for ground in ("paper", "raised")]
    pairs += [(name, f"{name}-back") for name in ("good", "warn", "bad")] + [("warn", "paper")]
    for colours in (light, light | dark, light | dark | paper):
        for ink, ground in pairs:
            bright, dim = sorted((_luminance(colours[ink]), _luminance(colours[ground])), reverse=True)
            # 4.5 is what WCAG asks of text (1.4.3, level AA).
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (ink, ground)


def test_gaps_and_failures_come_first(whole: Any) -> None:
    page = _page(whole)
    assert page.tiles[1:] == [
        ("10 of 13", "points finished", ""),
        ("1", "missing", "warn"),
        ("2", "failed", "bad"),
    ]
    (failure,) = page.failures
    assert failure.counts == [("diverged", 1), ("missing", 1), ("out of memory", 1)]
    assert failure.table is not None
    said = [[cell.text for cell in line][1:] for line in failure.table.lines]
    assert [line[:3] for line in said] == [
        ["0.5", "2", "missing"],
        ["1.0", "1", "diverged"],
        ["1.0", "2", "out of memory"],
    ]
    assert [line[4] for line in said] == ["not computed yet", "loss is nan, after 17 steps", "CUDA out of memory"]
    diverged = fingerprint(tune(layer_decay=1.0, seed=1))
    assert (said[1][3], failure.table.lines[1][4].link) == (f"tune {diverged[:12]}", f"#v-{diverged[:16]}")
    text = render(page)
    assert text.index("loss is nan, after 17 steps") < text.index('id="overview"') < text.index("80.2")


def test_every_number_leads_to_its_value(whole: Any) -> None:
    page = _page(whole)
    (section,) = page.sections
    entries = {entry.anchor: entry for _, same in page.entries for entry in same}

    def expanded(anchor: str) -> str:
        return "".join(expanded(link) if link else text for text, link in entries[anchor].document)

    for entry in entries.values():
        assert sha256(expanded(entry.anchor).encode()).hexdigest() == entry.fingerprint
    numbers = [(line, cell) for line in section.points.lines for cell in line if cell.link]
    assert len(numbers) == 9 + 3
    first = entries[numbers[0][1].link.removeprefix("#")]
    assert expanded(first.anchor) == canonical(knn(tune(layer_decay=0.1, seed=0)))
    facts = dict(first.facts)
    assert (facts["code"], facts["seeds"]) == ("c" * 40, "pretrain 0, tune 0")
    assert ("data content", "d" * 64) in section.shared
    # A mean leads to its line among the points.
    (tabulated,) = section.tables
    means = [cell.link.removeprefix("#") for line in tabulated.table.lines for cell in line if cell.link]
    assert len(means) == 5
    assert set(means) <= set(section.points.anchors)


def test_every_number_says_how_to_compute_it(whole: Any) -> None:
    (section,) = _page(whole).sections
    assert section.command == (
        "python sweeps/lr_decay.py --data synthetic --protocol XSub --label-rule action --recipe small --nan refuse"
    )
    assert section.points.lines[4][-1].text == "--set layer_decay=0.2 --set seed=1"
    assert section.best == ("layer_decay=0.1", "80.2 ± 2.5")


def test_commands_survive_a_shell() -> None:
    context: dict[str, AxisValue] = {
        "dataset": "a b; rm -rf *",
        "protocol": "list",
        "reseed_pretraining": True,
        "start": "tune abc",
    }
    assert reproduce.command("s", context, {"d": "$(x)", "e": None, "f": False}) == (
        "python sweeps/s.py --data 'a b; rm -rf *' --protocol list --start abc --reseed-pretraining "
        "--set 'd=$(x)' --set f=false"
    )
    assert len(reproduce.remarks(context)) == 2


@pytest.mark.filterwarnings("ignore:Glyph .* missing from font")
def test_names_are_names(laboratory: Any) -> None:
    hostile = "<img src=x onerror=alert(1)>'\"&$\\frac{{{ 7*7 }}</script><script>alert(2)"
    store = laboratory.store
    sweep = hostile.replace("/", "")
    context = {**whole_store.CONTEXT, "dataset": hostile, hostile: hostile}
    points = []
    for seed in range(2):
        probe = knn(tune(layer_decay=0.1 * seed, name=hostile))
        name = fingerprint(probe)
        points += [("", {hostile: hostile, "seed": seed}, name, whole_store.chain(probe))]
        for stage in (probe["features"]["encoder"], probe["features"], probe):
            whole_store.end(store, stage, {"curve.parquet": whole_store.curve([2.0, 1.0])} if "start" in stage else {})
        whole_store.predict(store, probe, seed, 0.7, (hostile, *whole_store.CLASSES[1:]))
        laboratory.measure(name, 0.5 + seed / 10, code=hostile, device=hostile, dataset=hostile)
    failed = knn(tune(layer_decay=0.9))
    whole_store.end(store, failed["features"]["encoder"], status="oom", reason=hostile)
    points.append((hostile, {"seed": 0}, fingerprint(failed), whole_store.chain(failed)))
    plan(store, sweep, points, context, paper=hostile)
    laboratory.measure(laboratory.named("alone"), 0.5, code=hostile)
    text = render(_page(laboratory, figures="all"))
    document = Document(text)
    assert document.count("script") == 1
    # Confusion matrices hold images of their own, as data.
    assert document.count("img") == 0
    assert not [name for _, attributes in document.elements for name in attributes if name.startswith("on")]
    assert "{{ 7*7 }}" in "".join(document.texts)
    assert "49" not in {part.strip() for part in document.texts}
    assert document.count("svg") == 4


def test_what_cannot_be_tabulated_is_said(laboratory: Any) -> None:
    for version in range(2):
        laboratory.plan("s", [("", {"d": 0.5}, laboratory.named(version))])
    (told, gaps) = sorted(_page(laboratory).failures, key=lambda failure: failure.table is not None)
    assert "is planned as" in told.reason
    assert gaps.counts == [("missing", 2)]
    assert "Cannot be tabulated" in render(_page(laboratory))


def test_a_figure_that_cannot_be_drawn_says_why(lr_decay: Any) -> None:
    (section,) = _page(lr_decay, figures="all").sections
    (tabulated,) = section.tables
    assert [picture.title for picture in tabulated.pictures] == ["Accuracy, k = 10 along layer_decay"]
    assert [why.partition(":")[0] for why in tabulated.left_out] == [
        "Accuracy against training time",
        "Learning curves",
        "Confusion matrix",
    ]


def test_several_axes_features_and_contexts(laboratory: Any) -> None:
    points = [("", {"strategy": s, "size": q}, laboratory.named(s, q)) for s in ("a", "b") for q in (1, 2, 3)]
    for i, (_, _, name) in enumerate(points):
        laboratory.measure(name, 0.5 + i / 100, feature="pooled" if i % 2 else "projected")
    laboratory.plan("two", points)
    laboratory.plan("two", points, {"dataset": "ntu60", "recipe": "paper"})
    page = _page(laboratory, figures="all")
    assert [dict(section.context)["dataset"] for section in page.sections] == ["synthetic", "ntu60"] or [
        dict(section.context)["dataset"] for section in page.sections
    ] == ["ntu60", "synthetic"]
    assert page.tiles[0][0] == "1"
    titles = [tabulated.title for tabulated in page.sections[0].tables]
    assert titles == ["knn: accuracy, k = 10, projected", "knn: accuracy, k = 10, pooled"]
    counts = [line[-2].text for line in page.sections[0].tables[0].table.lines]
    assert counts == ["1", "0/1", "1", "0/1", "1", "0/1"]
    assert len(page.sections[0].tables[0].pictures) == 2
    assert all(cell.text != "no such number" for line in page.sections[0].points.lines for cell in line)


def test_numbers_without_a_plan_are_shown(laboratory: Any) -> None:
    laboratory.measure(laboratory.named("alone"), 0.5, 0.25)
    page = _page(laboratory)
    assert page.unplanned is not None
    assert [line[7].text for line in page.unplanned.lines] == ["0.5000", "0.2500"]
    assert "No sweep is planned in this store." in render(page)


def test_many_points_stay_closed_and_small(laboratory: Any) -> None:
    for number in range(8):
        points = [("", {"d": d, "seed": s}, laboratory.named(number, d, s)) for d in range(5) for s in range(5)]
        laboratory.plan(f"sweep_{number}", points)
        for _, _, name in points[1:]:
            laboratory.measure(name, 0.5)
    text = render(_page(laboratory))
    assert len(text) / (8 * 25) < 1500
    opened = [a for tag, a in Document(text).elements if tag == "details" and "open" in a]
    assert opened == []


def test_the_command_writes_one_file(whole: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report.html"
    before = set(whole.store.location.rglob("*"))
    assert main(["report", str(whole.store.location), "--out", str(out), "--figures", "none"]) == 0
    assert capsys.readouterr().out.startswith(f"{out}  0.")
    assert "80.2 ± 2.5" in out.read_text()
    assert set(whole.store.location.rglob("*")) == before
    assert main(["report", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_report_needs_neither_torch_nor_ray() -> None:
    program = "import sys, analysis.report.commands; print([n for n in ('torch', 'ray') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_value_is_written_once(whole: Any) -> None:
    by_kind = dict(_page(whole).entries)
    assert len(by_kind["pretrain"]) == 1
    assert [entry.fingerprint for entry in by_kind["data"]] == [fingerprint(whole_store.DATA)]
    assert by_kind["pretrain"][0].fingerprint == fingerprint(pretrain())
