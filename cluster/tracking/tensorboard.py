"""TensorBoard: `<store>/tensorboard/<sweep>/<kind>-<fingerprint>/`, scalars by optimiser step.

    tensorboard --logdir ~/.stars/store/tensorboard

Each page is one file of one writer, open while its unit runs. A sweep of 10,000 points writes no more than
`NUM_PAGES` pages: TensorBoard reads every one of them again and again, and nobody looks at more.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from cluster.tracking.tracker import OpenRun, Run, hyperparameters, label
from stars.stage import Stage
from stars.store import Store

_LOG = logging.getLogger("stars")

NUM_PAGES = 1000
"""Folders of one sweep; what reports after them is in the log and in the results, not in TensorBoard."""


class Page:
    """One stage's writer."""

    def __init__(self, folder: Path, stage: Stage, step: int, context: Mapping[str, Any]) -> None:
        """Open the writer; what an interrupted attempt wrote from `step` on is no longer shown."""
        self._writer = SummaryWriter(logdir=str(folder), purge_step=step, flush_secs=10)
        for tag, content in (("hyperparameters", hyperparameters(stage)), ("context", context)):
            # Four spaces make it a block of code in TensorBoard's Markdown.
            lines = json.dumps(content, indent=1, default=str).splitlines()
            self._writer.add_text(tag, "\n".join(f"    {line}" for line in lines), step)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """One scalar a metric."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def end(self, status: str, numbers: Mapping[str, float], step: int) -> None:
        """The unit's numbers as scalars at the last step, its end as text."""
        self.log(numbers, step)
        self._writer.add_text("ended", status, step)
        self._writer.close()


class Nowhere:
    """The page of a stage that came after the last page."""

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Not shown."""

    def end(self, status: str, numbers: Mapping[str, float], step: int) -> None:
        """Not shown."""


def connect(store: Store, sweep: str, context: Mapping[str, Any], num_pages: int = NUM_PAGES) -> OpenRun:
    """Write below the store. `num_pages` bounds the folders of the sweep, those of earlier drivers included."""
    root = store.location / "tensorboard" / sweep
    pages = {folder.name for folder in root.iterdir()} if root.is_dir() else set()
    told = False

    def open_run(stage: Stage, step: int) -> Run:
        nonlocal told
        name = label(stage)
        if name not in pages and len(pages) >= num_pages:
            if not told:
                _LOG.warning("TensorBoard has %d pages of %s; there will be no more of them", num_pages, sweep)
            told = True
            return Nowhere()
        pages.add(name)
        return Page(root / name, stage, step, context)

    return open_run
