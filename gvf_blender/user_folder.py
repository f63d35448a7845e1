"""Where the extension keeps what belongs to the user and to no .blend file."""

from pathlib import Path

import bpy

from .client import default_handshake_path


def home_folder() -> Path:
    """Shared with the server and the command line; survives Blender, unlike its temporary folder."""
    return default_handshake_path().parent


def user_folder() -> Path:
    """The extension's own folder, which Blender keeps across updates; from a checkout, one in the home folder."""
    try:
        return Path(bpy.utils.extension_path_user(__package__))
    except (AttributeError, ValueError):  # Blender before 4.2; a package that is no installed extension
        return home_folder() / "blender"
