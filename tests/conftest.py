"""Fixtures of all tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def examples() -> Path:
    """The demo's asset, driving video and true motion."""
    return Path(__file__).parents[1] / "examples"
