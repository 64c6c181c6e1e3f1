"""A queue of fixed size: the newest vectors of a training, written over the oldest."""

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor


@torch.no_grad()
def write_round(
    queue: Shaped[Tensor, "*width column"], pointer: Int64[Tensor, "1"], entries: Shaped[Tensor, "*width batch"]
) -> None:
    """Write the entries into the columns from the pointer on, in place, going on at the first behind the last.

    Of more entries than there are columns the last stay. The pointer is left where it is: `advance` moves it.
    """
    num_columns, num_entries = queue.shape[-1], entries.shape[-1]
    order = torch.arange(max(0, num_entries - num_columns), num_entries, device=queue.device)
    queue.index_copy_(-1, (pointer + order) % num_columns, entries[..., order])


@torch.no_grad()
def advance(pointer: Int64[Tensor, "1"], num_entries: int, num_columns: int) -> None:
    """Move the pointer behind the entries, in place."""
    pointer.copy_((pointer + num_entries) % num_columns)
