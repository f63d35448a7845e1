"""Fixtures of all tests: the reference data, where it is at hand."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with assets and reference data that are too large for the repository."""
    folder = Path(os.environ.get("GVF_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("The reference data is not at hand; set GVF_SHARED to its folder.")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Seeded inputs and outputs of the official modules."""
    return shared / "reference" / "golden"


@pytest.fixture(scope="session")
def examples() -> Path:
    """The demo's asset, driving video and true motion."""
    return ROOT / "examples"
