"""What every test shares."""

from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

# The shapes in signatures are checked in every test, and only there: the hook must come before the first import.
CHECKED = [
    *("stars.model", "stars.strategies", "stars.augmentations", "stars.neighbours"),
    *("stars.data.batches", "stars.data.streams", "stars.data.layouts", "stars.data.draw", "stars.data.summary"),
    *("stars.data.exchange.bodies", "stars.data.protocols", "stars.data.packed"),
]
install_import_hook(CHECKED, "beartype.beartype")

from tests.training import Tiny, make_tiny  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Bits depend on the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test may touch the store of the person who runs it."""
    monkeypatch.setenv("STARS_STORE", str(tmp_path / "store"))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """A data set of 32 synthetic recordings, packed once, with a recipe to match."""
    return make_tiny(tmp_path_factory.mktemp("tiny") / "packed")
