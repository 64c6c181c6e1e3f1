"""Chance, counted by hand."""

from pathlib import Path

import pytest

from stars.data.dataset import describe
from stars.execute import Workplace, realise
from stars.probes.chance import Chance
from stars.results import read
from stars.store import Store
from tests.probes.cases import pack


@pytest.mark.parametrize(
    ("train", "test", "accuracy"),
    [
        ([1, 2, 2], [1, 2, 2, 2, 1], 3 / 5),
        ([1, 2, 2, 3, 3], [1, 2, 3, 3], 1 / 4),
        ([3, 3, 1, 2], [1, 2, 3, 3], 1 / 2),
    ],
)
def test_chance_is_the_accuracy_of_the_most_frequent_class(
    tmp_path: Path, train: list[int], test: list[int], accuracy: float
) -> None:
    # Subject 1 is trained on, subject 3 tested on; what is frequent in the test part does not count.
    packed = pack(tmp_path / "packed", [*((1, action) for action in train), *((3, action) for action in test)])
    data = describe(packed)
    workplace = Workplace(store=Store(tmp_path / "store"), datasets={data.content: packed.path})
    assert realise(Chance(data=data), workplace).status == "finished"
    (row,) = read(workplace.store).to_pylist()
    assert (row["probe"], row["value"], row["count"], row["k"]) == ("chance", accuracy, len(test), None)
