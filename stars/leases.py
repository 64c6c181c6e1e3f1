"""Leases: who is at a piece of work, so that two drivers of one store do not do it twice.

    <store>/leases/<piece of work>.<number>      created only if absent: driver and unit; the highest number counts

A lease saves work and guards nothing: what counts is decided by the one commit of an outcome. So a lease that is broken
too early costs a computation, never a result. It belongs to a driver (`stars.drivers`), whose one beat keeps all its
leases alive; when the driver is dead another takes the work over by creating the next number, which only one can.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from stars.outcome import StoreError
from stars.stage import Stage, fingerprint, kind
from stars.store import Store

Alive = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lease: a driver, for one of its units (a unit is never run twice at once by its driver)."""

    driver: str
    unit: str


def lease_name(stage: Stage) -> str:
    """What the lease of a stage is called."""
    return f"{kind(stage)}/{fingerprint(stage)}"


def holder(store: Store, work: str) -> Holder | None:
    """Who holds the lease of a piece of work now; None when nobody does."""
    numbers = _numbers(store, work)
    while numbers:
        found = _read(store, work, numbers.pop())
        if found:
            return found
    return None


def acquire(store: Store, work: str, me: Holder, alive: Alive) -> Holder:
    """Take the lease unless a living driver has it. Returns who holds it now: `me`, or the other.

    Taking what one holds already succeeds: a unit whose process has died is run again by its driver.
    """
    while True:
        numbers = _numbers(store, work)
        number = 0
        if numbers:
            current = _read(store, work, numbers[-1])
            if current is None:
                continue
            if current == me or current.driver == me.driver or alive(current.driver):
                return current
            number = numbers[-1] + 1
        if store.create(_key(work, number), json.dumps({"driver": me.driver, "unit": me.unit}).encode()):
            return me


def release(store: Store, work: str, me: Holder) -> None:
    """Give the lease back; nothing happens when another has it."""
    numbers = _numbers(store, work)
    if numbers and _read(store, work, numbers[-1]) == me:
        # From the oldest on: as long as ours stands, nobody reads an older one.
        for number in numbers:
            store.remove(_key(work, number))


def _key(work: str, number: int) -> str:
    return f"leases/{_flat(work)}.{number:04d}"


def _numbers(store: Store, work: str) -> list[int]:
    # Leases lie in one folder, which holds few: those of the units that run now, and of the dead.
    names = [key.rpartition("/")[2] for key in store.keys("leases", "")]
    return [int(number) for name in names for flat, _, number in [name.rpartition(".")] if flat == _flat(work)]


def _flat(work: str) -> str:
    return work.replace("/", ".")


def _read(store: Store, work: str, number: int) -> Holder | None:
    """One entry; None when it has been given back since it was listed."""
    key = _key(work, number)
    try:
        return Holder(**json.loads(store.read(key)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as problem:
        raise StoreError(f"{store.location / key}: not a lease ({problem})") from problem
