"""How a finished figure goes to paper: to PNG and PDF, or into a page."""

import io
import re
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

# Okabe and Ito: distinct for every kind of colour vision. Black is left to text, yellow is too pale for lines on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#785EF0")
_GREY = re.compile(r"#([0-9a-fA-F]{2})\1\1\b")
_IDENTIFIER = re.compile(r'\sid="([^"]*)"')


def save(figure: Figure, path: Path) -> list[Path]:
    """Write a figure as PNG (200 dots per inch) and as PDF beside it. Returns both paths.

    Raises:
        ValueError: a path that does not end in `.png`.
    """
    if path.suffix != ".png":
        raise ValueError(f"figure {path}: allowed: a path that ends in .png")
    # Without a date the same figure gives the same bytes.
    written = {path: {"Software": None}, path.with_suffix(".pdf"): {"CreationDate": None}}
    for target, metadata in written.items():
        figure.savefig(target, dpi=200, metadata=metadata)
    return list(written)


def to_svg(figure: Figure, name: str) -> str:
    """The figure as one `<svg>` element for a page: text stays text, and greys follow the page's colours.

    White becomes the page's `--paper`, black the colour of its text, greys a mixture of the two, so that the same
    figure stands on a light page and on a dark one. A colour of the palette can be set as `--hue-<colour>`.

    Args:
        figure: what is drawn.
        name: of the figure, unique in the page: it begins every identifier inside, so that two figures cannot collide.
    """
    sink = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "stars"}):
        figure.savefig(sink, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, count=1, flags=re.DOTALL)
    # Sizes are the page's business; the view box keeps the proportions. Matplotlib leaves out colours that are black.
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r'\1 fill="currentColor"', text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    for colour in PALETTE:
        text = re.sub(colour, f"var(--hue-{colour[1:].lower()}, {colour})", text, flags=re.IGNORECASE)
    return _GREY.sub(_mixed, _renamed(text, name))


def literal(text: str, most: int | None = None) -> str:
    """Text that matplotlib prints as it is: a dollar sign in a name opens no formula.

    Args:
        text: a name, or several words.
        most: characters, so that one name cannot push the figure off its paper; None for any number.
    """
    if most is not None and len(text) > most:
        text = text[: most - 1] + "…"
    return text.replace("$", r"\$")


def _mixed(grey: re.Match[str]) -> str:
    share = 1 - int(grey.group(1), 16) / 255
    if share in (0, 1):
        return "currentColor" if share else "var(--paper)"
    return f"color-mix(in srgb, currentColor {100 * share:.0f}%, var(--paper))"


def _renamed(text: str, name: str) -> str:
    """Identifiers that something refers to, made unique; the others dropped."""
    referred = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    text = _IDENTIFIER.sub(lambda found: f' id="{name}-{found[1]}"' if found[1] in referred else "", text)
    return re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text)
