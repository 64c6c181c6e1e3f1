"""Where the features that a linear classifier learns from come from: encoded anew at every step, or stored.

Shapes: see `stars.probes.linear_training`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from stars import draws
from stars.data.batches import Clips, View, draw, views
from stars.model.encoder import Encoder
from stars.probes.linear_training import Look, Source
from stars.runtime import Runtime


class FreshCrops(Source):
    """Features of crops that are drawn anew and encoded, shared among the workers."""

    def __init__(
        self, encoder: Encoder, clips: Clips, rows: Int64[Tensor, " sample"], view: View, runtime: Runtime
    ) -> None:
        """Bind a frozen encoder to the training part, whose rows in the store these are."""
        self._encoder, self._clips, self._rows, self._view, self._runtime = encoder, clips, rows, view, runtime

    @torch.no_grad()
    def see(
        self, step: int, looks: Sequence[Look], positions: Int64[Tensor, "look batch"]
    ) -> Float[Tensor, "look batch width"]:
        """Drawn for the global batch, encoded in shares, gathered."""
        rank, world_size = self._runtime.rank, self._runtime.world_size
        share = positions.shape[1] // world_size
        seen = []
        for look, rows in zip(looks, self._rows[positions], strict=True):
            generator = draws.generator(look.seed, step, "view") if self._view.is_random else None
            cut = draw(self._view, self._clips.valid[rows], generator).part(rank, world_size)
            x = views(self._clips, rows[rank * share : (rank + 1) * share], self._view, cut)
            seen.append(self._runtime.gather(self._encoder(x)))
        return torch.stack(seen)


class StoredFeatures(Source):
    """Features that are there already, of one crop or several."""

    def __init__(self, features: Float[Tensor, "entry width"], crops: Int64[Tensor, "crop sample"]) -> None:
        """Take features on the device, and where among them each crop of each training sample is."""
        self._features, self._crops = features, crops

    def see(
        self, step: int, looks: Sequence[Look], positions: Int64[Tensor, "look batch"]
    ) -> Float[Tensor, "look batch width"]:
        """The same on every worker: there is nothing to share."""
        num_crops, drawn = len(self._crops), torch.zeros_like(positions)
        if num_crops > 1:
            for chosen, look in zip(drawn, looks, strict=True):
                chosen.random_(num_crops, generator=draws.generator(look.seed, step, "crop"))
        return self._features[self._crops[drawn, positions].to(self._features.device)]


def entries(found: Int64[Tensor, " entry"], wanted: Int64[Tensor, " sample"]) -> Int64[Tensor, "crop sample"]:
    """Where the entries of each sample are, in the order of `wanted`; the first of each, then the second, …

    Args:
        found: row of every entry; those of `wanted` and no others.
        wanted: different rows.

    Raises:
        ValueError: not equally many entries of every sample.
    """
    rows, counts = torch.unique(found, return_counts=True)
    if len(counts.unique()) != 1:
        most, fewest = int(rows[counts.argmax()]), int(rows[counts.argmin()])
        raise ValueError(
            f"the features hold row {most} {int(counts.max())} times and row {fewest} {int(counts.min())} times; "
            "allowed: equally many crops of every sample"
        )
    by_row = found.argsort(stable=True).view(len(rows), -1)
    return by_row[wanted.argsort().argsort()].T
