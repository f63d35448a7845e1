"""One program at a time writes into a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from gvf_core.errors import SettingsError

_NAME = ".lock"


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which is made if need be; the system frees it when its holder dies.

    Raises:
        SettingsError: Another program holds it, or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / _NAME, timeout=0)
        lock.acquire()
    except Timeout as error:
        raise SettingsError(f"Another program is writing into {folder}.", "Wait for it, or choose another.") from error
    except OSError as error:
        raise SettingsError(f"{folder} cannot be written to ({error}).", "Choose another folder.") from error
    try:
        yield
    finally:
        lock.release()
