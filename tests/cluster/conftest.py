"""One Ray cluster for all tests that need one."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """A local cluster of two processors, stopped at the end."""
    from cluster.session import session

    with session():
        yield
