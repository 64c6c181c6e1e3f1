"""Tables as text in any format: of a sweep, as the paper lays one out, and of what is reproduced.

render("lr_decay", load(store), "latex")        the default table of any sweep
render("6", load(store), "html")                Table 6 of the paper, with our numbers beside the published ones
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias, get_args

import pandas as pd

from analysis import paper_tables, printing
from analysis.cells import sheet
from analysis.reproduction import compare, tally
from analysis.sheet import ABSENT, Sheet, points
from analysis.table import summary, to_csv

Format: TypeAlias = Literal["markdown", "latex", "html", "csv"]
_PRINTERS: Mapping[str, Callable[[Sheet], str]] = {
    "markdown": printing.markdown,
    "latex": printing.latex,
    "html": printing.html,
}


def render(name: str, frame: pd.DataFrame, form: Format, *, recipe: str = "paper", **choices: Any) -> str:
    """One table in one format.

    Args:
        name: of a sweep; or the number of a table of the paper ("6").
        frame: what `load` returned; for a table of the paper, of the whole store.
        form: `csv` holds numbers in full and every column, the others what a reader needs.
        recipe: whose numbers stand in a table of the paper.
        choices: for a sweep, those of `table.summary`.

    Raises:
        ValueError: an unknown format, sweep or table, or several numbers to choose from.
    """
    if form not in get_args(Format):
        raise ValueError(f"format is {form!r}; allowed: {', '.join(get_args(Format))}")
    if name.isdecimal():
        return of_paper(int(name), compare(frame, recipe), form)
    table = summary(frame, sweep=name, **choices)
    return to_csv(table) if form == "csv" else _PRINTERS[form](sheet(table))


def of_paper(number: int, compared: pd.DataFrame, form: Format) -> str:
    """A table of the paper.

    Args:
        number: of the table.
        compared: what `reproduction.compare` returned.
        form: of the text.

    Raises:
        ValueError: a table that has no published cells.
    """
    content = paper_tables.sheet(number, compared)
    return printing.csv(compared[compared["table"] == number]) if form == "csv" else _PRINTERS[form](content)


def of_reproduction(compared: pd.DataFrame, form: Format) -> str:
    """How many cells are reproduced, and every cell of a method that is computed here; as CSV, every cell.

    Args:
        compared: what `reproduction.compare` returned.
        form: of the text.
    """
    if form == "csv":
        return printing.csv(compared)
    return "\n".join(_PRINTERS[form](content) for content in (_tally(compared), _cells(compared)))


def _tally(compared: pd.DataFrame) -> Sheet:
    counted = tally(compared)
    columns = (counted["verdict"], counted["reason"], counted["cells"].astype(str), counted["meaning"])
    return Sheet(
        title=f"Published cells and what a store holds for them (recipe {compared.attrs['recipe']})",
        headers=[("verdict",), ("reason",), ("cells",), ("meaning",)],
        lines=list(zip(*columns, strict=True)),
        left=frozenset({0, 1, 3}),
        caption=f"{len(compared)} published numbers; {int(compared['ours'].notna().sum())} have ours beside them.",
    )


def _cells(compared: pd.DataFrame) -> Sheet:
    shown = compared[compared["verdict"] != "not ours"]
    heads = ("table", "method", "data set", "protocol", "metric", "published", "here", "difference", "tolerance", "n")
    lines = [
        (
            str(line["table"]),
            line["method"] if line["source"].startswith("STARS") else f"{line['method']} ({line['source']})",
            line["dataset"],
            line["protocol"],
            line["metric"],
            f"{points(line['value'])}{line['mark']}",
            points(line["ours"]),
            points(line["difference"], signed=True),
            points(line["tolerance"]),
            _of(line["count"], line["planned"]),
            line["verdict"],
            line["reason"],
            line["detail"] or ABSENT,
        )
        for line in shown.to_dict("records")
    ]
    tables = shown["table"].tolist()
    return Sheet(
        title="Cell by cell (top-1 accuracy, %)",
        headers=[(head,) for head in (*heads, "verdict", "reason", "detail")],
        lines=lines,
        left=frozenset({1, 2, 3, 4, 10, 11, 12}),
        blocks=frozenset(i for i in range(1, len(tables)) if tables[i] != tables[i - 1]),
        caption=(
            "Difference: ours less the published number. Tolerance: how far the published number may lie away, to "
            "the end of our 95 % interval over seeds (Student's t; a bootstrap from ten) or over the test samples "
            "(Wilson), whichever is wider, and half a printed digit. n = 4/5: of five planned numbers four are there.\n"
            "Open is not a failure to reproduce: it says that this store cannot tell, and the reason why."
        ),
    )


def _of(count: Any, planned: Any) -> str:
    if pd.isna(planned):
        return ABSENT
    held = 0 if pd.isna(count) else count
    return str(held) if held == planned else f"{held}/{planned}"
