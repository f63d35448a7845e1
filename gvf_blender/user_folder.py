"""Where the extension keeps what belongs to the user and to no .blend file."""

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import bpy

from .client import default_handshake_path
from .core.data_places import DataPlaces
from .core.errors import FileError
from .core.sentence import Sentence
from .user_path import user_path


def user_folder() -> Path:
    """The extension's own folder, which Blender keeps across updates; from a checkout, one in the home folder."""
    try:
        return Path(bpy.utils.extension_path_user(__package__))
    except (AttributeError, ValueError):  # Blender before 4.2; a package that is no installed extension
        return default_handshake_path().parent / "blender"


def chosen_folder() -> Path | None:
    """The Data Folder of the preferences; None while none is chosen, or GVF_HOME names another one."""
    text = _preference("data_folder")
    return absolute_path(text) if text and not os.environ.get("GVF_HOME") else None


def chosen_folders() -> list[Path]:
    """All Data Folders that were ever chosen."""
    return [Path(line) for line in _preference("data_folders").splitlines()]


def data_places() -> DataPlaces:
    """Where data goes now: below the Data Folder, else to the usual places."""
    return _places(chosen_folder())


def all_data_places() -> list[DataPlaces]:
    """The places of now and all earlier ones, where data may have stayed."""
    return [data_places(), _places(None), *map(_places, chosen_folders())]


def left_behind() -> Iterator[tuple[str, Path]]:
    """Which data is at an earlier place, as a field of `DataPlaces`, and where."""
    now, *earlier = all_data_places()
    for kind in ("environment", "models", "results", "tracks", "start_frames", "jobs"):
        for place in dict.fromkeys(getattr(places, kind) for places in earlier):
            if place != getattr(now, kind) and _holds_something(place):
                yield kind, place


def write_obstacle(folder: Path) -> Sentence | None:
    """Why nothing can be written into a folder that need not be there yet; None if it looks as if it could."""
    there = next((path for path in (folder, *folder.parents) if _is_there(path)), None)
    if there is not None and there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return None
    return Sentence("The folder {folder} cannot be written. Choose another Data Folder.", folder=folder)


def absolute_path(text: str) -> Path | None:
    """The path that was entered; None where none was."""
    if not text.strip():
        return None
    try:
        return user_path(text.strip()).absolute()
    except FileError:  # whoever looks there says that nothing is
        return Path(bpy.path.abspath(text.strip()))


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
            "Free some disk space, or choose another Data Folder or another temporary folder in the preferences.",
        ) from error


def _preference(name: str) -> str:
    """Of the enabled add-on, which imports this module; empty for a package that was registered from a script."""
    addon = bpy.context.preferences.addons.get(__package__)
    return getattr(addon.preferences, name, "").strip() if addon is not None else ""


def _places(folder: Path | None) -> DataPlaces:
    if folder is not None:
        places = DataPlaces.below(folder)
    else:
        home = default_handshake_path().parent
        places = replace(
            DataPlaces.below(home),
            environment=user_folder() / "environment",
            models=_usual_data_folder() / "gvf-blender" / "models",
            jobs=user_folder() / "server" / "data",
        )
    named = os.environ.get("GVF_MODELS_DIR")
    return replace(places, models=Path(named)) if named else places


def _usual_data_folder() -> Path:
    """Where programs keep data of their users, as the server's `platformdirs` has it."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # behind a folder that may not be read
        return False


def _holds_something(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError:
        return False
