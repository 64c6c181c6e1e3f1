"""A made-up store with everything that a report shows: values that nest, curves, features, predictions, failures."""

import io
import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

from stars.outcome import File, Outcome
from stars.parquet import to_bytes
from stars.store import Store
from stars.sweep import PLAN_SCHEMA, PLAN_VERSION, write_plan

DATA = {"type": "data.dataset.Data", "name": "synthetic", "content": "d" * 64, "protocol": "XSub", "joints": 25}
CONTEXT = {
    "recipe": "small",
    "dataset": "synthetic",
    "data_content": "d" * 64,
    "protocol": "XSub",
    "label_rule": "action",
    "coordinates_missing": "refuse",
    "reseed_pretraining": False,
}
CLASSES = ("drink water", "eat meal/snack", "brush teeth", "brush hair", "drop", "pick up", "throw", "sit down")
NUM_SAMPLES = 96
MEASURED = {"recipe": "small", "gpu_seconds": 0.0, "device": "cpu x86_64, 2 threads", "workers": 1, "code": "c" * 40}


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def fingerprint(value: Mapping[str, Any]) -> str:
    return sha256(canonical(value).encode()).hexdigest()


def pretrain() -> dict[str, Any]:
    return {"type": "pretrain.Pretrain", "version": 1, "seed": 0, "data": DATA, "epochs": 60, "crop": [0.5, 1.0]}


def tune(**changes: Any) -> dict[str, Any]:
    return {"type": "tune.Tune", "version": 1, "start": pretrain(), "data": DATA, "layer_decay": 0.5, **changes}


def features(encoder: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "probes.features.Features", "version": 1, "encoder": encoder, "data": DATA, "crop": 0.9}


def knn(encoder: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "probes.knn.KNN", "version": 1, "features": features(encoder), "data": DATA, "k": [1, 10]}


def chain(probe: Mapping[str, Any]) -> list[str]:
    """`kind/fingerprint` of a probe and everything that it needs, inputs first."""
    found: dict[str, None] = {}

    def visit(value: Any) -> None:
        if isinstance(value, Mapping):
            for content in value.values():
                visit(content)
            if "version" in value:
                found[f"{value['type'].rpartition('.')[2].lower()}/{fingerprint(value)}"] = None

    visit(probe)
    return list(found)


def end(
    store: Store,
    value: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
    seconds: float = 1.0,
    **changes: Any,
) -> None:
    """Record how a stage ended, and its files."""
    kind, name = value["type"].rpartition(".")[2].lower(), fingerprint(value)
    folder = store.location / kind / name / "attempts" / "a" / "output"
    folder.mkdir(parents=True)
    recorded = []
    for path, content in (files or {}).items():
        (folder / path).write_bytes(content)
        recorded.append(File(path=path, size=len(content), sha256=sha256(content).hexdigest()))
    outcome = Outcome(
        **{
            "status": "finished",
            "attempt": "a",
            "value": value,
            "inputs": {},
            "files": tuple(recorded),
            "measured": {**MEASURED, "seconds": seconds, "finished": "2026-01-02T03:04:05+00:00"},
            **changes,
        }
    )
    assert store.create(f"{kind}/{name}/outcome.json", outcome.document())


