"""What a store holds: sizes of outputs, checkpoints and the rest."""

from pathlib import Path

import pytest

from stars.inventory import held, inventory, other_folders, shown_bytes
from stars.stage import fingerprint, kind, upstream
from stars.store import Store
from tests.examples import a_point
from tests.stores import begun, finish_all, planned, stranger


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A sweep that is finished."""
    store = Store(tmp_path / "filled")
    finish_all(store, planned(store))
    return store


def test_output_is_told_from_checkpoints_and_the_rest(store: Store) -> None:
    stage = a_point(layer_decay=0.2, seed=0).features.encoder
    finished = held(store, kind(stage), fingerprint(stage))
    assert (finished.status, finished.output_bytes, finished.checkpoint_bytes, finished.idle_bytes) == (
        "finished",
        640,
        0,
        0,
    )
    late = begun(store, stage, checkpoint=True)
    saved = sum(path.stat().st_size for path in late.checkpoints.iterdir())
    again = held(store, kind(stage), fingerprint(stage))
    assert (again.output_bytes, again.checkpoint_bytes, again.idle_bytes) == (640, 0, 640 + saved)
    unfinished = stranger()[0]
    begun(store, unfinished, checkpoint=True)
    entry = held(store, kind(unfinished), fingerprint(unfinished))
    assert (entry.status, entry.output_bytes, entry.checkpoint_bytes, entry.idle_bytes) == ("unfinished", 0, saved, 640)
    assert entry.depth == 0


def test_a_reader_is_deeper_than_what_it_reads(store: Store) -> None:
    depth = {entry.fingerprint: entry.depth for entry in inventory(store)}
    chain = upstream(planned(store)[0].stage)
    depths = [depth[fingerprint(stage)] for stage in chain]
    assert depths == sorted(set(depths))


def test_the_other_folders_are_counted(store: Store) -> None:
    counted = other_folders(store)
    results = list((store.location / "results").iterdir())
    assert counted["results"] == (len(results), sum(path.stat().st_size for path in results))
    assert not {"knn", "tune", "probe"} & counted.keys(), "stages are counted elsewhere, and empty folders not at all"


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (2e15, "2000.0 TB")]
)
def test_bytes_are_shown_in_decimal_units(number: float, words: str) -> None:
    assert shown_bytes(number) == words
