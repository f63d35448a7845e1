"""The server that Blender starts for itself, and why it ended."""

import logging
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from ..core.data_places import DataPlaces
from ..core.errors import ServerError
from ..core.job_state import JobState
from ..core.sentence import Sentence
from .client import Client
from .connection import connect

LOGGER = logging.getLogger(__name__)

PYTHON_HINT = Sentence(
    "Press Install Server, or choose in the preferences the Python of an environment that has GVF installed."
)

START_SECONDS = 120.0
"""Reading the program from a cold disk and opening its data take a second or a minute."""

STOP_SECONDS = 5.0
"""For each way of stopping it, from polite to forced."""

_POLL_SECONDS = 0.1
_MISSING_MODULES = ("No module named 'server'", "No module named server", "No module named 'gvf_core'")


class ServerProcess:
    """At most one server process at a time; only a process that this object started is ever stopped by it.

    Every thread may use it. All methods but the properties wait, so they are not for Blender's main thread.

    Args:
        home: Folder of the server's handshake, data and output.
        parent_pid: The server ends when this process has ended.
    """

    def __init__(self, home: Path, parent_pid: int) -> None:
        self.handshake = home / "server.json"
        self._home = home
        self._parent_pid = parent_pid
        self._process: subprocess.Popen[bytes] | None = None
        self._python = Path()
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def is_running(self) -> bool:
        """Whether a process that this object started runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_reason(self) -> str:
        """Why the last process ended by itself, as sentences; empty while it runs, and if it was stopped."""
        process = self._process
        if process is None or self._stopped or (code := process.poll()) is None:
            return ""
        return str(exit_error(code, self.output(), self._python))

    def connect(self, python: Path, places: DataPlaces | None = None) -> Client:
        """A client of the server; starts one unless there is one already, which another Blender may have started.

        Args:
            python: The Python that has GVF installed.
            places: Where one that is started keeps its data; None for the usual places.

        Raises:
            ServerError: It cannot start, with code "start", or is the wrong one.
        """
        with self._lock:
            try:
                return connect(self.handshake)
            except ServerError as error:
                if error.code != "unreachable":
                    raise
            if not self.is_running:
                self._start(python, places)
            return self._wait_until_ready()

    def stop(self) -> None:
        """End the process that this object started, if it runs: first by a request, then by force."""
        process = self._process
        if process is None:
            return
        self._stopped = True
        for end in (self._ask_to_end, process.terminate, process.kill):
            if process.poll() is not None:
                return
            end()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                LOGGER.warning("The server does not stop")

    def make_way(self) -> None:
        """Stop it before what it runs from is replaced.

        Raises:
            ServerError: With code "busy": it has jobs to compute, or another Blender started it.
        """
        try:
            is_needed = bool(connect(self.handshake).jobs((JobState.QUEUED, JobState.RUNNING), limit=1))
            answers = True
        except ServerError as error:
            # One of another protocol can have no job of ours.
            is_needed, answers = False, error.code == "wrong_version"
        if answers and not self.is_running:
            raise ServerError(
                "Another Blender has started the server, which runs from the environment that would change.",
                "Stop the server there or quit that Blender, then try again.",
                "busy",
            )
        if is_needed:
            raise ServerError(
                "The server has jobs to compute.", "Wait until they are done, or cancel them, then try again.", "busy"
            )
        self.stop()

    def terminate(self) -> None:
        """Tell the process to end, without waiting for it."""
        self._stopped = True
        if self._process is not None:
            self._process.terminate()

    def output(self, lines: int = 200) -> list[str]:
        """The last lines that the process wrote before and beside its log."""
        try:
            return self._output_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    @property
    def _output_path(self) -> Path:
        return self._home / "output.log"

    def _start(self, python: Path, places: DataPlaces | None) -> None:
        data = self._home / "data" if places is None else places.jobs
        command = [str(python), "-m", "server", "--handshake", str(self.handshake), "--data", str(data)]
        command += ["--parent-pid", str(self._parent_pid)]
        # Blender's own Python may have told where its library is, which is not where the other one's is.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
        if places is not None:
            environment |= {"GVF_HOME": str(places.home), "GVF_MODELS_DIR": str(places.models)}
            _make(places.home)
        self._python, self._stopped = python, False
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            with self._output_path.open("wb") as output:
                self._process = subprocess.Popen(
                    command,
                    cwd=self._home,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    # No console window on Windows, no Ctrl-C of Blender's terminal elsewhere.
                    creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
                    start_new_session=True,
                )
        except OSError as error:
            raise ServerError(
                f"The server cannot be started with {python} ({error.strerror}).",
                PYTHON_HINT,
                "start",
            ) from error
        LOGGER.info("Started the server, process %d", self._process.pid)

    def _wait_until_ready(self) -> Client:
        process = self._process
        assert process is not None
        deadline = time.monotonic() + START_SECONDS
        while (code := process.poll()) is None:
            try:
                return connect(self.handshake)
            except ServerError as error:
                if error.code != "unreachable":
                    raise
            if time.monotonic() >= deadline:
                raise ServerError(
                    f"The server did not answer within {START_SECONDS:.0f} seconds after its start.",
                    "Show Log may say why; Stop it, then try again.",
                    "start",
                )
            try:
                process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        raise exit_error(code, self.output(), self._python)

    def _ask_to_end(self) -> None:
        try:
            connect(self.handshake).shutdown()
        except ServerError as error:
            LOGGER.info("The server cannot be asked to stop: %s", error)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = Sentence("The Data Folder {folder} cannot be made ({reason}).", folder=folder, reason=error.strerror)
        raise ServerError(text, "Choose another one in the preferences.", "start") from error


def exit_error(code: int, output: list[str], python: Path) -> ServerError:
    """Why a server process ended, with code "start".

    Args:
        code: Its exit code; negative for a signal.
        output: What it wrote, line by line.
        python: What ran it.
    """
    last = next((line.strip() for line in reversed(output) if line.strip()), "")
    if last.startswith("gvf-server: "):
        return ServerError(last.removeprefix("gvf-server: "), "", "start")
    if any(name in last for name in _MISSING_MODULES):
        hint = (
            f'Install it from the folder of a checkout: "{python}" -m pip install -e ".[server]"; or choose another '
            "Python in the preferences."
        )
        return ServerError(f"{python} has no GVF server installed.", hint, "start")
    if code == 0:
        return ServerError("The server was asked to end.", "Press Start to start it again.", "start")
    if code < 0:
        name = signal.strsignal(-code) or "unknown"
        hint = "If memory ran out, use fewer Gaussians or frames. Press Start to start it again."
        return ServerError(f"The server was ended by signal {-code} ({name}).", hint, "start")
    shown = str(code) if code < 256 else f"{code:#x}"
    message = f"The server ended with exit code {shown}{': ' + last if last else ''}."
    return ServerError(message, "Show Log has the details. Press Start to start it again.", "start")
