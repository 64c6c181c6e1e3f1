"""Small real stores: plans, rows and outcomes placed through `Store`, as sweeps leave them."""

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stars.outcome import Outcome
from stars.results import ROW_VERSION, SCHEMA
from stars.store import Store
from stars.sweep import PLAN_SCHEMA, PLAN_VERSION, AxisValue, write_plan

CONTEXT = {"dataset": "synthetic", "protocol": "xsub", "recipe": "paper", "reseed_pretraining": False}


def named(*words: object) -> str:
    """A fingerprint for a made-up stage."""
    return sha256(repr(words).encode()).hexdigest()


class Laboratory:
    """A store with the shortest ways to fill it."""

    named = staticmethod(named)

    def __init__(self, location: Path) -> None:
        self.store = Store(location)

    def plan(
        self,
        sweep: str,
        points: Sequence[tuple[str, Mapping[str, AxisValue], str]],
        context: Mapping[str, AxisValue] | None = None,
        **changes: Any,
    ) -> str:
        """Write a plan of (reference, axes, fingerprint); every probe reads one `tune` stage."""
        lines = [
            {
                "sweep": sweep,
                "paper": "Figure 3(a)",
                "reference": reference,
                "axes": json.dumps(dict(at)),
                "kind": "knn",
                "fingerprint": probe,
                "upstream": [f"tune/{named('tune', probe)}", f"knn/{probe}"],
                "context": json.dumps(dict(CONTEXT if context is None else context), sort_keys=True),
                "schema_version": PLAN_VERSION,
                **changes,
            }
            for reference, at, probe in points
        ]
        return write_plan(self.store, pa.Table.from_pylist(lines, schema=PLAN_SCHEMA))

    def measure(self, probe: str, *values: float, **changes: Any) -> None:
        """Publish rows of a finished probe: `values` are accuracies, one per k of 10, 1, 2."""
        lines = [
            {
                **dict.fromkeys(("data_content", "device", "recipe"), "x"),
                **dict.fromkeys(("seconds", "gpu_seconds"), 1.0),
                "fingerprint": probe,
                "dataset": "synthetic",
                "protocol": "xsub",
                "label_rule": "action",
                "stage_version": 1,
                "split": "test",
                "probe": "knn",
                "feature": "pooled",
                "k": k,
                "metric": "accuracy",
                "value": value,
                "count": 1613,
                "selected_on": "none",
                "epoch": None,
                "seeds": "{}",
                "outcome": "finished",
                "workers": 1,
                "code": "aaa",
                "libraries": '{"torch": "2.13.0"}',
                "finished": datetime(2025, 1, 2, tzinfo=UTC),
                "schema_version": ROW_VERSION,
                **changes,
            }
            for k, value in zip((10, 1, 2), values, strict=False)
        ]
        self.rows(probe, lines)

    def rows(self, probe: str, lines: Sequence[Mapping[str, Any]]) -> None:
        """Publish lines as they are."""
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(lines), schema=SCHEMA), sink, write_page_checksum=True)
        assert self.store.create(f"results/{probe}.parquet", sink.getvalue())

    def end(self, kind: str, stage: str, status: Any) -> None:
        """Record an outcome."""
        outcome = Outcome(status=status, attempt="a", value={}, inputs={}, files=(), measured={})
        assert self.store.create(f"{kind}/{stage}/outcome.json", outcome.document())


@pytest.fixture
def laboratory(tmp_path: Path) -> Laboratory:
    """An empty store."""
    return Laboratory(tmp_path / "store")


@pytest.fixture
def lr_decay(laboratory: Laboratory) -> Laboratory:
    """A sweep as it is: three values, five seeds, two references; one seed diverged, one point is not there."""
    decays = (0.1, 0.2, 1.0)
    grid = [("", {"layer_decay": d, "seed": s}, named(d, s)) for d in decays for s in range(5)]
    fixed = [("stage 1 only", {"seed": s}, named("stage 1")) for s in range(5)]
    laboratory.plan("lr_decay", [*grid, *fixed, ("chance", {}, named("chance"))])
    for i, decay in enumerate(decays):
        for seed in range(5):
            if (decay, seed) not in ((1.0, 3), (1.0, 4)):
                laboratory.measure(named(decay, seed), round(0.8 - 0.05 * i + 0.002 * seed, 3), 0.7)
    laboratory.end("tune", named("tune", named(1.0, 3)), "diverged")
    laboratory.measure(named("stage 1"), 0.7, 0.6)
    laboratory.measure(named("chance"), 1 / 60, k=None)
    return laboratory
