"""Weights & Biases (`pip install 'stars-skeleton[wandb]'`): project `stars`, one group a sweep, one run a stage.

The library's own environment decides the rest: `WANDB_API_KEY`, `WANDB_ENTITY`, `WANDB_PROJECT`, `WANDB_MODE=offline`.
"""

import os
from collections.abc import Mapping
from typing import Any

# Read on import: it shall neither print into the live progress nor ask there for a key.
os.environ.setdefault("WANDB_SILENT", "true")

import wandb

from cluster.tracking.tracker import OpenRun, hyperparameters, label
from stars.stage import Stage, fingerprint, kind
from stars.store import Store

_STEP = "optimiser_step"


class Page:
    """One run of Weights & Biases."""

    def __init__(self, run: wandb.Run) -> None:
        """Show everything by optimiser step; the library's own step counts calls, which a resumed stage repeats."""
        self._run = run
        run.define_metric(_STEP)
        run.define_metric("*", step_metric=_STEP)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One history line."""
        self._run.log({**metrics, _STEP: step})

    def end(self, status: str, numbers: Mapping[str, float], step: int) -> None:
        """The unit's numbers as the run's summary."""
        self._run.summary.update({**numbers, "ended": status})
        self._run.finish(exit_code=0 if status == "finished" else 1)


def connect(store: Store, sweep: str, context: Mapping[str, Any]) -> OpenRun:
    """Runs whose local files lie in the store's folder `wandb`."""
    folder = store.location / "wandb"
    folder.mkdir(exist_ok=True)

    def open_run(stage: Stage, _step: int) -> Page:
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "stars"),
            group=sweep,
            job_type=kind(stage),
            name=label(stage),
            id=f"{sweep}-{fingerprint(stage)[:24]}",
            resume="allow",
            # Several units run at once in the one driver.
            reinit="create_new",
            dir=str(folder),
            config={**hyperparameters(stage), "context": dict(context)},
            settings=wandb.Settings(console="off", disable_git=True, save_code=False),
        )
        return Page(run)

    return open_run
