"""Carry out what a command asks for: a grid or a search."""

from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from cluster.binding import Run
from cluster.order import Ending, Grid, Order
from cluster.show import logged, show_grid, show_search, show_unfinished
from stars.execute import missing, republish
from stars.sweep import Point, plan_table, write_plan
from stars.terminal import command
from stars.trials import studies

ALIVE = 3
"""Exit status when another driver of the same run is alive."""


def carry_out(run: Run, console: Console) -> int:
    """Do it, and show the results. Returns the exit status."""
    return _grid(run, console) if run.validation is None else _search(run, console)


def _grid(run: Run, console: Console) -> int:
    """Write the plan, run what is missing, show the table."""
    from cluster.drive import Alive, drive  # Ray is imported, and started, only when something is to run.

    store = run.store
    plan = plan_table(run.sweep, run.recipe, run.points)
    plan_key = write_plan(store, plan)
    targets = [point.stage for point in run.points]
    ending = None
    with logged(store, run.sweep) as log_file:
        if missing(targets, store):
            try:
                ending = drive(order(run, plan_key.removesuffix(".parquet")), lambda _: Grid(targets), console)
            except Alive as other:
                console.print(f"[red]{other}[/red]", highlight=False)
                return ALIVE
        else:
            console.print("everything is finished already; nothing to run", highlight=False)
    if ending is not None and ending.how == "interrupted":
        return closing(ending, run, console, unfinished=True)
    for stage in targets:
        republish(stage, store)
    show_grid(run, plan, console)
    console.print(f"plan     {store.location / plan_key}", highlight=False)
    console.print(f"log      {log_file}", highlight=False)
    unfinished = show_unfinished(targets, store, console)
    return closing(ending, run, console, unfinished > 0)


def _search(run: Run, console: Console) -> int:
    """Search, then measure the winner; show both."""
    from cluster.drive import Alive, drive
    from cluster.seeking import Seeking, settings_of

    settings, made = settings_of(run), list[Seeking]()
    key = f"searches/{run.sweep.name}/{settings.name()}"

    def begin(slots: Callable[[], int]) -> Seeking:
        made.append(Seeking(run, settings, slots))
        return made[0]

    with logged(run.store, run.sweep) as log_file:
        try:
            ending = drive(order(run, key), begin, console)
        except Alive as other:
            console.print(f"[red]{other}[/red]", highlight=False)
            return ALIVE
    if ending.how == "interrupted":
        return closing(ending, run, console, unfinished=True)
    if settings.name() in studies(run.store, run.sweep.name):
        show_search(run, settings.name(), console)
    unfinished = not (made and made[0].winner) or _show_winner(run, made[0].winner, console)
    console.print(f"study    {run.store.location / key}.journal", highlight=False)
    console.print(f"log      {log_file}", highlight=False)
    return closing(ending, run, console, unfinished)


def _show_winner(run: Run, planned: list[Point], console: Console) -> bool:
    """The winner's table, on test. Returns whether anything of it is missing."""
    from cluster.seeking import winner_plan

    targets = [point.stage for point in planned]
    for stage in targets:
        republish(stage, run.store)
    show_grid(run, winner_plan(run, planned), console)
    return show_unfinished(targets, run.store, console) > 0


def order(run: Run, key: str) -> Order:
    """The run as `drive` takes it."""
    return Order(
        sweep=run.sweep.name,
        run=key,
        store=run.store,
        datasets=run.datasets,
        recipe=run.recipe.name,
        context=run.recipe.context(),
        options=run.options,
        budget=run.budget,
    )


def closing(ending: Ending | None, run: Run, console: Console, unfinished: bool) -> int:
    """Say how the run ended, where that is not plain. Returns the exit status."""
    if ending is not None and ending.how == "interrupted":
        console.print(f"[yellow]interrupted; go on with: {escape(command())}[/yellow]", highlight=False)
        return ending.status or 1
    if ending is not None and ending.how == "budget" and run.budget is not None:
        console.print(
            f"[yellow]the budget of {run.budget.words} is used up; a larger --budget goes on[/yellow]", highlight=False
        )
        return 1
    return 1 if unfinished else 0
