"""All kinds of hostile inputs: what is drawn of each, how often, and the ones with a name."""

from collections.abc import Callable
from random import Random

from benchmarks.hostile import archives, arrays, pickles, texts
from benchmarks.hostile.case import Case, Kind, Named

DRAWN: dict[Kind, tuple[int, Callable[[Random], Case]]] = {
    "skeleton": (50, texts.draw_skeleton),
    "pku": (10, texts.draw_pku),
    "labels": (5, texts.draw_labels),
    "zip": (15, archives.draw),
    "npz": (6, arrays.draw_npz),
    "pickle": (8, pickles.draw),
    "folder": (6, arrays.draw_folder),
}
"""Per kind the share in a hundred, and what draws one."""
NAMED: dict[Kind, Named] = {
    "skeleton": texts.SKELETONS,
    "pku": texts.VIDEOS,
    "labels": texts.LABELS,
    "zip": archives.NAMED,
    "npz": arrays.NPZ,
    "pickle": pickles.NAMED,
    "folder": arrays.FOLDERS,
}
LARGE: dict[Kind, Named] = {
    "skeleton": texts.LARGE_SKELETONS,
    "pku": texts.LARGE_VIDEOS,
    "labels": texts.LARGE_LABELS,
    "zip": archives.LARGE_NAMED,
    "npz": arrays.LARGE_NPZ,
    "pickle": pickles.LARGE_NAMED,
    "folder": arrays.LARGE_FOLDERS,
}
"""As large as files may be, and larger; they take seconds, and are not drawn."""


def draw(seed: int, number: int) -> Case:
    """Input `number` of a seed, whichever were drawn before it."""
    random = Random(f"{seed}/{number}")
    (kind,) = random.choices(list(DRAWN), [share for share, _ in DRAWN.values()])
    return DRAWN[kind][1](random)


def named(kind: Kind, name: str, seed: int = 0) -> Case:
    """The input of that name, large ones too."""
    build = {**NAMED[kind], **LARGE[kind]}[name]
    return Case(kind, name, build(Random(f"{seed}/{kind}/{name}")))
