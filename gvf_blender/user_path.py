"""Paths as people enter them: "//" stands for the folder of the .blend file, "~" for somebody's home."""

import os
from pathlib import Path

import bpy

from .core.errors import FileError
from .core.sentence import Sentence


def user_path(text: str | Path) -> Path:
    """The file or folder that is meant, which need not exist.

    Raises:
        FileError: The home of a user that this machine does not know, or something that no path can hold.
    """
    if not isinstance(text, str | os.PathLike):
        raise FileError(f"{text!r} is no path.", "Write it as text.")
    if str(text).startswith("//") and not bpy.data.filepath:
        # Blender would take it for a path from wherever it was started.
        message = Sentence("{path} is meant from the folder of the .blend file, which was never saved.", path=text)
        raise FileError(message, Sentence("Save the .blend file first."))
    path = Path(bpy.path.abspath(str(text)))
    if "\0" in str(path):
        # Some functions of Python refuse it, and Blender's would take what stands before it for the path.
        message = Sentence("The path {path!r} has a null character in it.", path=str(path))
        raise FileError(message, Sentence("Write it without."))
    try:
        return path.expanduser()
    except RuntimeError as error:
        message = Sentence("The home folder in {path} is not known on this machine.", path=path)
        raise FileError(message, Sentence("Write the whole path.")) from error


def real_path(text: str | Path) -> Path:
    """The same without links, where they lead somewhere.

    Raises:
        FileError: As `user_path`.
    """
    return Path(os.path.realpath(user_path(text)))
