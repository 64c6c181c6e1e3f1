"""A fine-tuning of a tenth of a second, and what tests read of one."""

from dataclasses import replace
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor

from stars.data.batches import View
from stars.probes.finetune import FineTune
from stars.store import Store
from tests.training import Tiny

VIEW = View(frames=16, crop=(0.5, 1.0), rotation=0.3)


def finetune(tiny: Tiny, **fields: Any) -> FineTune:
    base: dict[str, Any] = {
        "start": tiny.recipe.untrained(seed=0),
        "data": tiny.data,
        "view": VIEW,
        "crop": 0.95,
        "epochs": 3,
        "warmup_epochs": 1,
        "batch_size": 8,
        "learning_rate": 3e-3,
        "minimum_learning_rate": 1e-5,
        "layer_decay": 0.8,
        "weight_decay": 0.05,
        "drop_path": 0.3,
        "dropout": 0.3,
        "label_smoothing": 0.1,
        "hidden": 32,
        "seed": 0,
    }
    return FineTune(**{**base, **fields})


def precise(tiny: Tiny, **fields: Any) -> FineTune:
    start = replace(tiny.recipe.untrained(seed=0), precision="float64")
    return finetune(tiny, **{"start": start, "precision": "float64", **fields})


def predictions(store: Store, stage: FineTune) -> dict[str, Tensor]:
    table = pq.read_table(store.output(stage) / "predictions.parquet")
    return {name: torch.tensor(column) for name, column in table.to_pydict().items()}
