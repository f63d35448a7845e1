"""What a batch has done, one JSON object per line beside the manifest, so that a second run goes on where one ended."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from .errors import FileError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
    import msvcrt

_LOCKED_BYTE = 2**31 - 2
"""Windows locks bytes, also behind the end of a file, and lets nobody else read them."""


@dataclass(frozen=True)
class BatchRecord:
    """How one task ended.

    Attributes:
        key: Of the task.
        task: For people who read the file.
        state: "done" or "failed".
        output: The .blend file; empty if there is none.
        message: The error, or the warnings.
        seconds: How long it took.
    """

    key: str
    task: str
    state: str
    output: str
    message: str
    seconds: float


def state_path(manifest: Path) -> Path:
    """Where the state of a manifest is kept."""
    return manifest.with_name(manifest.stem + ".state.jsonl")


@contextmanager
def one_batch_at_a_time(state: Path) -> Iterator[None]:
    """Keep other processes out of a batch while the block runs; where the disk knows no locks, nothing is kept out.

    Raises:
        FileError: Another process runs the batch, or the state cannot be written.
    """
    try:
        file = state.open("ab")
    except OSError as error:
        raise FileError(f"{state} cannot be written ({error.strerror}).", "Check its permissions.") from error
    with file:
        if not _locks(file):
            raise FileError(f"Another batch keeps its state in {state}.", "Wait until it is done.")
        yield


def _locks(file: BinaryIO) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(_LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def finished_tasks(state: Path) -> set[str]:
    """Keys of the tasks that are noted as done.

    A line that was cut off when the computer stopped counts for nothing, nor does one that somebody changed.

    Raises:
        FileError: The file cannot be read.
    """
    try:
        lines = state.read_text(encoding="utf-8", errors="replace").splitlines() if state.exists() else []
    except OSError as error:
        raise FileError(f"{state} cannot be read ({error.strerror}).", "Check its permissions.") from error
    done = set()
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and record.get("state") == "done" and isinstance(record.get("key"), str):
            done.add(record["key"])
    return done


def append_record(path: Path, record: BatchRecord) -> None:
    """Note how a task ended.

    Raises:
        FileError: The file cannot be written.
    """
    try:
        whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
        with path.open("a", encoding="utf-8") as file:
            file.write(("" if whole else "\n") + json.dumps(asdict(record)) + "\n")
    except OSError as error:
        raise FileError(f"{path} could not be written ({error.strerror}).", "Free some disk space.") from error
