"""The nearest-neighbour kernel against scikit-learn and against loops."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from stars import neighbours
from stars.neighbours import nearest, plain_vote, weighted_vote


def features(count: int, seed: int, width: int = 4) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_plain_vote_is_scikit_learns() -> None:
    bank, query = features(120, 0), features(200, 1)
    labels = torch.randint(0, 5, (120,), generator=torch.Generator().manual_seed(2))
    _, indices = nearest(query, bank, 10)
    predictions = plain_vote(labels[indices], (1, 2, 5, 10))
    assert set(predictions) == {1, 2, 5, 10}
    for k, ours in predictions.items():
        reference = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(bank.numpy(), labels.numpy())
        np.testing.assert_array_equal(ours, reference.predict(query.numpy()))


def test_similarities_are_cosines_in_descending_order() -> None:
    bank, query = features(30, 0), features(7, 1)
    similarities, indices = nearest(query, bank, 30)
    for q in range(7):
        cosines = [float(query[q] @ b / query[q].norm() / b.norm()) for b in bank]
        assert indices[q].tolist() == sorted(range(30), key=cosines.__getitem__, reverse=True)
        assert similarities[q].tolist() == pytest.approx(sorted(cosines, reverse=True))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_equal_similarities_are_ordered_by_index(count: int) -> None:
    """Axes give exact dot products: entries 1, 3, 4 and 7 tie first, then 0 and 2, then the rest."""
    direction = {0: 1, 1: 0, 2: 1, 3: 0, 4: 0, 5: 2, 6: 3, 7: 0}
    bank = torch.eye(4)[[direction[i] for i in range(8)]]
    query = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(3, 1)
    _, indices = nearest(query, bank, count)
    assert indices.tolist() == [[1, 3, 4, 7, 0, 2, 5, 6][:count]] * 3


def test_only_one_row_with_a_tie_at_the_edge() -> None:
    similarity = torch.tensor([[0.1, 0.9, 0.5, 0.3], [0.7, 0.2, 0.2, 0.2], [0.4, 0.4, 0.9, 0.4]])
    values, indices = neighbours._largest(similarity, 2)
    assert indices.tolist() == [[1, 2], [0, 1], [2, 0]]
    torch.testing.assert_close(values, torch.tensor([[0.9, 0.5], [0.7, 0.2], [0.9, 0.4]]))


@pytest.mark.parametrize("at_once", [1, 50, 121, 10_000])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    bank, query = features(40, 0), features(13, 1)
    whole = nearest(query, bank, 5)
    monkeypatch.setattr(neighbours, "_SIMILARITIES_AT_ONCE", at_once)
    similarities, indices = nearest(query, bank, 5)
    assert torch.equal(indices, whole[1])
    torch.testing.assert_close(similarities, whole[0], rtol=1e-14, atol=1e-15)


def test_a_zero_vector_is_equally_far_from_all() -> None:
    similarities, indices = nearest(torch.zeros(1, 4), features(9, 0).float(), 3)
    assert similarities.tolist() == [[0, 0, 0]]
    assert indices.tolist() == [[0, 1, 2]]


def test_tied_votes_go_to_the_smallest_label() -> None:
    labels = torch.tensor([[3, 1, 1, 3], [2, 2, 0, 0], [4, 3, 2, 1]])
    predictions = plain_vote(labels, [1, 2, 3, 4])
    assert predictions[1].tolist() == [3, 2, 4]
    assert predictions[2].tolist() == [1, 2, 3]
    assert predictions[3].tolist() == [1, 2, 2]
    assert predictions[4].tolist() == [1, 0, 1]


def test_weighted_vote_sums_exponentials() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (50, 9), generator=generator)
    similarities = (torch.rand(50, 9, generator=generator) * 2 - 1).sort(dim=1, descending=True).values
    votes = weighted_vote(similarities, labels, (1, 6, 9), 0.5, 4)
    for k, ours in votes.items():
        for row in range(50):
            scores = [0.0] * 4
            for position in range(k):
                scores[labels[row, position]] += math.exp(similarities[row, position] / 0.5)
            assert int(ours[row]) == max(range(4), key=scores.__getitem__)


def test_a_small_temperature_overflows_nothing() -> None:
    similarities, labels = torch.tensor([[0.9, 0.8, 0.8, 0.8]]), torch.tensor([[1, 0, 0, 0]])
    assert [int(label) for label in weighted_vote(similarities, labels, (1, 4), 1e-4, 2).values()] == [1, 1]
    assert int(weighted_vote(similarities, labels, (4,), 1.0, 2)[4]) == 0


def test_tied_votes_go_to_the_class_of_the_nearest() -> None:
    labels = torch.tensor([[3, 1, 1, 3, 0], [2, 2, 0, 0, 0], [4, 3, 2, 1, 0], [1, 2, 0, 0, 2]])
    predictions = plain_vote(labels, [1, 2, 3, 4, 5], "nearest")
    assert predictions[1].tolist() == [3, 2, 4, 1]
    assert predictions[2].tolist() == [3, 2, 4, 1]
    assert predictions[3].tolist() == [1, 2, 4, 1]
    assert predictions[4].tolist() == [3, 2, 4, 0]
    assert predictions[5].tolist() == [3, 0, 4, 2]


def test_ties_are_decided_as_by_counting() -> None:
    labels = torch.randint(0, 5, (300, 12), generator=torch.Generator().manual_seed(0))
    by_rule = {ties: plain_vote(labels, range(1, 13), ties) for ties in ("smallest", "nearest")}
    for k in range(1, 13):
        for row, voted in enumerate(labels[:, :k].tolist()):
            most = max(map(voted.count, voted))
            winners = [label for label in voted if voted.count(label) == most]
            assert int(by_rule["smallest"][k][row]) == min(winners)
            assert int(by_rule["nearest"][k][row]) == winners[0], "the first of them stands nearest"


@pytest.mark.parametrize("size", [64, 700, 1999])
@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize("levels", [3, 40, 10**6])
def test_the_search_by_groups_finds_what_a_stable_sort_finds(size: int, count: int, levels: int) -> None:
    """With few levels nearly all entries tie, also across groups and at the edge of the list."""
    generator = torch.Generator().manual_seed(size + count)
    similarity = torch.randint(levels, (40, size), generator=generator).float()
    values, indices = neighbours._largest(similarity, count)
    expected = similarity.sort(dim=1, descending=True, stable=True)
    assert torch.equal(values, expected.values[:, :count])
    assert torch.equal(indices, expected.indices[:, :count])


def test_features_that_are_no_numbers_are_refused() -> None:
    bank = features(5, 0)
    for wrong in (math.nan, math.inf, -math.inf):
        broken = bank.clone()
        broken[2, 1] = wrong
        with pytest.raises(ValueError, match="bank holds features that are NaN or infinite; allowed: finite"):
            nearest(bank, broken, 1)
        with pytest.raises(ValueError, match="query holds features that are NaN or infinite; allowed: finite"):
            nearest(broken, bank, 1)


def test_impossible_requests_are_refused() -> None:
    bank = features(5, 0)
    for count in (0, 6):
        with pytest.raises(ValueError, match=f"num_neighbours is {count}; allowed: 1 to the bank's 5"):
            nearest(bank, bank, count)
    labels = torch.zeros(2, 3, dtype=torch.int64)
    for k in (0, 4):
        with pytest.raises(ValueError, match=f"k is {k}; allowed: 1 to the 3"):
            plain_vote(labels, [1, k])
        with pytest.raises(ValueError, match=f"k is {k}; allowed: 1 to the 3"):
            weighted_vote(torch.zeros(2, 3), labels, [1, k], 0.1, 2)
    with pytest.raises(ValueError, match=r"temperature is 0\.0; allowed: above 0"):
        weighted_vote(torch.zeros(2, 3), labels, [1], 0.0, 2)
