"""The report as one page: what it holds, put together from the store, and its HTML."""

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from importlib import resources

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from analysis.choice import spelled
from analysis.report import searches
from analysis.report.gaps import failure
from analysis.report.material import in_contexts, read
from analysis.report.request import Request
from analysis.report.sections import section, unplanned
from analysis.report.values import entries
from analysis.report.view import Cell, Failure, Page, Section, Table
from stars.store import Store

TITLE = "STARS results"


def build(store: Store, request: Request, made: datetime, command: str) -> Page:
    """Everything that the page shows.

    Args:
        store: where the numbers lie.
        request: which numbers and figures.
        made: now, in UTC.
        command: that makes the page again.

    Raises:
        StoreError: a damaged file, or one of another version; names it.
    """
    material = read(store)
    sections, failures = [], []
    for number, (sweep, context, points) in enumerate(in_contexts(material.frame)):
        name = f"s{number}"
        found, problems = section(material, sweep, context=context, points=points, name=name, request=request)
        sections.append(found)
        title = _title(found)
        if (gaps := failure(material, title, f"#{name}", points)) is not None:
            failures.append(gaps)
        failures += [Failure(title=title, link=f"#{name}", counts=(), table=None, reason=why) for why in problems]
    return Page(
        title=TITLE,
        store=str(store.location),
        made=made.strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        tiles=_tiles(sections, failures),
        failures=sorted(failures, key=_urgency),
        overview=_overview(sections),
        sections=sections,
        searches=searches.sections(store, request),
        unplanned=unplanned(material.frame),
        entries=entries(material.outcomes),
    )


def render(page: Page) -> str:
    """The page as HTML that needs nothing else: names are escaped, and no script but its own may run."""
    files = resources.files("analysis.report")
    style, script = ((files / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = Environment(
        loader=DictLoader({"page": (files / "page.html.jinja").read_text(encoding="utf-8")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The browser runs a script only if its hash is this one.
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return environment.get_template("page").render(
        page=page, style=Markup(style), script=Markup(script), digest=digest, svg=Markup
    )


def _title(section: Section) -> str:
    chosen = " ".join(value for name, value in section.context if name in ("recipe", "dataset", "protocol"))
    return f"{section.name} ({chosen})" if chosen else section.name


def _urgency(failure: Failure) -> tuple[bool, int, int]:
    """What cannot be tabulated first, then what failed most, then what lacks most."""
    counts = dict(failure.counts)
    missing = counts.pop("missing", 0)
    return (failure.table is not None, -sum(counts.values()), -missing)


def _tiles(sections: Sequence[Section], failures: Sequence[Failure]) -> list[tuple[str, str, str]]:
    """Number, what it counts, and a class of the style sheet."""
    absent: Counter[str] = Counter()
    for one in failures:
        absent.update(dict(one.counts))
    missing = absent.pop("missing", 0)
    planned, finished = (sum(getattr(one, name) for one in sections) for name in ("planned", "finished"))
    return [
        (f"{len({one.name for one in sections})}", "sweeps", ""),
        (f"{finished:,} of {planned:,}", "points finished", "good" if finished == planned else ""),
        (f"{missing:,}", "missing", "warn" if missing else ""),
        (f"{absent.total():,}", "failed", "bad" if absent else ""),
    ]


def _overview(sections: Sequence[Section]) -> Table:
    # What is the same everywhere tells no two sweeps apart.
    names = list(dict.fromkeys(name for one in sections for name, _ in one.context))
    held = {name: {dict(one.context).get(name) for one in sections} for name in names}
    first = [name for name in names if name in ("recipe", "dataset", "protocol")]
    shown = first + [name for name in names if name not in first and name != "data_content" and len(held[name]) > 1]
    lines = []
    for one in sections:
        context = dict(one.context)
        whole = one.finished == one.planned
        lines.append(
            [
                Cell(text=one.name, link=f"#{one.anchor}"),
                Cell(text=one.paper),
                *(Cell(text=spelled(context.get(name))) for name in shown),
                Cell(
                    text=f"{one.finished}/{one.planned}",
                    order=repr(one.finished / one.planned),
                    look="" if whole else "warn",
                ),
                Cell(text=one.best[0] or "-", look="long"),
                Cell(text=one.best[1] or "-", look="best"),
            ]
        )
    headers = [("sweep", False), ("reproduces", False), *((name.replace("_", " "), False) for name in shown)]
    return Table(
        name="All sweeps", headers=[*headers, ("finished", True), ("best line", False), ("mean (%)", True)], lines=lines
    )
