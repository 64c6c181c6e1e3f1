"""Nearest-neighbour evaluation against the numbers of the published code."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from stars.neighbours import nearest, plain_vote, weighted_vote
from stars.probes.fewshot import first_of_each
from tests.conformance.vectors import load

Arrays = dict[str, NDArray[Any]]


def agree(ours: Tensor, reference: NDArray[Any], similarities: Tensor, k: int) -> None:
    """Equal, except where the k-th neighbour and the next are within 1e-6 of each other, or two of the first k are."""
    gaps = (similarities[:, :k] - similarities[:, 1 : k + 1]).numpy()
    clear = gaps.min(axis=1) >= 1e-6
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(ours[clear], reference[clear])


@pytest.fixture(scope="module", name="arrays")
def knn_arrays() -> Arrays:
    return load("i_knn")[0]


def test_plain_vote(arrays: Arrays) -> None:
    ks = [int(match[1]) for name in arrays if (match := re.fullmatch(r"k(\d+)/pred", name))]
    assert ks
    query, bank = torch.from_numpy(arrays["test_x"]), torch.from_numpy(arrays["train_x"])
    similarities, indices = nearest(query, bank, max(ks) + 1)
    predictions = plain_vote(torch.from_numpy(arrays["train_y"])[indices], ks)
    for k in ks:
        agree(predictions[k], arrays[f"k{k}/pred"], similarities, k)
        accuracy = (predictions[k].numpy() == arrays["test_y"]).mean()
        np.testing.assert_allclose(accuracy, arrays[f"k{k}/acc"], rtol=1e-5)


def test_weighted_vote(arrays: Arrays) -> None:
    settings = [match for name in arrays if (match := re.fullmatch(r"weighted_k(\d+)_t([\d.]+)/pred", name))]
    assert settings
    num_classes = int(load("i_knn")[1]["hyperparameters"]["classes"])
    query, bank = torch.from_numpy(arrays["test_x"]), torch.from_numpy(arrays["train_x"])
    for match in settings:
        k, temperature = int(match[1]), float(match[2])
        similarities, indices = nearest(query, bank, k + 1)
        labels = torch.from_numpy(arrays["train_y"])[indices]
        ours = weighted_vote(similarities, labels, [k], temperature, num_classes)[k]
        agree(ours, arrays[match[0]], similarities, k)


def test_every_array_is_compared(arrays: Arrays) -> None:
    compared = r"(train|test)_[xy]|k\d+/(pred|acc)|weighted_k\d+_t[\d.]+/pred|shot\d+/(support|pred|acc)"
    assert [name for name in arrays if not re.fullmatch(compared, name)] == []


def test_few_shot(arrays: Arrays) -> None:
    shots = [int(match[1]) for name in arrays if (match := re.fullmatch(r"shot(\d+)/support", name))]
    assert shots
    query = torch.from_numpy(arrays["test_x"])
    for shot in shots:
        support = arrays[f"shot{shot}/support"]
        labels = torch.from_numpy(arrays["train_y"])
        np.testing.assert_array_equal(first_of_each(torch.arange(len(labels)), labels, shot), support)
        similarities, indices = nearest(query, torch.from_numpy(arrays["train_x"][support]), shot + 1)
        ours = plain_vote(torch.from_numpy(arrays["train_y"][support])[indices], [shot])[shot]
        agree(ours, arrays[f"shot{shot}/pred"], similarities, shot)
        np.testing.assert_allclose((ours.numpy() == arrays["test_y"]).mean(), arrays[f"shot{shot}/acc"], rtol=1e-5)
