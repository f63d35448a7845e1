"""Files that appear whole or not at all: what failed half-way leaves an earlier file as it was."""

import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import FileError

LOGGER = logging.getLogger(__name__)


@contextmanager
def drafts_of(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Other names to write files under; if nothing fails, they take the places of the files at the end.

    They lie in the folder of the files, as a USD file names its textures relative to itself and a file can be replaced
    at once on its own disk only, and keep the suffixes, which Blender's exporters look at.

    Args:
        paths: The files.

    Raises:
        FileError: A file is write-protected, no file or cannot be replaced. In one that comes from the block, the files
            have their own names again.
    """
    mark = secrets.token_hex(4)
    drafts = [path.with_name(f".{mark}-{number}{path.suffix}") for number, path in enumerate(paths)]
    for path in paths:
        _check(path)
    try:
        yield drafts
        _replace(drafts, paths, mark)
    except FileError as error:
        message = error.message
        for draft, path in zip(drafts, paths, strict=True):
            message = message.replace(draft.name, path.name)
        raise FileError(message, error.hint) from error
    finally:
        for draft in drafts:
            _remove(draft)


def _check(path: Path) -> None:
    try:
        exists = path.exists()
    except OSError as error:
        raise FileError(f"{path} cannot be written ({error.strerror}).", "Choose another name.") from error
    if exists and not path.is_file():
        raise FileError(f"{path} is no file.", "Choose another name.")
    # A file can be replaced also where it cannot be written, which is not what its owner wants.
    if exists and not os.access(path, os.W_OK):
        raise FileError(f"{path} is write-protected.", "Choose another name.")


def _replace(drafts: Sequence[Path], paths: Sequence[Path], mark: str) -> None:
    """Put all drafts into their places, or none; one alone goes there at once."""
    replaced: list[tuple[Path, Path]] = []
    try:
        for number, (draft, path) in enumerate(zip(drafts, paths, strict=True)):
            if len(paths) > 1 and path.exists():
                earlier = path.with_name(f".{mark}-{number}.earlier")
                _move(path, earlier)
                replaced.append((earlier, path))
            _move(draft, path)
    except FileError:
        written = paths[: len(paths) - sum(draft.exists() for draft in drafts)]
        for path in written:
            _remove(path)
        for earlier, path in replaced:
            earlier.replace(path)
        raise
    for earlier, _ in replaced:
        _remove(earlier)


def _move(path: Path, target: Path) -> None:
    try:
        path.replace(target)
    except OSError as error:
        raise FileError(
            f"{target} could not be replaced ({error.strerror}).",
            "Choose another name, or close the program that has it open.",
        ) from error


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        LOGGER.warning("%s could not be removed: %s", path, error)
