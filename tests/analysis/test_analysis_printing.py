"""Names that contain markup, commands and formulas, in every format; and the shape of each format."""

import csv as standard_csv
import io
from html.parser import HTMLParser

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from analysis.printing import csv, html, latex, markdown
from analysis.sheet import Sheet, per_cent, points, ranked

HOSTILE = (
    "<script>alert(1)</script>",
    "a | b",
    "**bold** _it_ `code` [link](javascript:1) ![x](y) ~~no~~ $x$",
    r"\input{/etc/passwd} 100 % & #1 $x_1^2$ {a} ~",
    "&lt; &amp; \" ' <b onmouseover=x>",
    "two\nlines",
    "snake_case_name",
    '=HYPERLINK("http://x")',
)


class _Cells(HTMLParser):
    """The texts of cells, and every tag."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: set[str] = set()
        self.inside = False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag in ("td", "th"):
            self.inside = True
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.texts[-1] += data


def _sheet(*names: str) -> Sheet:
    return Sheet(
        title=names[0],
        headers=[(names[0],), ("value",)],
        lines=[(name, f"{i}.0") for i, name in enumerate(names)],
        left=frozenset({0}),
        marks={(0, 1): "bold", (1, 1): "underline"} if len(names) > 1 else {},
        caption="\n".join(names),
    )


def _collapsed(texts: list[str]) -> list[str]:
    return [" ".join(text.split()) for text in texts]


def test_html_shows_every_name_as_it_is() -> None:
    page = _Cells()
    page.feed(html(_sheet(*HOSTILE)))
    assert page.texts[2::2] == list(HOSTILE)
    assert page.tags <= {
        "figure",
        "table",
        "caption",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "strong",
        "u",
        "figcaption",
        "p",
    }


def test_markdown_shows_every_name_as_it_is() -> None:
    page = _Cells()
    # Raw HTML stays markup, as on the pages that show Markdown; a table is an extension of CommonMark.
    page.feed(
        MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(markdown(_sheet(*HOSTILE)))
    )
    assert page.texts[2::2] == _collapsed(list(HOSTILE))
    assert page.tags <= {"p", "strong", "table", "thead", "tbody", "tr", "th", "td", "u"}


@given(st.text(st.characters(codec="ascii", min_codepoint=32), min_size=1).filter(str.strip))
def test_any_name_survives_markdown_and_html(name: str) -> None:
    for text in (MarkdownIt("commonmark").enable("table").render(markdown(_sheet(name))), html(_sheet(name))):
        page = _Cells()
        page.feed(text)
        assert " ".join(page.texts[2].split()) == " ".join(name.split())


def test_latex_escapes_commands() -> None:
    text = latex(_sheet(*HOSTILE))
    assert (
        r"\textbackslash input\{/etc/passwd\} 100 \% \& \#1 \$x\_1\textasciicircum 2\$ \{a\} \textasciitilde " in text
    )
    assert r"snake\_case\_name" in text
    assert "$<$script$>$alert(1)$<$/script$>$" in text
    assert r"a \textbar{} b" in text
    assert r"\textbf{0.0}" in text
    assert r"\underline{1.0}" in text
    assert "two lines & 5.0" in text
    # Title and caption go through the same.
    assert text.count(r"\textbackslash input") == 2
    assert r"\input" not in text


def test_csv_disarms_formulas_and_keeps_numbers() -> None:
    frame = pd.DataFrame(
        {
            "name": [*HOSTILE, "+1", "-1", "@x", "\tx", "a=1", ""],
            "value": [-0.5] * 14,
            "=1+1": [None] * 14,
        }
    )
    lines = list(standard_csv.reader(io.StringIO(csv(frame))))
    assert lines[0] == ["name", "value", "'=1+1"]
    assert [line[0] for line in lines[1:]] == [
        *HOSTILE[:-1],
        f"'{HOSTILE[-1]}",
        *("'+1", "'-1", "'@x", "'\tx", "a=1", ""),
    ]
    assert {line[1] for line in lines[1:]} == {"-0.5"}


def test_headers_in_groups_and_blocks() -> None:
    sheet = Sheet(
        title="t",
        headers=[("", "method"), ("NTU-60", "XSub"), ("NTU-60", "XView"), ("NTU-120", "XSub")],
        lines=[("a", "1.0 ± 0.1", "-2.0", "3.0"), ("b", "-", "≥ 1", "<0.001")],
        left=frozenset({0}),
        blocks=frozenset({1}),
    )
    text = latex(sheet).splitlines()
    assert r" & \multicolumn{2}{c}{NTU-60} & NTU-120 \\" in text
    assert r"a & 1.0 $\pm$ 0.1 & $-$2.0 & 3.0 \\" in text
    assert r"b & - & $\ge$ 1 & $<$0.001 \\" in text
    assert text.count(r"\midrule") == 2
    assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")
    page = html(sheet)
    assert '<th scope="colgroup" colspan="2">NTU-60</th>' in page
    assert page.count("<tbody>") == 2
    assert markdown(sheet).splitlines()[2] == "| method | NTU-60 XSub | NTU-60 XView | NTU-120 XSub |"


@pytest.mark.parametrize(
    ("numbers", "marks"),
    [
        ([0.71, 0.5, 0.6], ["bold", None, "underline"]),
        # Equal as printed: both are best, and the next one is second.
        ([0.70001, 0.70002, 0.6, 0.6001], ["bold", "bold", "underline", "underline"]),
        ([0.7, float("nan"), 0.6], ["bold", None, "underline"]),
        ([0.7, float("nan")], [None, None]),
        ([0.5, 0.5], [None, None]),
    ],
)
def test_best_and_second(numbers: list[float], marks: list[str | None]) -> None:
    assert ranked(numbers) == marks


def test_how_numbers_are_printed() -> None:
    assert [per_cent(0.12345), per_cent(-0.00001), per_cent(float("nan"))] == ["12.3", "0.0", "-"]
    assert [points(1.25, signed=True), points(-1.0, signed=True), points(0.01, signed=True)] == ["+1.2", "-1.0", "0.0"]
