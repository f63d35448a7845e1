"""Files that appear whole or not at all: what failed half-way leaves an earlier file as it was."""

import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .errors import FileError

LOGGER = logging.getLogger(__name__)

_EARLIER = ".earlier"


@contextmanager
def drafts_of(paths: Sequence[Path], companion: Path | None = None) -> Iterator[list[Path]]:
    """Other names to write files under; if nothing fails, they take the places of the files at the end.

    They lie in a hidden folder beside the files, as a file can be replaced at once on its own disk only, and keep the
    suffixes, which Blender's exporters look at. What else is written into that folder goes with it.

    Args:
        paths: The files, of one folder.
        companion: A folder beside the first file that belongs to it. The last draft is its; if that is not made, the
            folder of an earlier file goes.

    Raises:
        FileError: A file is write-protected, no file or cannot be replaced, or the companion is there without the file.
            In one that comes from the block, the files have their own names again.
    """
    for path in paths:
        _check(path)
    if companion is not None and os.path.lexists(companion) and not (companion.is_dir() and paths[0].exists()):
        raise FileError(
            f"{companion} is there already, but no {paths[0].name} that it belongs to.",
            "Choose another name, or remove it if no other file needs it.",
        )
    mark = f".{secrets.token_hex(4)}"
    folder = paths[0].parent / mark
    targets = [*paths, *([] if companion is None else [companion])]
    drafts = [folder / f"{mark}-{number}{path.suffix}" for number, path in enumerate(targets)]
    try:
        folder.mkdir()
    except OSError as error:
        text = f"Nothing can be written to {folder.parent} ({error.strerror})."
        raise FileError(text, "Choose another folder.") from error
    replaced = False
    try:
        yield drafts
        _replace(drafts, targets)
        replaced = True
    except FileError as error:
        message = error.message
        for draft, path in zip(drafts, targets, strict=True):
            message = message.replace(str(draft), str(path)).replace(draft.name, path.name)
        raise FileError(message, error.hint) from error
    finally:
        # What of the artist's could not be put back stays there.
        if replaced or not any(folder.glob(f"*{_EARLIER}")):
            shutil.rmtree(folder, onerror=_remains)


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


def _replace(drafts: Sequence[Path], paths: Sequence[Path]) -> None:
    """Put all drafts into their places, or none; one alone goes there at once."""
    pairs = [pair for pair in zip(drafts, paths, strict=True) if any(map(os.path.lexists, pair))]
    with ExitStack() as back:
        # What belongs to the first file comes last, and is in its place before the file is.
        for draft, path in reversed(pairs):
            if len(pairs) > 1 and os.path.lexists(path):
                earlier = draft.with_suffix(_EARLIER)
                _move(path, earlier)
                back.callback(_put_back, earlier, path)
            if draft.exists():
                _move(draft, path)
                back.callback(path.replace, draft)
        back.pop_all()


def _move(path: Path, target: Path) -> None:
    try:
        path.replace(target)
    except OSError as error:
        raise FileError(
            f"{target} could not be replaced ({error.strerror}).",
            "Choose another name, or close the program that has it open.",
        ) from error


def _put_back(earlier: Path, path: Path) -> None:
    try:
        earlier.replace(path)
    except OSError as error:
        text = f"{path} could not be put back ({error.strerror}). It is now {earlier}."
        raise FileError(text, "Move it yourself, with the program closed that has one of them open.") from error


def _remains(function: object, path: str, error: object) -> None:
    LOGGER.warning("%s could not be removed", path)
