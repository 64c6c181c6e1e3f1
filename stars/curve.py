"""The learning curve that every training stage leaves behind."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

CURVE_FILE = "curve.parquet"


def write_curve(folder: Path, losses: Sequence[float], steps_per_epoch: int) -> None:
    """Write the global batch's loss at every optimiser step."""
    columns = {
        "step": pa.array(range(len(losses)), pa.int64()),
        "epoch": pa.array([step // steps_per_epoch for step in range(len(losses))], pa.int32()),
        "loss": pa.array(losses, pa.float64()),
    }
    pq.write_table(pa.table(columns), folder / CURVE_FILE)
