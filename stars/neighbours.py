"""The one nearest-neighbour kernel: the KNN probe, few-shot and the monitor during tuning all use it."""

from collections.abc import Collection
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

Ties = Literal["smallest", "nearest"]
"""Which of the classes with most votes wins: the one of the smallest label, or the one of the nearest neighbour."""

# On a processor a block is to stay in the cache that its multiplication has left it in.
_SIMILARITIES_AT_ONCE = 2**22
_SIMILARITIES_AT_ONCE_ON_A_GPU = 2**27
_GROUP = 64


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
        ValueError: more neighbours are asked for than the bank holds, or a feature is not finite.
    """
    if not 1 <= num_neighbours <= len(bank):
        raise ValueError(f"num_neighbours is {num_neighbours}; allowed: 1 to the bank's {len(bank)} entries")
    for name, features in (("query", query), ("bank", bank)):
        # A NaN anywhere becomes both ends; `isfinite` of everything takes ten times as long.
        if features.numel() and not all(bool(end.isfinite()) for end in features.aminmax()):
            raise ValueError(f"{name} holds features that are NaN or infinite; allowed: finite ones")
    directions = functional.normalize(bank, dim=1).T
    similarities = query.new_empty(len(query), num_neighbours)
    indices = torch.empty(len(query), num_neighbours, dtype=torch.int64, device=query.device)
    at_once = _SIMILARITIES_AT_ONCE_ON_A_GPU if query.is_cuda else _SIMILARITIES_AT_ONCE
    block = max(1, at_once // len(bank))
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
    # One more than asked for tells whether further entries equal the last one chosen: any of them may be there then.
    values, indices = _some_largest(similarity, min(count + 1, similarity.shape[1]))
    at_edge = (values[:, count - 1 : count] == values[:, count:]).any(dim=1).nonzero().squeeze(1)
    values, indices = values[:, :count], indices[:, :count]
    if len(at_edge):
        indices[at_edge] = _first_of_equals(similarity[at_edge], values[at_edge, -1:], count)
    indices = indices.sort(dim=1).values
    values, order = similarity.gather(1, indices).sort(dim=1, descending=True, stable=True)
    return values, indices.gather(1, order)


def _some_largest(
    similarity: Float[Tensor, "query bank"], count: int
) -> tuple[Float[Tensor, "query neighbour"], Int[Tensor, "query neighbour"]]:
    """Top entries of each row in descending order, and where they stand; which of equal ones is open.

    Searches only the `count` groups of entries with the largest maxima. An entry elsewhere is no larger than its
    group's maximum, so at least as many entries as are asked for are no smaller.
    """
    num_groups = similarity.shape[1] // _GROUP
    if num_groups <= 2 * count:
        return similarity.topk(count, dim=1)
    grouped = similarity[:, : num_groups * _GROUP].view(-1, num_groups, _GROUP)
    groups = grouped.amax(dim=2).topk(count, dim=1, sorted=False).indices
    members = torch.arange(_GROUP, device=similarity.device)
    inside = (groups[:, :, None] * _GROUP + members).flatten(1)
    behind = torch.arange(num_groups * _GROUP, similarity.shape[1], device=similarity.device)
    candidates = torch.cat((inside, behind.expand(len(similarity), -1)), dim=1)
    values, places = similarity.gather(1, candidates).topk(count, dim=1)
    return values, candidates.gather(1, places)


def _first_of_equals(
    similarity: Float[Tensor, "query bank"], edge: Float[Tensor, "query 1"], count: int
) -> Int[Tensor, "query neighbour"]:
    """Where in each row the entries above the edge stand, and as many of those at the edge as are left, first ones."""
    above, equal = similarity > edge, similarity == edge
    left = count - above.sum(dim=1, keepdim=True)
    chosen = above | (equal & (equal.cumsum(dim=1) <= left))
    return chosen.nonzero()[:, 1].view(len(similarity), count)


def plain_vote(
    labels_of_neighbours: Int[Tensor, "query neighbour"], ks: Collection[int], ties: Ties = "smallest"
) -> dict[int, Int[Tensor, " query"]]:
    """Majority label among the first k neighbours, for every k in one pass.

    Args:
        labels_of_neighbours: labels from 0, the nearest neighbour first.
        ks: how many neighbours vote.
        ties: which of the labels with most votes wins.

    Raises:
        ValueError: a k below 1 or above the number of neighbours.
    """
    num_queries, num_neighbours = labels_of_neighbours.shape
    _check_ks(ks, num_neighbours)
    num_classes = int(labels_of_neighbours.max()) + 1
    # A vote outweighs all that a label gains by coming first.
    vote = num_neighbours + 1
    scores = torch.zeros(num_queries, num_classes, dtype=torch.int64, device=labels_of_neighbours.device)
    predictions = {}
    for position in range(max(ks)):
        label = labels_of_neighbours[:, position : position + 1]
        weight = torch.full_like(label, vote, dtype=scores.dtype)
        if ties == "nearest":
            weight += (num_neighbours - position) * (scores.gather(1, label) == 0)
        scores.scatter_add_(1, label, weight)
        if position + 1 in ks:
            predictions[position + 1] = scores.argmax(dim=1)
    return predictions


def weighted_vote(
    similarities: Float[Tensor, "query neighbour"],
    labels: Int[Tensor, "query neighbour"],
    ks: Collection[int],
    temperature: float,
    num_classes: int,
) -> dict[int, Int[Tensor, " query"]]:
    """Label with the largest sum of exp(similarity / temperature) among the first k neighbours, for every k at once.

    Args:
        similarities: cosine similarities, the nearest neighbour first.
        labels: labels of the same neighbours, 0 to `num_classes` - 1.
        ks: how many neighbours vote.
        temperature: divisor of the similarities.
        num_classes: number of classes.

    Raises:
        ValueError: a k below 1 or above the number of neighbours, or a temperature of 0 or below.
    """
    _check_ks(ks, labels.shape[1])
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; allowed: above 0")
    # Relative to the nearest, which changes no order, and overflows at no temperature.
    weights = ((similarities - similarities[:, :1]) / temperature).exp()
    scores = similarities.new_zeros(len(labels), num_classes)
    predictions = {}
    for position in range(max(ks)):
        one = slice(position, position + 1)
        scores.scatter_add_(1, labels[:, one], weights[:, one])
        if position + 1 in ks:
            predictions[position + 1] = scores.argmax(dim=1)
    return predictions


def _check_ks(ks: Collection[int], num_neighbours: int) -> None:
    for k in ks:
        if not 1 <= k <= num_neighbours:
            raise ValueError(f"k is {k}; allowed: 1 to the {num_neighbours} neighbours given")
