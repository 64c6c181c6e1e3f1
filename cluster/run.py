"""The command of every sweep: check the command line against the data, run what is missing, say how it ended.

Exit status: 0 every point is finished; 1 some are not; 2 bad input; 3 another driver of the same run is alive; 128 and
the signal's number when interrupted (130 Ctrl-C, 143 SIGTERM).
"""

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from rich.console import Console

from cluster.binding import Run
from cluster.budget import parse as parse_budget
from cluster.carry import carry_out
from cluster.options import Options, parse
from cluster.plan import show_plan, show_search_plan
from cluster.resources import DoesNotFit, needs
from cluster.target import Both, make_other_people, resolve
from stars.data import lists
from stars.data.dataset import Data, describe, split, validation_subjects
from stars.data.packed import Packed
from stars.data.protocols import whole_numbers
from stars.data.source import locate
from stars.encoders import EncoderStage
from stars.imported import find
from stars.outcome import StoreError
from stars.pretrain import Pretrain
from stars.probes.finetune import FineTune
from stars.probes.linear import LinearProbe
from stars.recipes import RECIPES, Recipe, begun_with, recipe_name, unlabelled
from stars.stage import Stage, upstream
from stars.store import Store, default_location
from stars.sweep import Point, Sweep, points
from stars.terminal import console
from stars.tune import Tune

_PRICE = "STARS_USD_PER_GPU_HOUR"


def main(sweep: Sweep, arguments: Sequence[str] | None = None) -> None:
    """Run a sweep from the command line; see the module for the exit status."""
    options = parse(sweep, arguments)
    # Bound now: Tune's own printing is sent elsewhere later.
    shown = console(sys.stdout)
    try:
        run = bind(sweep, options, shown)
    except (ValueError, StoreError, OSError) as problem:
        refuse(problem)
    try:
        if options.plan:
            _plan(run, shown)
            return
        status = carry_out(run, shown)
    except (DoesNotFit, StoreError) as problem:
        refuse(problem)
    sys.exit(status)


def _plan(run: Run, shown: Console) -> None:
    """Print what would run."""
    if run.validation is None:
        show_plan(shown, run.sweep, run.points, run.store, os.cpu_count() or 1)
        return
    from cluster.seeking import settings_of  # Optuna is loaded only for a search.

    first = run.sweep.first_points(run.validation)
    show_search_plan(shown, settings_of(run), first, run.options.trials, run.store)


def refuse(problem: Exception) -> NoReturn:
    """Say what is wrong in one line, and end with status 2."""
    print(f"error: {problem}", file=sys.stderr)  # noqa: T201 - the edge
    sys.exit(2)


def bind(sweep: Sweep, options: Options, shown: Console) -> Run:
    """Check the command line against the data, before anything runs. Raises ValueError or StoreError."""
    searching = options.search is not None or sweep.searched
    if searching and not sweep.space().ranges:
        raise ValueError(f"--search with {sweep.name}, which has only seeds; allowed: a sweep with axes or ranges")
    changes = options.changes(sweep)
    sweep = sweep.pinned(changes) if searching else sweep.widened(changes)
    options = _checked(options)
    store = Store(options.store or default_location())
    both = _data(sweep, options, store, shown)
    data, packed = both.data, both.packed[both.data.content]
    name = recipe_name(options.recipe, len(split(data, packed).train))
    start = None if options.start is None else find(store, options.start)
    recipe = _recipe(name, data, options, start)
    if both.target is not None:
        recipe = replace(recipe, target=RECIPES[name](both.target))
    sweep = sweep.fitted(recipe)
    if not options.plan:
        # Once a run: a flipped byte must not become a number.
        for there in both.packed.values():
            there.verify()
    planned: list[Point] = [] if searching else points(sweep, recipe)
    validation = None
    targets: list[Stage] = [point.stage for point in planned]
    if searching:
        held_out = replace(data, validation_subjects=validation_subjects(data, packed))
        validation = _recipe(name, held_out, options, start)
        targets = [sweep.point(validation, **sweep.some_point(validation), seed=0)]
    _check_batches(targets, both.packed, options.workers)
    return Run(
        sweep=sweep,
        recipe=recipe,
        validation=validation,
        points=planned,
        store=store,
        datasets={content: there.path for content, there in both.packed.items()},
        options=options,
        budget=parse_budget(options.budget, options.price) if options.budget else None,
    )


