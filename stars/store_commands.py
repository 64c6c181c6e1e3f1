"""`python -m stars store …`: list, verify, clean up and copy what has been computed."""

import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro
from rich.markup import escape
from rich.table import Table

from stars.copying import Report, copy
from stars.data.packed import Packed
from stars.drivers import SILENCE_SECONDS, Driver, read_all
from stars.inventory import Held, inventory, other_folders, shown_bytes
from stars.outcome import StoreError
from stars.store import Store, default_location
from stars.terminal import console
from stars.upkeep import Removal, at_work, driver_keys, removable, remove

_CONSOLE = console()
_LISTED = 20
_STATUSES = ("finished", "diverged", "oom", "unfinished")


def store_ls(store: Path | None = None) -> None:
    """List what the store holds: stages by kind, how they ended and the bytes they take.

    Output is what readers see; checkpoints are what unfinished stages resume from; idle is what other attempts have
    left, of which `store gc` tells more.

    Args:
        store: the store. Default: $STARS_STORE, else ~/.stars/store.
    """
    opened = Store(store or default_location(), read_only=True)
    kinds: dict[str, list[Held]] = defaultdict(list)
    for stage in inventory(opened):
        kinds[stage.kind].append(stage)
    table = Table(title=str(opened.location))
    for column in ("stage", *_STATUSES, "output", "checkpoints", "idle"):
        table.add_column(column, justify="left" if column == "stage" else "right", no_wrap=True)
    for stage_kind, stages in kinds.items():
        counts = Counter(stage.status for stage in stages)
        sizes = [
            sum(number)
            for number in zip(*((s.output_bytes, s.checkpoint_bytes, s.idle_bytes) for s in stages), strict=True)
        ]
        table.add_row(stage_kind, *(str(counts[status]) for status in _STATUSES), *map(shown_bytes, sizes))
    _CONSOLE.print(table)
    others = Table("folder", title="beside the stages")
    others.add_column("files", justify="right")
    others.add_column("size", justify="right")
    for name, (count, num_bytes) in other_folders(opened).items():
        others.add_row(name, str(count), shown_bytes(num_bytes))
    _CONSOLE.print(others)


def store_verify(
    store: Path | None = None, data: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PATH")] = ()
) -> None:
    """Compare every file of every finished stage with the hash its outcome records; exit status 1 on damage.

    Args:
        store: the store. Default: $STARS_STORE, else ~/.stars/store.
        data: also these folders written by `python -m stars prepare` or `import`.
    """
    opened = Store(store or default_location(), read_only=True)
    embedded = opened.location / "data"
    packed = [*data, *(sorted(embedded.glob("[!.]*")) if embedded.is_dir() else [])]
    damaged = 0
    checked = 0
    for stage_kind, name in opened.stages():
        try:
            checked += opened.verify(stage_kind, name)
        except StoreError as problem:
            damaged += 1
            _CONSOLE.print(f"[red]{escape(str(problem))}[/red]", highlight=False)
    for folder in packed:
        try:
            Packed.open(folder).verify()
            checked += 1
        except ValueError as problem:
            damaged += 1
            _CONSOLE.print(f"[red]{escape(str(problem))}[/red]", highlight=False)
    _CONSOLE.print(f"{checked} outputs are sound, {damaged} damaged", highlight=False)
    sys.exit(1 if damaged else 0)


