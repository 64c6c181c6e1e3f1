"""`python -m stars evaluate`: one encoder, all protocols that apply, one table."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.table import Table
from tyro.extras import SubcommandApp

from stars.checkpoints.layouts import read_weights
from stars.data.dataset import LabelRule, describe, split
from stars.data.packed import Packed
from stars.data.protocols import Published, whole_numbers
from stars.data.source import locate
from stars.encoders import EncoderStage
from stars.evaluations import PROTOCOLS
from stars.execute import Workplace, realise
from stars.imported import find, imported, keep
from stars.probes.fewshot import HALF_WIDTH
from stars.recipes import RECIPES, Recipe, begun_with, recipe_name
from stars.results import read_numbers
from stars.store import Store, default_location
from stars.terminal import console

_CONSOLE = console()
_ALL = "all"


def add_to(top: SubcommandApp) -> None:
    """Hang this command into the tree of all."""
    top.command(evaluate)


def evaluate(
    checkpoint: str,
    /,
    *,
    data: str = "synthetic",
    protocols: Annotated[str, tyro.conf.arg(metavar="NAME,NAME,…")] = _ALL,
    split_by: Annotated[Published, tyro.conf.arg(name="protocol")] = "XSub",
    actions: str | None = None,
    label_rule: LabelRule = "action",
    nan: Literal["refuse", "zero"] = "refuse",
    recipe: Literal["auto", "paper", "published", "small"] = "auto",
    store: Path | None = None,
) -> None:
    """Measure an encoder under every protocol of the paper that applies, and print one table.

    What has been measured before is not measured again. On a cluster, or with seeds, use the sweeps instead.

    Args:
        checkpoint: a file of weights (.pth, .pt, .safetensors); or the name of an imported encoder; or 8 or more digits
            of the fingerprint of any encoder of the store.
        data: `synthetic`, or a folder written by `python -m stars prepare`.
        protocols: knn, linear, linear-cached, finetune, semi-1, semi-10, few-shot, few-shot-published; or all.
        split_by: how training and test are split: by subject, by camera, by setup.
        actions: the only actions to train and test on, as 61-120 for the novel classes of NTU-120. Default: all.
        label_rule: what a class is.
        nan: what becomes of missing coordinates.
        recipe: rates and lengths; auto is small below 5,000 training sequences.
        store: where everything is kept. Default: $STARS_STORE, else ~/.stars/store.
    """
    names = _named(protocols, novel=actions is not None)
    opened = Store(store or default_location())
    encoder = _encoder(checkpoint, opened)
    with _CONSOLE.status("preparing data") if _CONSOLE.is_terminal else contextlib.nullcontext():
        folder = locate(data, opened, num_processes=os.cpu_count() or 1)
    packed = Packed.open(folder)
    described = describe(
        packed,
        label_rule=label_rule,
        protocol=split_by,
        coordinates_missing=nan,
        actions=whole_numbers("--actions", actions),
    )
    num_train = len(split(described, packed).train)
    base = RECIPES[recipe_name(recipe, num_train)](described)
    chosen = begun_with(replace(base, k=tuple(k for k in base.k if k <= num_train)), encoder)
    workplace = Workplace(store=opened, datasets={described.content: folder}, recipe=chosen.name)
    _CONSOLE.print(_measured(names, encoder, workplace, chosen), highlight=False)


def _named(protocols: str, *, novel: bool) -> list[str]:
    """The protocols asked for. Raises ValueError naming one that is not there."""
    if protocols == _ALL:
        return [name for name in PROTOCOLS if novel or name != "few-shot-published"]
    names = list(dict.fromkeys(protocols.split(",")))
    for name in names:
        if name not in PROTOCOLS:
            raise ValueError(f"--protocols has {name!r}; allowed: {_ALL}, or some of {', '.join(PROTOCOLS)}")
    return names


def _encoder(text: str, store: Store) -> EncoderStage:
    """A file's encoder, imported, or one that is in the store."""
    path = Path(text)
    if not path.is_file():
        return find(store, text)
    weights = read_weights(path)
    stage = imported(path.stem, weights)
    keep(store, stage, weights, path)
    return stage


def _measured(names: list[str], encoder: EncoderStage, workplace: Workplace, recipe: Recipe) -> Table:
    """Run the probes, and put their numbers side by side; one that cannot be says why in its row."""
    data = recipe.data
    table = Table(title=f"{data.name} {data.protocol}, recipe {recipe.name}", title_justify="left")
    for heading in ("protocol", "probe", "feature", "number", "k or n", "chosen on"):
        table.add_column(heading)
    table.add_column("%", justify="right")
    for name in names:
        with _CONSOLE.status(name) if _CONSOLE.is_terminal else contextlib.nullcontext():
            try:
                probe = PROTOCOLS[name](recipe, encoder)
                outcome = realise(probe, workplace)
            except ValueError as problem:
                table.add_row(name, "", "", f"does not apply: {problem}")
                continue
        if outcome.status != "finished":
            table.add_row(name, "", "", f"{outcome.status}: {outcome.reason}")
            continue
        numbers = [number for number in read_numbers(workplace.store, probe) if number.draw is None]
        widths = {number.k: number.value for number in numbers if number.metric == HALF_WIDTH}
        for number in numbers:
            if number.metric == HALF_WIDTH:
                continue
            value = f"{100 * number.value:.1f}"
            if number.k in widths:
                value += f" ± {100 * widths[number.k]:.1f}"
            chosen = "last epoch" if number.selected_on == "none" else f"best on {number.selected_on}"
            marked = f"{value} *" if number.selected_on == number.split else value
            k = "" if number.k is None else str(number.k)
            table.add_row(name, number.probe, number.feature, number.metric, k, chosen, marked)
    table.caption = "* chosen on the samples that it is measured on, as published: not a fair number"
    return table
