"""Where the extension keeps what belongs to the user and to no .blend file."""

import tempfile
from pathlib import Path

import bpy

from .client import default_handshake_path
from .core.errors import FileError


def home_folder() -> Path:
    """Shared with the server and the command line; survives Blender, unlike its temporary folder."""
    return default_handshake_path().parent


def user_folder() -> Path:
    """The extension's own folder, which Blender keeps across updates; from a checkout, one in the home folder."""
    try:
        return Path(bpy.utils.extension_path_user(__package__))
    except (AttributeError, ValueError):  # Blender before 4.2; a package that is no installed extension
        return home_folder() / "blender"


def job_folders(results_folder: Path) -> Path:
    """Make the folder of results, and a new temporary folder for one job.

    Returns:
        The temporary folder.

    Raises:
        FileError: One of them cannot be made, for example because the disk is full.
    """
    try:
        results_folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix="gvf-"))
    except OSError as error:
        raise FileError(
            f"No folder can be made in {error.filename or tempfile.gettempdir()} ({error.strerror}).",
            "Free some disk space or choose another temporary folder.",
        ) from error
