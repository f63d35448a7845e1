"""Runs `server.media_process`, which looks into an upload; a broken file may crash or fill it without harm."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from gvf_core.errors import GvfError
from server.errors import GivenUpError

LOGGER = logging.getLogger(__name__)

Role = Literal["capture", "video", "look"]

OUT_OF_MEMORY = 3
"""Exit status of the process when memory ran out in a way that it noticed."""
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Bounds:
    """What the process may take.

    Attributes:
        seconds: Of the wall clock.
        cpu_seconds: Of all its threads together. Windows has no such limit, nor the following ones.
        memory_mb: Address space.
        file_mb: Largest file that it may write.
    """

    seconds: float
    cpu_seconds: float
    memory_mb: float
    file_mb: float = 0


class UnusableMediaError(GvfError):
    """The upload cannot be used; `code` is that of the core's error.

    Args:
        message: See `GvfError`.
        hint: See `GvfError`.
        code: See `GvfError`.
    """

    def __init__(self, message: str, hint: str = "", code: str = "bad_file") -> None:
        super().__init__(message, hint)
        self.code = code


class BeyondBoundsError(Exception):
    """It took more time or memory than it may."""


class BrokenError(Exception):
    """It failed, and neither its bounds nor a known fault of the file is the reason."""


def ask(
    role: Role,
    path: Path,
    name: str,
    details: dict[str, Any],
    bounds: Bounds,
    given_up: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """What the process says of a file.

    Args:
        role: What it looks for.
        path: The file.
        name: Under which the artist knows it.
        details: Of the role.
        bounds: What it may take.
        given_up: Asked several times a second, whether nobody wants the answer any more.

    Raises:
        UnusableMediaError: The file cannot be used.
        BeyondBoundsError: It took too much.
        BrokenError: It failed for another reason, which the log has.
        GivenUpError: `given_up` returned True.
    """
    command = [sys.executable, "-m", "server.media_process", role, str(path), name]
    command += [json.dumps(asdict(bounds)), json.dumps(details)]
    # one thread, whose memory is bounded: pools of threads reserve address space by the core
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    # Its other end closes with this server, whatever ends that.
    leash, ours = os.pipe()
    try:
        process = subprocess.Popen(
            command, env=environment, stdin=leash, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        os.close(leash)
        deadline = time.monotonic() + bounds.seconds
        with process:
            try:
                output, complaints = _finished(process, deadline, given_up)
            finally:
                process.kill()
    finally:
        os.close(ours)
    if process.returncode < 0 or process.returncode == OUT_OF_MEMORY:
        raise BeyondBoundsError
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError as error:
        LOGGER.warning(
            "looking into %s ended with status %d: %s",
            path.name,
            process.returncode,
            complaints.decode(errors="replace")[-2000:],
        )
        raise BrokenError(f"the process that looks into uploads ended with status {process.returncode}") from error
    if "error" in answer:
        raise UnusableMediaError(**answer["error"])
    return answer


def _finished(process: "subprocess.Popen[bytes]", deadline: float, given_up: Callable[[], bool]) -> tuple[bytes, bytes]:
    while True:
        try:
            return process.communicate(timeout=POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if given_up():
                raise GivenUpError("Nobody waits for this any more.", "Try again.") from None
            if time.monotonic() > deadline:
                raise BeyondBoundsError from None
