"""The other data that a sweep takes its encoders to: another data set, or actions that nothing was trained on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cluster.options import Options
from stars.data.dataset import Data, describe
from stars.data.packed import Packed
from stars.data.source import EMBEDDED, SYNTHETIC, make_synthetic
from stars.store import Store
from stars.sweep import Sweep

OTHER_PEOPLE = replace(EMBEDDED, seed=EMBEDDED.seed + 1)
"""Where transfer goes from the embedded data: as many recordings of nobody who is in them."""


@dataclass(frozen=True, kw_only=True)
class Both:
    """What a sweep is about.

    Attributes:
        data: what stages 1 and 2 are trained on.
        target: what the encoder is taken to; None where the sweep has no such data.
        packed: the stores of both, by their content.
    """

    data: Data
    target: Data | None
    packed: dict[str, Packed]


def resolve(sweep: Sweep, options: Options, data: Data, packed: Packed, place: Callable[[str | None], Path]) -> Both:
    """The data of a sweep with its target.

    Args:
        sweep: says what target it has.
        options: the command line.
        data: as the command line describes them.
        packed: their store.
        place: from `--target` to a packed store; from None to that of `OTHER_PEOPLE`.

    Raises:
        ValueError: a target that the sweep does not have or that is missing, or no action that is novel.
    """
    if sweep.target == "none":
        if options.target is not None:
            allowed = "with a sweep that takes an encoder to other data"
            raise ValueError(f"--target is {options.target} with {sweep.name}; allowed: {allowed}")
        return Both(data=data, target=None, packed={data.content: packed})
    if options.search is not None:
        raise ValueError(f"--search with {sweep.name}, whose target has no validation subjects; allowed: its grid")
    if sweep.target == "novel actions" and options.target is None:
        return _halved(data, packed)
    if options.target is None and options.data != SYNTHETIC:
        raise ValueError(
            f"--target is missing with {sweep.name}; allowed: a folder written by `python -m stars prepare`"
        )
    other = Packed.open(place(options.target))
    described = _described(options, other)
    if sweep.target == "novel actions":
        novel = sorted(_actions(described, other) - _actions(data, packed))
        if not novel:
            raise ValueError(f"--target is {options.target}, whose actions --data has too; allowed: data with others")
        described = replace(described, actions=tuple(novel))
    return Both(data=data, target=described, packed={data.content: packed, described.content: other})


def _described(options: Options, packed: Packed) -> Data:
    if options.protocol in ("subjects", "list"):
        raise ValueError(f"--protocol is {options.protocol} with --target; allowed: XSub, XView, XSet")
    return describe(packed, label_rule=options.label_rule, protocol=options.protocol, coordinates_missing=options.nan)


def _halved(data: Data, packed: Packed) -> Both:
    """The first half of the actions to train on, the others as the target."""
    actions = sorted(_actions(data, packed))
    middle = len(actions) // 2
    if not middle:
        raise ValueError(f"--data has the action {actions[0]} alone; allowed: two or more, of which half are novel")
    known, novel = (replace(data, actions=tuple(half)) for half in (actions[:middle], actions[middle:]))
    return Both(data=known, target=novel, packed={data.content: packed})


def _actions(data: Data, packed: Packed) -> set[int]:
    return set(data.actions or packed.column("action").tolist())


def make_other_people(store: Store, num_processes: int) -> Path:
    """The packed store of `OTHER_PEOPLE`, made on first use."""
    return make_synthetic(OTHER_PEOPLE, store, num_processes=num_processes)
