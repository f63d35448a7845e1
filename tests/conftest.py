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


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory) -> Path:
    """A folder of weights (`GVF_MODELS_DIR`) that holds the set "untrained", small and random; not to be changed."""
    from gvf_core.models.random_weights import add_random
    from gvf_core.models.store import Store

    folder = tmp_path_factory.mktemp("weights")
    add_random(Store(folder).of_set("untrained"), "nano", seed=0)
    return folder
