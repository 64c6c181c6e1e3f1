"""How a finished figure goes to paper."""

from pathlib import Path

from matplotlib.figure import Figure


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
