"""Files that appear whole or not at all: what failed half-way leaves an earlier file as it was."""

import filecmp
import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import FileError

LOGGER = logging.getLogger(__name__)


@contextmanager
def drafts_of(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Other names to write files under; if nothing fails, they take the places of the files at the end.

    They lie in a hidden folder beside the files, as a file can be replaced at once on its own disk only, and keep the
    suffixes, which Blender's exporters look at. What else is written into that folder goes along, such as the folder
    "textures" of USD: it belongs to all files beside it, so nothing in it is ever replaced.

    Args:
        paths: The files, of one folder.

    Raises:
        FileError: A file is write-protected, no file or cannot be replaced, or another file lies where one of those
            that go along belongs. In one that comes from the block, the files have their own names again.
    """
    for path in paths:
        _check(path)
    mark = f".{secrets.token_hex(4)}"
    folder = paths[0].parent / mark
    drafts = [folder / f"{mark}-{number}{path.suffix}" for number, path in enumerate(paths)]
    try:
        folder.mkdir()
    except OSError as error:
        text = f"Nothing can be written to {folder.parent} ({error.strerror})."
        raise FileError(text, "Choose another folder.") from error
    try:
        yield drafts
        with _added(folder, set(drafts)):
            _replace(drafts, paths)
    except FileError as error:
        message = error.message
        for draft, path in zip(drafts, paths, strict=True):
            message = message.replace(str(draft), str(path)).replace(draft.name, path.name)
        raise FileError(message, error.hint) from error
    finally:
        shutil.rmtree(folder, onerror=_remains)


@contextmanager
def _added(folder: Path, drafts: Set[Path]) -> Iterator[None]:
    """Put what goes along into place; if the block fails, take it away again."""
    moves = []
    for file in sorted(one for one in folder.rglob("*") if one.is_file() and one not in drafts):
        target = folder.parent / file.relative_to(folder)
        if not os.path.lexists(target):
            moves.append((file, target))
        elif not (target.is_file() and filecmp.cmp(file, target, shallow=False)):
            raise FileError(
                f"{target} is there already and differs from what goes with this file.",
                "Export into another folder, or remove it if no other file needs it.",
            )
    made = list(dict.fromkeys(target.parent for _, target in moves if not target.parent.exists()))
    moved = []
    try:
        for file, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            _move(file, target)
            moved.append(target)
        yield
    except BaseException:
        for target in moved:
            _remove(target)
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        raise


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
    replaced: list[tuple[Path, Path]] = []
    try:
        for draft, path in zip(drafts, paths, strict=True):
            if len(paths) > 1 and path.exists():
                earlier = draft.with_suffix(".earlier")
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


def _remains(function: object, path: str, error: object) -> None:
    LOGGER.warning("%s could not be removed", path)
