"""Makes a Python environment that can run the server, from the wheel that the extension carries."""

import hashlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from ..core.errors import FileError, GvfBlenderError, JobCancelled

LOGGER = logging.getLogger(__name__)

_TOLD = ("Collecting", "Downloading", "Using cached", "Building", "Installing")
_PINNED_FOR = (3, 11)


class Installation:
    """One environment. `run` waits for minutes, so it belongs into a thread; everything else may be called meanwhile.

    Interrupted at any moment, the next run goes on: the environment is kept, pip remembers what it has downloaded, and
    a finished installation of the same wheel is not repeated.

    Args:
        python: The Python to make the environment with.
        folder: Where the environment shall be.
        wheel: The wheel to install, with its extra `server`.
        constraints: Pinned versions, used under the Python that they were made for; None for no pins.
        options: Further arguments of pip.

    Attributes:
        step: What is being done, for people; empty while nothing is.
        log: Everything that was said.
    """

    def __init__(
        self, python: Path, folder: Path, wheel: Path, constraints: Path | None = None, options: Sequence[str] = ()
    ) -> None:
        self.step = ""
        self.log = folder.with_name(folder.name + ".log")
        self._base, self._folder, self._wheel = python, folder, wheel
        self._options = list(options)
        if constraints is not None and sys.version_info[:2] == _PINNED_FOR:
            self._options += ["-c", str(constraints)]
        self._process: subprocess.Popen[str] | None = None
        self._cancelled = threading.Event()

    @property
    def python(self) -> Path:
        """The environment's Python, there or not."""
        return self._folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def is_complete(self) -> bool:
        """Whether this very wheel is installed."""
        try:
            return self._stamp.read_text() == self._fingerprint()
        except OSError:
            return False

    def run(self) -> Path:
        """Make the environment and install into it.

        Returns:
            Its Python.

        Raises:
            JobCancelled: `cancel` was called.
            FileError: The folder cannot be written.
            GvfBlenderError: Python or pip failed; the message has its last words.
        """
        self._cancelled.clear()
        try:
            if not self.is_complete:
                self._install()
        except OSError as error:
            raise FileError(
                f"The environment cannot be made in {self._folder} ({error.strerror or error}).",
                "Free some disk space, about 6 GB; then press Install again.",
            ) from error
        finally:
            self.step = ""
        return self.python

    def cancel(self) -> None:
        """Stop the run; the next one goes on from there."""
        self._cancelled.set()
        process = self._process
        if process is not None:
            process.terminate()

    def _install(self) -> None:
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        self._stamp.unlink(missing_ok=True)
        self.log.write_text("")
        self.step = "Making the environment"
        if not self._works("import pip"):
            self._call([str(self._base), "-m", "venv", "--clear", str(self._folder)])
        self.step = "Installing packages"
        pip = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
        self._call([*pip, *self._options, f"{self._wheel}[server]"])
        self._stamp.write_text(self._fingerprint())

    def _works(self, statement: str) -> bool:
        if not self.python.exists():
            return False
        command = [str(self.python), "-c", statement]
        return subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0

    def _call(self, command: list[str]) -> None:
        """Run a command to its end; what it says goes into the log, and some of it becomes the step."""
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
        last = ""
        with (
            self.log.open("a", encoding="utf-8") as log,
            subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            ) as process,
        ):
            self._process = process
            if self._cancelled.is_set():
                process.terminate()
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                log.flush()
                last = line.strip() or last
                if last.startswith(_TOLD):
                    self.step = last[:80]
            code = process.wait()
        self._process = None
        if self._cancelled.is_set():
            raise JobCancelled("The installation was cancelled.", "Press Install to go on with it.")
        if code != 0:
            raise GvfBlenderError(
                f"The installation failed: {last or f'exit code {code}'}.",
                f"{self.log} has the details. Press Install to go on with it.",
            )

    @property
    def _stamp(self) -> Path:
        return self._folder / "installed-for"

    def _fingerprint(self) -> str:
        return f"{self._wheel.name} {hashlib.sha256(self._wheel.read_bytes()).hexdigest()}"
