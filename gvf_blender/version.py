"""Which version of the extension this is."""

from functools import cache
from importlib import resources


@cache
def extension_version() -> str:
    """From the manifest that is packed with the extension; a checkout has it one folder higher."""
    try:
        text = resources.files(__package__).joinpath("blender_manifest.toml").read_text(encoding="utf-8")
    except OSError:
        return "from a checkout"
    return next((line.split('"')[1] for line in text.splitlines() if line.startswith("version =")), "unknown")
