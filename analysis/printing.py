"""A sheet as Markdown, LaTeX or HTML, and a frame as CSV. Every format escapes what it would take for its own.

Names come from files, sweeps and other people's machines: nothing in them is markup, a command or a formula.
"""

import itertools
import re
from collections.abc import Mapping

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.sheet import Mark, Sheet

# What CommonMark and its common extensions take for markup inside a line: an underscore only at the edge of a word, a
# "<" only before what can be a tag, an "&" only before what can be an entity.
_MARKDOWN = re.compile(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])|<(?=[A-Za-z/!?])|&(?=#|\w+;)")
# Signs that plain LaTeX prints as others, or not at all; set once the rest is escaped.
_SIGNS = {"±": r"$\pm$", "≥": r"$\ge$", "<": "$<$", ">": "$>$", "|": r"\textbar{}"}
_MINUS = re.compile(r"(?<![\w$-])-(?=\d)")
_WRAPPED: Mapping[Mark, str] = {"bold": "textbf:--rwrap;", "underline": "underline:--rwrap;"}
_EMPHASIS: Mapping[Mark, str] = {"bold": "**{}**", "underline": "<u>{}</u>"}
# With these a spreadsheet begins a formula, or something that becomes one.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def markdown(sheet: Sheet) -> str:
    """Best `**bold**`, second `<u>underlined</u>`, title above and caption below."""
    rows = [list(map(_markdown_text, sheet.columns()))]
    rows.append(["---" if i in sheet.left else "---:" for i in range(len(sheet.headers))])
    for number, line in enumerate(sheet.lines):
        texts = list(map(_markdown_text, line))
        for column in range(len(texts)):
            if (mark := sheet.marks.get((number, column))) is not None:
                texts[column] = _EMPHASIS[mark].format(texts[column])
        rows.append(texts)
    body = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    below = "\n".join(map(_markdown_text, sheet.caption.splitlines()))
    return f"**{_markdown_text(sheet.title)}**\n\n{body}\n" + (f"\n{below}\n" if below else "")


def latex(sheet: Sheet) -> str:
    r"""A `table` with booktabs' rules (`\usepackage{booktabs}`), best `\textbf`, second `\underline`.

    Letters outside ASCII stand as they are: pdfLaTeX knows those of European languages, LuaLaTeX the others.
    """
    grouped = any(len(header) > 1 for header in sheet.headers)
    columns = pd.MultiIndex.from_tuples(sheet.headers) if grouped else pd.Index([text for (text,) in sheet.headers])
    frame = pd.DataFrame([list(map(_one_line, line)) for line in sheet.lines], columns=columns, dtype="str")
    styles = pd.DataFrame("", index=frame.index, columns=columns)
    for (line, column), mark in sheet.marks.items():
        styles.iloc[line, column] = _WRAPPED[mark]
    styler = frame.style.format(_with_signs, escape="latex").apply(lambda _: styles, axis=None)
    styler = styler.format_index(_with_signs, escape="latex", axis="columns").hide(axis="index")
    text = styler.to_latex(
        column_format="".join("l" if i in sheet.left else "r" for i in range(len(sheet.headers))),
        hrules=True,
        multicol_align="c",
        position_float="centering",
        caption=_latex_text(f"{sheet.title}. {sheet.caption}"),
    )
    lines = text.splitlines()
    first = lines.index(r"\midrule") + 1
    for block in sorted(sheet.blocks - {0}, reverse=True):
        lines.insert(first + block, r"\midrule")
    return "\n".join(lines) + "\n"


def html(sheet: Sheet) -> str:
    """A `figure` with the table, for a page: headers with their scope, best `strong`, second `u`."""
    environment = Environment(
        loader=PackageLoader("analysis", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    levels = max(map(len, sheet.headers))
    tops = [[header[level] for header in sheet.headers] for level in range(levels)]
    starts = sorted({0, *sheet.blocks})
    numbered = list(enumerate(sheet.lines))
    return environment.get_template("table.html.jinja").render(
        sheet=sheet,
        header_rows=[[(text, len(list(same))) for text, same in itertools.groupby(texts)] for texts in tops[:-1]]
        + [[(text, 1) for text in tops[-1]]],
        blocks=[numbered[start:end] for start, end in itertools.pairwise([*starts, len(numbered)])],
        sentences=sheet.caption.splitlines(),
    )


def csv(frame: pd.DataFrame) -> str:
    """Every column for another program: numbers in full, empty where absent.

    A text with which a spreadsheet would begin a formula has an apostrophe before it (as OWASP advises).
    """
    guarded = frame.copy()
    for name in frame.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]]:
        guarded[name] = frame[name].map(_guarded)
    guarded.columns = pd.Index([_guarded(str(name)) for name in frame.columns])
    return guarded.to_csv(index=False, lineterminator="\n")


def _guarded(content: object) -> object:
    return f"'{content}" if isinstance(content, str) and content.startswith(_FORMULA) else content


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _markdown_text(text: str) -> str:
    return _MARKDOWN.sub(r"\\\g<0>", _one_line(text))


def _with_signs(text: object) -> str:
    return _MINUS.sub("$-$", "".join(_SIGNS.get(letter, letter) for letter in str(text)))


def _latex_text(text: str) -> str:
    """Escaped as pandas escapes cells: the text goes through a table of one."""
    cell = pd.DataFrame([[_one_line(text)]], dtype="str").style.format(_with_signs, escape="latex")
    return cell.hide(axis="index").hide(axis="columns").to_latex().splitlines()[1].removesuffix(r" \\")