def curve(losses: Sequence[float]) -> bytes:
    """Two optimiser steps an epoch."""
    steps = [loss + shift for loss in losses for shift in (0.01, -0.01)]
    columns = {"step": range(len(steps)), "epoch": [i // 2 for i in range(len(steps))], "loss": steps}
    sink = io.BytesIO()
    pq.write_table(pa.table({name: list(column) for name, column in columns.items()}), sink)
    return sink.getvalue()


def labels() -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.arange(NUM_SAMPLES) % len(CLASSES)


def feature_file(seed: int, apart: float) -> bytes:
    generator = np.random.default_rng(seed)
    vectors = apart * np.eye(len(CLASSES))[labels()] + generator.normal(size=(NUM_SAMPLES, len(CLASSES))) * 0.3
    # Other files may hold the samples in another order.
    order = generator.permutation(NUM_SAMPLES)
    return save({"test/pooled": vectors[order].astype(np.float32), "test/rows": order.astype(np.int64)})


def predict(
    store: Store, probe: Mapping[str, Any], seed: int, accuracy: float, classes: Sequence[str] = CLASSES
) -> None:
    """Publish predictions: what is wrong is mostly taken for the next class."""
    generator = np.random.default_rng(seed)
    right = generator.random(NUM_SAMPLES) < accuracy
    taken = np.where(right, labels(), (labels() + generator.choice([1, 1, 1, 2, 5], NUM_SAMPLES)) % len(CLASSES))
    table = pa.table({"row": np.arange(NUM_SAMPLES), "label": labels(), "k1": taken, "k10": taken})
    table = table.replace_schema_metadata({"classes": json.dumps(list(classes))})
    assert store.create(f"predictions/{fingerprint(probe)}.parquet", to_bytes(table))


def fill(laboratory: Any, sweep: str = "lr_decay", num_seeds: int = 3, axis: str = "layer_decay") -> None:
    """A sweep of four values: one seed diverged, one is out of memory, one is not there; and two references."""
    store, decays = laboratory.store, (0.1, 0.2, 0.5, 1.0)
    failed: dict[tuple[float, int], tuple[str, str, int | None] | None] = {
        (1.0, 1): ("diverged", "loss is nan", 17),
        (1.0, 2): ("oom", "CUDA out of memory", None),
        (0.5, 2): None,
    }
    points = [("", {axis: d, "seed": s}, knn(tune(layer_decay=d, seed=s))) for d in decays for s in range(num_seeds)]
    points += [("stage 1 only", {"seed": s}, knn(pretrain())) for s in range(num_seeds)]
    end(store, pretrain(), {"curve.parquet": curve([2 * 0.97**i for i in range(60)])}, 240.0)
    done: set[str] = set()
    lines = []
    for number, (reference, at, probe) in enumerate(points):
        name = fingerprint(probe)
        lines.append((reference, at, name, chain(probe)))
        if name in done:
            continue
        done.add(name)
        d, s = float(at.get(axis, 0.0)), int(at["seed"])
        encoder = probe["features"]["encoder"]
        if (d, s) in failed and not reference:
            if (problem := failed[d, s]) is not None:
                status, reason, horizon = problem
                end(store, encoder, status=status, reason=reason, horizon=horizon)
            continue
        accuracy = 0.8 - 0.08 * d + 0.01 * s - (0.12 if reference else 0)
        if not reference:
            end(
                store,
                encoder,
                {"curve.parquet": curve([(1 + d) * 0.8**i + 0.02 * s for i in range(6)])},
                30 + 9 * d + s,
            )
        end(store, probe["features"], {"features.safetensors": feature_file(number, 2 * accuracy - 0.6)})
        end(store, probe, {"numbers.json": b"[]"})
        predict(store, probe, number, accuracy)
        laboratory.measure(name, accuracy, accuracy - 0.05, code="c" * 40, data_content="d" * 64, recipe="small")
    plan(store, sweep, lines)


def plan(
    store: Store,
    sweep: str,
    points: Sequence[tuple[str, Mapping[str, Any], str, Sequence[str]]],
    context: Mapping[str, Any] = CONTEXT,
    paper: str = "Figure 3(a)",
) -> None:
    """Write a plan of (reference, axes, fingerprint, chain)."""
    lines = [
        {
            "sweep": sweep,
            "paper": paper,
            "reference": reference,
            "axes": json.dumps(dict(at)),
            "kind": "knn",
            "fingerprint": name,
            "upstream": list(steps),
            "context": json.dumps(dict(context), sort_keys=True),
            "schema_version": PLAN_VERSION,
        }
        for reference, at, name, steps in points
    ]
    write_plan(store, pa.Table.from_pylist(lines, schema=PLAN_SCHEMA))
