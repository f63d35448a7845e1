"""Where commands write is checked before they work for hours, and held while they do."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from gvf_core.errors import SettingsError

LOCK = ".lock"
"""In a folder that one of our commands writes into; it stays there."""


def check_folder_of(*outputs: Path | None) -> None:
    """Check that the folders of outputs exist; None is an output that was not asked for.

    Raises:
        SettingsError: One does not.
    """
    for output in outputs:
        if output is not None and not output.parent.is_dir():
            raise SettingsError(f"There is no folder {output.parent}.", "Create it or choose another place.")


def check_files(*outputs: Path | None) -> None:
    """Check that outputs can be files: their folders exist, and none of them is a folder; None is not asked for.

    Raises:
        SettingsError: One cannot.
    """
    check_folder_of(*outputs)
    for output in outputs:
        if output is not None and output.is_dir():
            raise SettingsError(f"The output {output} is a folder.", "Name a file.")


def check_figures(output: Path | None, names: Iterable[str]) -> None:
    """Check that figures can be written to a file, at most in place of earlier ones.

    Args:
        output: The file; None is not asked for.
        names: Of values that such figures have, or each of them if they are a list. Any other file, be it JSON, stays.

    Raises:
        SettingsError: It cannot be, or would replace something else.
    """
    check_files(output)
    if output is None:
        return
    if output.suffix != ".json":
        raise SettingsError(f"{output} does not end in .json.", "Choose a name that does.")
    if not output.exists():
        return
    try:
        if not output.stat().st_size:
            return
        earlier = json.loads(output.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        earlier = None
    if not all(isinstance(one, dict) and set(names) <= one.keys() for one in _listed(earlier)):
        raise SettingsError(f"{output} is there already and holds no figures of this kind.", "Choose another name.")


def _listed(figures: object) -> list[object]:
    return figures if isinstance(figures, list) and figures else [figures]


def check_results_folder(output: Path) -> None:
    """Check that a folder of results is new, empty or held by an earlier run, so that nothing else is replaced there.

    Raises:
        SettingsError: It is none of these.
    """
    check_folder_of(output)
    if output.exists() and not output.is_dir():
        raise SettingsError(f"The output {output} is a file.", "Choose a folder.")
    if output.is_dir() and not (output / LOCK).exists() and any(output.iterdir()):
        raise SettingsError(f"{output} holds other files.", "Choose a new folder, or that of an earlier run.")


@contextmanager
def alone_in(folder: Path, lock: str = LOCK) -> Iterator[None]:
    """Hold the lock of a folder, which is made if need be; the system frees it when its holder dies.

    Args:
        folder: Where a command writes.
        lock: Name of the lock's file there; one of its own for what may be written beside others.

    Raises:
        SettingsError: Another program holds it, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = _held(folder / lock, folder)
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written to ({error}).", "Choose another folder.") from error
    try:
        yield
    finally:
        held.release()


@contextmanager
def reserved(output: Path) -> Iterator[None]:
    """Hold an output, a folder or a file, that need not be there yet and in which nothing is left by this.

    Raises:
        SettingsError: Another program holds it, or nothing can be written there.
    """
    place = output if output.is_dir() else output.parent
    name = hashlib.sha256(os.fsencode(output.resolve())).hexdigest()[:16]
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
        held = _held(Path(tempfile.gettempdir()) / f"gvf-{name}.lock", output)
    except OSError as error:
        raise SettingsError(
            f"Nothing can be written to {place} ({error.strerror}).", "Choose another place."
        ) from error
    try:
        yield
    finally:
        held.release()


def _held(lock: Path, what: Path) -> FileLock:
    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except Timeout as error:
        raise SettingsError(f"Another program is writing into {what}.", "Wait for it, or choose another.") from error
    return held
