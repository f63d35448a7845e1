"""Makes a Python environment that can run the server, from the wheel that the extension carries."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from ..core.errors import FileError, GvfBlenderError, JobCancelled
from ..core.sentence import Sentence
from ..core.stillness import stay
from ..core.torch_build import CPU_WHEELS, TorchBuild, can_choose, disk_megabytes
from .environment import Environment

LOGGER = logging.getLogger(__name__)

_TOLD = ("Collecting", "Downloading", "Using cached", "Building", "Installing")
_PINNED_FOR = (3, 11)


class Installation:
    """One environment. `run` waits for minutes, so it belongs into a thread; everything else may be called meanwhile.

    Interrupted at any moment, the next run goes on: the environment is kept, pip remembers what it has downloaded, and
    a finished installation of the same wheel is not repeated.

    Args:
        python: The Python to make the environment with.
        environment: Where it shall be.
        wheel: The wheel to install, with its extra `server`.
        constraints: Pinned versions, used under the Python that they were made for; None for no pins.
        options: Further arguments of pip.
        build: Which build of PyTorch. An environment with another one is made anew.
        make_way: Called before anything in the environment changes, to end what runs from there; may refuse by raising.

    Attributes:
        step: What is being done, for people; empty while nothing is.
        log: Everything that was said.
    """

    def __init__(
        self,
        python: Path,
        environment: Environment,
        wheel: Path,
        constraints: Path | None = None,
        options: Sequence[str] = (),
        build: TorchBuild = TorchBuild.CUDA,
        make_way: Callable[[], None] = lambda: None,
    ) -> None:
        self.step: str = ""
        self.log = environment.folder.with_name(environment.folder.name + ".log")
        self._base, self._environment, self._wheel = python, environment, wheel
        self._build, self._make_way = build, make_way
        self._options = list(options)
        if constraints is not None and sys.version_info[:2] == _PINNED_FOR:
            self._options += ["-c", str(constraints)]
        self._process: subprocess.Popen[str] | None = None
        self._cancelled = threading.Event()

    @property
    def python(self) -> Path:
        """The environment's Python, there or not."""
        return self._environment.python

    @property
    def is_complete(self) -> bool:
        """Whether this very wheel is installed."""
        try:
            return self._environment.holds(self._wheel, self._build)
        except OSError:
            return False

    def run(self) -> Path:
        """Make the environment and install into it.

        Returns:
            Its Python.

        Raises:
            JobCancelled: `cancel` was called.
            FileError: The folder cannot be written.
            GvfBlenderError: Python or pip failed, and the message has its last words; or what `make_way` raised.
        """
        self._cancelled.clear()
        try:
            if not self.is_complete:
                self.step = Sentence("Stopping the server")
                self._make_way()
                self._install()
        except OSError as error:
            raise FileError(
                f"The environment cannot be made in {self._environment.folder} ({error.strerror or error}).",
                f"Free about {disk_megabytes(self._build) / 1000:.0f} GB of disk, then press Install Server again.",
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

    def said(self, lines: int = 200) -> list[str]:
        """The last lines of the log; none before the first run."""
        try:
            return self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    def _install(self) -> None:
        environment = self._environment
        environment.folder.parent.mkdir(parents=True, exist_ok=True)
        environment.begin()
        self.log.write_text("")
        self.step = Sentence("Making the environment")
        if environment.build not in ("", self._build) or not self._works("import pip"):
            self._call([str(self._base), "-m", "venv", "--clear", str(environment.folder)])
        environment.is_for(self._build)
        for step, command in self.commands():
            self.step = step
            self._call(command)
        environment.complete(self._wheel, self._build)

    def commands(self) -> list[tuple[str, list[str]]]:
        """What installs the packages into the environment, and what to call it.

        PyTorch for CPUs comes first and alone, from the one index that has it: with two indexes, pip would fall back to
        the build with CUDA if that one cannot be reached. The wheel itself comes last and by force: pip takes another
        one of the same version for installed already.
        """
        pip = [str(self.python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
        commands: list[tuple[str, list[str]]] = [
            (Sentence("Installing packages"), [*pip, *self._options, f"{self._wheel}[server]"]),
            (
                Sentence("Installing the server"),
                [*pip, *self._options, "--force-reinstall", "--no-deps", str(self._wheel)],
            ),
        ]
        if self._build is TorchBuild.CPU and can_choose():
            torch = [*pip, *self._options, "--no-deps", "--index-url", CPU_WHEELS, "torch"]
            commands.insert(0, (Sentence("Installing PyTorch for CPUs"), torch))
        return commands

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
                stay()
                log.write(line)
                log.flush()
                last = line.strip() or last
                if last.startswith(_TOLD):
                    self.step = last[:80]
            code = process.wait()
        self._process = None
        if self._cancelled.is_set():
            raise JobCancelled("The installation was cancelled.", "Press Install Server to go on with it.")
        if code != 0:
            raise GvfBlenderError(
                f"The installation failed: {last or f'exit code {code}'}.",
                f"Show Log, or {self.log}, has the details. Press Install Server to go on with it.",
            )
