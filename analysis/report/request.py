"""What a report is asked to show."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which numbers the tables of a report hold, and which figures stand beside them.

    Attributes:
        metric: which numbers.
        k: neighbours, for KNN numbers.
        split: samples the numbers are measured on.
        figures: `none`; `all`; or `embedding`, all and t-SNE panels, which take seconds a sweep.
    """

    metric: str = "accuracy"
    k: int | None = 10
    split: Literal["train", "val", "test"] = "test"
    figures: Literal["none", "all", "embedding"] = "all"
