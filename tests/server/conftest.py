"""The server that most tests share."""

from collections.abc import Iterator

import pytest
from server_under_test import Server, started


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """One server for every test that leaves it running."""
    with started(tmp_path_factory.mktemp("server"), "--max-upload-mb", "1") as running:
        yield running
