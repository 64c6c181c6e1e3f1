"""`status`: who is at work in a store, how far every sweep and search is, and what failed; for whoever has the store.

Readable at 100 columns, on a terminal or not.
"""

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cluster.standing import Searched, Seen, Standing, drivers, known, searches, standings
from stars.store import Store

_WIDTH = 100
_RUNNING_SHOWN = 8
_FAILED_SHOWN = 8


def show_status(console: Console, store: Store, *, sweep: str | None = None) -> int:
    """Print how the store stands; one sweep of it, or all. Returns the exit status: 2 for an unknown sweep.

    Takes a few seconds longer while drivers of other machines are at work, since it watches whether they live.
    """
    there = known(store)
    if sweep is not None and sweep not in there:
        console.print(
            f"error: {sweep} is neither planned nor searched nor run in {store.location}; there are:", end=" "
        )
        console.print(", ".join(there) or "none", highlight=False)
        return 2
    seen, num_older = drivers(store)
    if sweep is not None:
        seen = [entry for entry in seen if entry.driver.sweep == sweep]
    console.print(f"store {store.location}", highlight=False)
    _show_drivers(console, seen, num_older)
    if found := standings(store, sweep):
        console.print(sweeps_table(found), width=_width(console))
        if any(standing.reasons for standing in found):
            console.print(reasons_table(found), width=_width(console))
    if studies := searches(store, sweep):
        console.print(searches_table(studies), width=_width(console))
    if not found and not studies:
        console.print("nothing is planned here, and nothing searched", highlight=False)
    return 0


def _width(console: Console) -> int:
    """A terminal's own width; elsewhere a fixed one, whatever the surroundings claim."""
    return console.width if console.is_terminal else _WIDTH


def _show_drivers(console: Console, seen: Sequence[Seen], num_older: int) -> None:
    if not seen:
        console.print("no driver is at work, and none was within a day", highlight=False)
    else:
        console.print(drivers_table(seen), width=_width(console))
        running = running_table(seen)
        if running.row_count:
            console.print(running, width=_width(console))
    if num_older:
        console.print(f"{num_older} older drivers are not shown", highlight=False)


def drivers_table(seen: Sequence[Seen]) -> Table:
    """A line per driver."""
    table = _table("drivers", "sweep", "driver", "units", "GPUs", "spent", "left")
    for entry in seen:
        driver = entry.driver
        machine = driver.process.machine.partition(" ")[0]
        words = [_life(entry), driver.command, f"{machine}, process {driver.process.pid}, since {driver.started}"]
        words += [f"job {driver.job}"] if driver.job else []
        at_work = entry.life == "at work"
        table.add_row(
            Text(driver.sweep),
            Text("\n".join(words), style="" if entry.life in ("at work", "ended") else "red"),
            Text(_units(entry)),
            Text(_gpus(entry)) if at_work else Text("-"),
            Text(_spent(entry)),
            Text(duration(driver.left_seconds) if at_work and driver.left_seconds is not None else "-"),
        )
    return table


def running_table(seen: Sequence[Seen]) -> Table:
    """What the drivers at work run now."""
    table = _table("running now", "sweep", "stage", "since", "detail")
    for entry in seen:
        if entry.life == "at work":
            for unit in entry.driver.running[:_RUNNING_SHOWN]:
                stage = f"{unit['kind']} {unit['fingerprint'][:12]}"
                table.add_row(*map(Text, (entry.driver.sweep, stage, unit["since"], unit["detail"])))
            if (more := len(entry.driver.running) - _RUNNING_SHOWN) > 0:
                table.add_row(Text(entry.driver.sweep), Text(f"and {more} more"), Text(""), Text(""))
    return table


def sweeps_table(found: Sequence[Standing]) -> Table:
    """A line per sweep and context."""
    table = _table("sweeps", "sweep", "context", "planned", "finished", "failed", "missing", "best so far")
    for standing in found:
        failed = ", ".join(f"{count} {status}" for status, count in standing.failed.items())
        table.add_row(
            Text(standing.sweep),
            Text(standing.context),
            *(Text(str(number)) for number in (standing.planned, standing.finished)),
            Text(failed or "0", style="red" if failed else ""),
            Text(str(standing.missing)),
            Text(standing.best),
        )
    return table


def reasons_table(found: Sequence[Standing]) -> Table:
    """Why points failed, most frequent first."""
    table = _table("why points failed", "sweep", "points", "step", "ended", "reason")
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for standing in found:
        for (kind, status, reason), count in standing.reasons:
            counts[standing.sweep, kind, status, reason] += count
    for (sweep, kind, status, reason), count in counts.most_common(_FAILED_SHOWN):
        table.add_row(*map(Text, (sweep, str(count), kind, status, reason or "-")))
    if (more := len(counts) - _FAILED_SHOWN) > 0:
        table.add_row(*map(Text, ("", "", f"and {more} more", "", "")))
    return table


def searches_table(found: Sequence[Searched]) -> Table:
    """A line per search."""
    table = _table("searches", "search", "finished", "stopped", "failed", "running", "best so far")
    for search in found:
        counts = [str(search.states.get(state, 0)) for state in ("finished", "stopped", "failed", "running")]
        table.add_row(*map(Text, (search.study, *counts, search.best)))
    return table


def _table(title: str, *columns: str) -> Table:
    numbers = {"planned", "finished", "missing", "points", "stopped", "running", "left"}
    table = Table(title=Text(title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    return table


def _life(entry: Seen) -> str:
    lasted = duration(entry.lasted)
    if entry.life == "at work":
        return f"at work for {lasted}"
    if entry.life == "ended":
        return f"{entry.driver.ended} after {lasted}"
    if entry.life == "silent":
        return f"no sign of life for {duration(entry.silence)}; wait a minute to know"
    return f"died after {lasted}; {'another went on' if entry.followed else 'the same command goes on'}"


def _units(entry: Seen) -> str:
    units = entry.driver.units
    lines = [f"{units.get('done', 0)} of {units.get('total', 0)} done"]
    if entry.life == "at work":
        lines.append(f"{units.get('running', 0)} running")
    if units.get("failed", 0):
        lines.append(f"{units['failed']} failed")
        reasons = Counter(f"{unit['kind']} {unit['status']}" for unit in entry.driver.failed)
        lines += [f"  {count} {words}" for words, count in reasons.most_common(3)]
    return "\n".join(lines)


def _gpus(entry: Seen) -> str:
    capacity = entry.driver.capacity.get("gpus", 0)
    return f"{entry.driver.in_use.get('gpus', 0):g} of {capacity:g}" if capacity else "-"


def _spent(entry: Seen) -> str:
    spent = entry.driver.spent
    lines = [f"{spent[name] / 3600:.2f} {words}" for name, words in _HOURS.items() if spent.get(name)]
    lines += [f"${spent['usd']:.2f}"] if "usd" in spent else []
    return "\n".join(lines) or "-"


_HOURS = {"gpu_seconds": "GPU hours", "cpu_seconds": "CPU hours"}


def duration(seconds: float) -> str:
    """A duration for people: its two largest units."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