def store_gc(
    *,
    store: Path | None = None,
    abandoned: bool = False,
    unreferenced: bool = False,
    logs_older_than: float | None = None,
    delete: bool = False,
    all_paths: bool = False,
) -> None:
    """List what can be removed, how much that frees and why; with --delete, remove it.

    Always listed: attempts at finished stages beside the one that finished, and what killed processes have left.
    Nothing is removed while a driver is at work in the store; the driver of another machine is watched for a minute
    before it is taken for dead. Only processes that run sweeps are known as drivers.

    Args:
        store: the store. Default: $STARS_STORE, else ~/.stars/store.
        abandoned: also attempts at stages that are not finished. Their checkpoints are LOST: run again, such a stage
            begins anew.
        unreferenced: also stages with an outcome that no plan and no search in the store mentions, with their results.
        logs_older_than: also logs older than so many days.
        delete: remove what is listed. Default: only list.
        all_paths: list every path, not only the first ones of every reason.
    """
    location = store or default_location()
    opened = Store(location, read_only=True)
    judged = driver_keys(opened)
    if delete:
        _refuse_beside_drivers(opened)
    found = removable(opened, abandoned=abandoned, unreferenced=unreferenced, logs_older_than=logs_older_than)
    _list(opened, found, None if all_paths else _LISTED)
    total = f"{len(found)} removals, {shown_bytes(sum(removal.num_bytes for removal in found))}"
    if not delete:
        running = [driver for driver in read_all(opened) if not driver.ended]
        for driver in running:
            _say(f"has not ended: {_described(driver)}; --delete refuses while it is at work")
        _say(f"{total}; nothing was removed, --delete does that")
        return
    for _ in remove(Store(location), found, judged):
        pass
    _say(f"{total}: removed")


def store_copy(to: Path, store: Path | None = None, sweep: str | None = None, data: bool = False) -> None:
    """Copy what is finished into another store, with plans, results and predictions; exit status 1 on damage.

    Every file is compared with its recorded hash on the way; what the other store has already stays. Killed, the same
    command goes on.

    Args:
        to: the other store; made when it is not there.
        store: the store. Default: $STARS_STORE, else ~/.stars/store. It is only read.
        sweep: only what this sweep needs. Default: everything that has ended.
        data: also the packed data sets kept in the store.
    """
    source = Store(store or default_location(), read_only=True)
    report = copy(source, Store(to), sweep=sweep, data=data)
    _show_copied(report, to)
    sys.exit(1 if report.damaged else 0)


def _refuse_beside_drivers(store: Store) -> None:
    """Raises StoreError when a driver is at work."""

    def waiting(drivers: Sequence[Driver]) -> None:
        for driver in drivers:
            _say(f"watching for up to {SILENCE_SECONDS:.0f} s whether it still lives: {_described(driver)}")

    if living := at_work(store, waiting=waiting):
        names = "; ".join(map(_described, living))
        raise StoreError(f"store {store.location}: at work is {names}; nothing is removed beside a driver")


def _described(driver: Driver) -> str:
    machine = driver.process.machine.partition(" ")[0]
    return f"driver {driver.name[:12]} ({driver.command}) on {machine}, process {driver.process.pid}"


def _list(store: Store, found: Sequence[Removal], limit: int | None) -> None:
    reasons: dict[str, list[Removal]] = defaultdict(list)
    for removal in found:
        reasons[removal.why].append(removal)
    for why, removals in reasons.items():
        freed = shown_bytes(sum(removal.num_bytes for removal in removals))
        _CONSOLE.print(f"[bold]{escape(why)}[/bold]: {len(removals)}, {freed}", highlight=False)
        for removal in removals[:limit]:
            _say(f"  {removal.path.relative_to(store.location)}  {shown_bytes(removal.num_bytes)}")
        if limit is not None and len(removals) > limit:
            _say(f"  and {len(removals) - limit} more; --all-paths lists them")


def _show_copied(report: Report, to: Path) -> None:
    table = Table("what", title=f"copied to {to}")
    for column in ("copied", "size", "there already"):
        table.add_column(column, justify="right")
    for name, tally in report.tallies.items():
        table.add_row(name, str(tally.copied), shown_bytes(tally.num_bytes), str(tally.there))
    _CONSOLE.print(table)
    for note in report.different:
        _say(note)
    for problem in report.damaged:
        _CONSOLE.print(f"[red]{escape(problem)}[/red]", highlight=False)


def _say(line: str) -> None:
    """One line as it is: what stands in brackets in it is no markup."""
    _CONSOLE.print(line, highlight=False, markup=False)
