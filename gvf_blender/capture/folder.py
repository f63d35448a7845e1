"""A folder for the pictures that Blender can only hand over as files."""

import tempfile
from pathlib import Path

import bpy

from ..core.errors import FileError


def temporary_folder() -> Path:
    """A new folder in Blender's own temporary one.

    Raises:
        FileError: It cannot be made.
    """
    try:
        return Path(tempfile.mkdtemp(prefix="gvf-capture-", dir=bpy.app.tempdir))
    except OSError as error:
        raise FileError(
            f"No temporary folder can be made in {bpy.app.tempdir} ({error.strerror}).",
            "Set another Temporary Files folder in Blender's preferences.",
        ) from error
