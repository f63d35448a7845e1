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
        FileError: A file is write-protected or cannot be replaced. In one that comes from the block, the files have
            their own names again.
    """
    prefix = f".{secrets.token_hex(4)}-"
    drafts = [path.with_name(prefix + path.name) for path in paths]
    for path in paths:
        # A file can be replaced also where it cannot be written, which is not what its owner wants.
        if path.exists() and not os.access(path, os.W_OK):
            raise FileError(f"{path} is write-protected.", "Choose another name.")
    try:
        yield drafts
        for draft, path in zip(drafts, paths, strict=True):
            _move(draft, path)
    except FileError as error:
        raise FileError(error.message.replace(prefix, ""), error.hint) from error
    finally:
        for draft in drafts:
            _remove(draft)


def _move(draft: Path, path: Path) -> None:
    try:
        draft.replace(path)
    except OSError as error:
        raise FileError(
            f"{path} could not be replaced ({error.strerror}).",
            "Choose another name, or close the program that has it open.",
        ) from error


def _remove(draft: Path) -> None:
    try:
        draft.unlink(missing_ok=True)
    except OSError as error:
        LOGGER.warning("%s could not be removed: %s", draft, error)
