"""Drive a run to its end: alone, with a pulse, in a Ray session."""

import logging
import time

from rich.console import Console

from cluster.budget import spent_before
from cluster.driving import Driving
from cluster.executor import stop_file
from cluster.order import Ending, How, MakeSource, Order
from cluster.pulse import Pulse
from cluster.session import session
from stars.drivers import Driver, Observer, begin, read, read_all
from stars.leases import Holder, acquire, release
from stars.terminal import command

_LOG = logging.getLogger("stars")


class Alive(Exception):  # noqa: N818 - not an error
    """Another driver is at the same run."""

    def __init__(self, driver: Driver) -> None:
        """Name it."""
        where = f"job {driver.job}" if driver.job else f"process {driver.process.pid}"
        super().__init__(
            f"another driver of this run is alive: {where} on {driver.process.machine.split()[0]}, since "
            f"{driver.started}, `{driver.command}`; `python -m cluster status` shows how far it is"
        )


def drive(order: Order, make_source: MakeSource, console: Console) -> Ending:
    """Run what is missing. Failures are in the store and in the log; nothing is raised for them.

    The source is made once the run is ours alone.

    Raises:
        Alive: another driver is at the same run.
        DoesNotFit: trials that the cluster cannot hold.
    """
    store = order.store
    before = spent_before(read_all(store), order.run, order.options.price)
    if order.budget and order.budget.reached(before):
        return Ending(how="budget")
    me = begin(command=command(), sweep=order.sweep, run=order.run)
    me.write(store)
    held = Holder(driver=me.name, unit="run")
    pulse = Pulse(me, store)
    ending = Ending(how="unfinished")
    try:
        _claim(order, held, console)
    except BaseException:
        # Nothing was begun: nothing is left of this driver.
        store.remove(f"drivers/{me.name}.json")
        raise
    try:
        ending = _driven(Driving(order, make_source, me, before, console), pulse)
    finally:
        pulse.end(ending.how)
        release(store, order.run, held)
        stop_file(store.location, me.name).unlink(missing_ok=True)
    return ending


def _driven(driving: Driving, pulse: Pulse) -> Ending:
    """Drive to the end with a pulse, and in a Ray session where there is something to run."""
    how: How = "finished"
    try:
        with driving.interruption.listening(), pulse.beating(driving.describe):
            if targets := driving.first_targets():
                with session():
                    how = driving.to_the_end(targets)
    except BaseException:
        if not driving.interruption.overdue:
            raise
        _LOG.warning("units did not leave in time, and are killed", exc_info=True)
        how = "interrupted"
    finally:
        driving.close()
    return Ending(how=how, status=driving.interruption.status() if how == "interrupted" else None)


def _claim(order: Order, me: Holder, console: Console) -> None:
    """Take the run. Raises Alive once it is certain that its holder lives; a dead one's run is taken over."""
    observer, told = Observer(order.store), False
    while True:
        by = acquire(order.store, order.run, me, observer.alive)
        if by == me:
            return
        other = read(order.store, by.driver)
        if other is not None and observer.moving(by.driver):
            raise Alive(other)
        if not told:
            console.print("another machine has begun this run; watching whether it lives", highlight=False)
            told = True
        time.sleep(1.0)
