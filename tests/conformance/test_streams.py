"""Sequences at another length and as other streams against the numbers of the published code."""

import re

import numpy as np
import pytest
import torch

from stars.model.encoder import resize_times
from tests.conformance.vectors import load

ARRAYS, _ = load("g_streams_and_temp_embed")
RESIZED = [match for name in ARRAYS if (match := re.fullmatch(r"(temp_embed_\d+)_to_(\d+)", name))]


def test_there_are_lengths_to_compare() -> None:
    assert RESIZED


@pytest.mark.parametrize("resized", RESIZED, ids=lambda match: str(match[0]))
def test_the_table_of_times_at_another_length(resized: re.Match[str]) -> None:
    ours = resize_times(torch.from_numpy(ARRAYS[resized[1]]), int(resized[2]))
    np.testing.assert_allclose(ours, ARRAYS[resized[0]], rtol=1e-5, atol=1e-6)