def _recipe(name: str, data: Data, options: Options, start: EncoderStage | None) -> Recipe:
    """The base values on these data. Raises ValueError for a start that does not fit them."""
    recipe = replace(RECIPES[name](data), reseed_pretraining=options.reseed_pretraining)
    return recipe if start is None else begun_with(recipe, start)


def _described(options: Options, packed: Packed) -> Data:
    """The data under the protocol of the command line; a list of training samples is kept beside the store's files.

    Raises ValueError or OSError.
    """
    if (options.test_subjects is None) == (options.protocol == "subjects"):
        given = f"--protocol is {options.protocol} with --test-subjects {options.test_subjects}"
        raise ValueError(f"{given}; allowed: --protocol subjects --test-subjects N,N-N,…, or neither")
    # A data set may bring a list of its own, as those do that were imported with their split.
    listed = packed.manifest.protocols.get("list", "") if options.protocol == "list" else ""
    if options.train_list is not None:
        listed = lists.keep(packed.path, lists.names_in(options.train_list))
    if bool(listed) != (options.protocol == "list"):
        given = f"--protocol is {options.protocol} with --train-list {options.train_list}"
        raise ValueError(f"{given}; allowed: --protocol list --train-list FILE, or neither")
    return describe(
        packed,
        label_rule=options.label_rule,
        protocol=options.protocol,
        coordinates_missing=options.nan,
        test_subjects=whole_numbers("--test-subjects", options.test_subjects),
        train_list=listed,
        actions=whole_numbers("--actions", options.actions),
    )


def _checked(options: Options) -> Options:
    """The options with the price that the surroundings know. Raises ValueError for what does not go together."""
    needs(
        num_workers=options.workers,
        cpus_per_trial=options.cpus_per_trial,
        gpus_per_trial=options.gpus_per_trial,
        has_gpus=False,
    )
    if options.workers > 1 and options.trainer == "tune":
        raise ValueError(f"--workers is {options.workers} with --trainer tune; allowed: 1, or another trainer")
    if os.environ.get("RAY_ADDRESS", "").startswith("http"):
        address = os.environ["RAY_ADDRESS"]
        raise ValueError(f"$RAY_ADDRESS is {address}, which is for jobs; allowed here: host:port, or no value")
    if options.trials < 1:
        raise ValueError(f"--trials is {options.trials}; allowed: 1 or more")
    price = options.price
    if price is None and _PRICE in os.environ:
        try:
            price = float(os.environ[_PRICE])
        except ValueError:
            raise ValueError(f"${_PRICE} is {os.environ[_PRICE]!r}; allowed: a number") from None
    if price is not None and not price > 0:
        raise ValueError(f"--price is {price:g}; allowed: more than 0")
    return replace(options, price=price)


def _check_batches(targets: Sequence[Stage], packed: Mapping[str, Packed], num_workers: int) -> None:
    """Every batch must be filled by its training samples and divided by workers that there are. Raises ValueError."""
    asked = {
        (stage.batch_size, unlabelled(stage.data), getattr(stage, "label_fraction", 1.0))
        for stage in upstream(*targets)
        # An encoder that is there already may have been trained on data that are not.
        if isinstance(stage, Pretrain | Tune | FineTune | LinearProbe) and stage.data.content in packed
    }
    num_train = {data: len(split(data, packed[data.content]).train) for _, data, _ in asked}
    for size, data, fraction in sorted(asked, key=lambda one: (one[0], one[2])):
        number = int(num_train[data] * fraction)
        if size > number:
            labelled = "" if fraction == 1 else f" with a label fraction of {fraction:g}"
            told = f"{number} training sequences{labelled}"
            raise ValueError(f"--data has {told}; allowed: at least one batch of {size}")
        if size % num_workers:
            raise ValueError(f"--workers is {num_workers}; allowed: a divisor of the batch of {size}")
    if "RAY_ADDRESS" not in os.environ and num_workers > (os.cpu_count() or 1):
        raise ValueError(f"--workers is {num_workers}; allowed on this machine: at most {os.cpu_count()}")


def _data(sweep: Sweep, options: Options, store: Store, shown: Console) -> Both:
    """The data and their target; making the synthetic ones shows its progress."""
    num_processes = os.cpu_count() or 1
    with shown.status("preparing data") if shown.is_terminal else contextlib.nullcontext():
        packed = Packed.open(locate(options.data, store, num_processes=num_processes))
        return resolve(
            sweep,
            options,
            _described(options, packed),
            packed,
            lambda named: make_other_people(store, num_processes) if named is None else locate(named, store),
        )
