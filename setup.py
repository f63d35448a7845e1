"""Takes the version from blender_manifest.toml, its one place; everything else is in pyproject.toml."""

import tomllib
from pathlib import Path

from setuptools import setup

manifest = tomllib.loads((Path(__file__).parent / "blender_manifest.toml").read_text())
setup(version=manifest["version"])
