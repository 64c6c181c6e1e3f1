"""The one nearest-neighbour kernel: the KNN probe, few-shot and the monitor during tuning all use it."""

from collections.abc import Collection

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

_SIMILARITIES_AT_ONCE = 2**24


def nearest(
    query: Float[Tensor, "query width"], bank: Float[Tensor, "bank width"], num_neighbours: int
) -> tuple[Float[Tensor, "query neighbour"], Int[Tensor, "query neighbour"]]:
    """The bank's entries of largest cosine similarity to each query, the nearest first.

    Exact search, in blocks of queries that keep memory bounded. Equal similarities are ordered by index in the bank,
    also at the edge of the list.

    Args:
        query: features, not normalised; a zero vector has similarity 0 to everything.
        bank: features to search.
        num_neighbours: how many to return for each query.

    Returns:
        Cosine similarities in descending order, and indices into `bank`.

    Raises:
        ValueError: more neighbours are asked for than the bank holds.
    """
    if not 1 <= num_neighbours <= len(bank):
        raise ValueError(f"num_neighbours is {num_neighbours}; allowed: 1 to the bank's {len(bank)} entries")
    directions = functional.normalize(bank, dim=1).T
    similarities = query.new_empty(len(query), num_neighbours)
    indices = torch.empty(len(query), num_neighbours, dtype=torch.int64, device=query.device)
    block = max(1, _SIMILARITIES_AT_ONCE // len(bank))
    for start in range(0, len(query), block):
        found = slice(start, start + block)
        similarities[found], indices[found] = _largest(
            functional.normalize(query[found], dim=1) @ directions, num_neighbours
        )
    return similarities, indices


def _largest(
    similarity: Float[Tensor, "query bank"], count: int
) -> tuple[Float[Tensor, "query neighbour"], Int[Tensor, "query neighbour"]]:
    """Top entries of each row in descending order, ties by index. `topk` itself leaves the order of ties open."""
    values, indices = similarity.topk(count, dim=1)
    # Where further entries equal the last one chosen, topk may have taken any of them: a stable sort decides.
    at_edge = ((similarity >= values[:, -1:]).sum(dim=1) > count).nonzero().squeeze(1)
    indices[at_edge] = similarity[at_edge].argsort(dim=1, descending=True, stable=True)[:, :count]
    indices = indices.sort(dim=1).values
    values, order = similarity.gather(1, indices).sort(dim=1, descending=True, stable=True)
    return values, indices.gather(1, order)


def plain_vote(
    labels_of_neighbours: Int[Tensor, "query neighbour"], ks: Collection[int]
) -> dict[int, Int[Tensor, " query"]]:
    """Majority label among the first k neighbours, for every k in one pass; ties go to the smallest label.

    Args:
        labels_of_neighbours: labels from 0, the nearest neighbour first.
        ks: how many neighbours vote.

    Raises:
        ValueError: a k below 1 or above the number of neighbours.
    """
    num_queries, num_neighbours = labels_of_neighbours.shape
    for k in ks:
        if not 1 <= k <= num_neighbours:
            raise ValueError(f"k is {k}; allowed: 1 to the {num_neighbours} neighbours given")
    num_classes = int(labels_of_neighbours.max()) + 1
    votes = torch.zeros(num_queries, num_classes, dtype=torch.int32, device=labels_of_neighbours.device)
    predictions = {}
    for position in range(max(ks)):
        label = labels_of_neighbours[:, position : position + 1]
        votes.scatter_add_(1, label, torch.ones_like(label, dtype=votes.dtype))
        if position + 1 in ks:
            predictions[position + 1] = votes.argmax(dim=1)
    return predictions


def weighted_vote(
    similarities: Float[Tensor, "query neighbour"],
    labels: Int[Tensor, "query neighbour"],
    k: int,
    temperature: float,
    num_classes: int,
) -> Int[Tensor, " query"]:
    """Label with the largest sum of exp(similarity / temperature) among the first k neighbours.

    Args:
        similarities: cosine similarities, the nearest neighbour first.
        labels: labels of the same neighbours, 0 to `num_classes` - 1.
        k: how many neighbours vote.
        temperature: divisor of the similarities.
        num_classes: number of classes.

    Raises:
        ValueError: k below 1 or above the number of neighbours, or a temperature of 0 or below.
    """
    if not 1 <= k <= labels.shape[1]:
        raise ValueError(f"k is {k}; allowed: 1 to the {labels.shape[1]} neighbours given")
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; allowed: above 0")
    scores = similarities.new_zeros(len(labels), num_classes)
    scores.scatter_add_(1, labels[:, :k], (similarities[:, :k] / temperature).exp())
    return scores.argmax(dim=1)
