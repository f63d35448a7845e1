"""Fixtures of all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def examples() -> Path:
    """The demo's asset, driving video and true motion."""
    return Path(__file__).parents[1] / "examples"
