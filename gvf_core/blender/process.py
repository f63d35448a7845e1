"""A Blender without a window, as a process of its own that runs our extension's code and tells what it does."""

import importlib.util
import json
import logging
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gvf_core.errors import BlenderError, Cancelled, CaptureError, FileFormatError, GvfError, SettingsError
from gvf_core.process_tree import kill_tree

LOGGER = logging.getLogger(__name__)

BLENDER_VARIABLE = "GVF_BLENDER"
_HOW_TO_GET = (
    f"Install Blender 4.2 or later and put it on the PATH or its full path into {BLENDER_VARIABLE}, or install the "
    "bpy module with the extra 'blender' of gvf-blender."
)
_POLL_SECONDS = 0.1
_ERRORS: dict[str, type[GvfError]] = {
    "file": FileFormatError,
    "internal": BlenderError,
    "settings": SettingsError,
}
# Loads the one package and leaves sys.path alone: its folder may be a site-packages with the compiled modules of
# another Python, which Blender must not find.
_START = (
    "import importlib.util, sys",
    "spec = importlib.util.spec_from_file_location('gvf_blender', {init!r})",
    "sys.modules['gvf_blender'] = package = importlib.util.module_from_spec(spec)",
    "spec.loader.exec_module(package)",
    "from gvf_blender.headless import main",
    # On success Blender goes on to its own, orderly end.
    "main(sys.argv[sys.argv.index('--') + 1:]) and sys.exit(1)",
)
# How lines of the log begin that do not say why Blender ended.
_NOISE = ("Blender quit", "Error: script failed", "Error: Not freed memory", "EGL Error")

# What the extension and Blender append to the name of a file that is being written.
_UNFINISHED = (".partial", "@")

Progress = Callable[[float], None]


@dataclass(frozen=True)
class Blender:
    """A way to run Python with bpy.

    Attributes:
        name: For messages.
        command: Program and options; the Python code is the next argument, "--" and its own arguments follow.
    """

    name: str
    command: tuple[str, ...]


def run_action(
    arguments: Sequence[str], outputs: Sequence[Path], on_progress: Progress, cancelled: Callable[[], bool]
) -> dict[str, Any]:
    """Run an action of `gvf_blender.headless` that writes files, or none.

    Args:
        arguments: Of the action, its name first.
        outputs: Files that it writes; what is unfinished of them is removed.
        on_progress: Called with the fraction done.
        cancelled: Asked ten times a second.

    Returns:
        Its `done` event.

    Raises:
        SettingsError: There is no Blender, or a setting is out of range.
        FileFormatError: A file cannot be used.
        CaptureError: The asset cannot be used.
        BlenderError: Blender broke down.
        Cancelled: `cancelled` returned True.
    """
    blender = find_blender()
    code = "; ".join(_START).format(init=str(_extension() / "__init__.py"))
    LOGGER.info("Running %s: %s", blender.name, " ".join(arguments))
    # Blender's temporary files go there too, so that none is left if it crashes or is killed.
    with tempfile.TemporaryDirectory(prefix="gvf-blender-", ignore_cleanup_errors=True) as scratch:
        log = _Log(Path(scratch) / "stdout.log", Path(scratch) / "stderr.log")
        with _running([*blender.command, code, "--", *arguments], blender, Path(scratch), log, outputs) as process:
            for event in _events(process, log, cancelled):
                match event:
                    case {"event": "progress", "fraction": fraction}:
                        on_progress(fraction)
                    case {"event": "failed"}:
                        LOGGER.info("Blender's log:\n%s", log.text())
                        raise _ERRORS.get(event["code"], CaptureError)(event["message"], event["hint"])
                    case {"event": "done"}:
                        # The file is complete: a crash while Blender quits cannot spoil it.
                        return event
            status = process.wait()
        LOGGER.info("Blender's log:\n%s", log.text())
        raise _breakdown(blender, status, log.text())


def find_blender() -> Blender:
    """The Blender of the environment variable, else this Python's bpy module, else `blender` on the PATH.

    Raises:
        SettingsError: There is none, or the variable names none.
    """
    chosen = os.environ.get(BLENDER_VARIABLE)
    if chosen:
        program = shutil.which(chosen)
        if program is None:
            raise SettingsError(
                f"{BLENDER_VARIABLE} is {chosen}, which is no program.", "Give the full path of Blender's executable."
            )
        return _program(program)
    if importlib.util.find_spec("bpy") is not None:
        # -P: a file in the current folder that is called like a module must not come before it.
        return Blender(f"the bpy module of {sys.executable}", (sys.executable, "-P", "-c"))
    program = shutil.which("blender")
    if program is None:
        raise SettingsError("Asset files are opened by Blender, and there is none here.", _HOW_TO_GET)
    return _program(program)


def _program(path: str) -> Blender:
    # The exit code has to come before what it is for.
    return Blender(path, (path, "--background", "--factory-startup", "--python-exit-code", "1", "--python-expr"))


@dataclass(frozen=True)
class _Log:
    """What Blender prints besides events.

    Attributes:
        stdout: From before our code runs, or if it cannot be loaded.
        stderr: Everything else.
    """

    stdout: Path
    stderr: Path

    def text(self) -> str:
        """All of it; what comes last tells most about the end."""
        files = (file for file in (self.stdout, self.stderr) if file.exists())
        return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)


def _extension() -> Path:
    spec = importlib.util.find_spec("gvf_blender")
    if spec is None or spec.origin is None:
        raise SettingsError("The package gvf_blender is missing.", "Install gvf-blender again.")
    return Path(spec.origin).parent


@contextmanager
def _running(
    command: Sequence[str], blender: Blender, scratch: Path, log: _Log, outputs: Sequence[Path]
) -> Iterator[subprocess.Popen[str]]:
    """A child process that does not outlive the context, nor do its own children where there are process groups."""
    environment = {**os.environ, **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))}
    try:
        with log.stderr.open("wb") as file:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                env=environment,
                text=True,
                encoding="utf-8",
                errors="replace",
                # A `blender` on the PATH may be a script that starts the real one.
                start_new_session=True,
            )
    except OSError as error:
        raise SettingsError(f"{blender.name} cannot be started ({error.strerror}).", _HOW_TO_GET) from error
    try:
        yield process
    finally:
        _end(process)
        for output in outputs:
            for suffix in _UNFINISHED:
                output.with_name(output.name + suffix).unlink(missing_ok=True)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        kill_tree(process.pid)
    process.wait()


def _events(process: subprocess.Popen[str], log: _Log, cancelled: Callable[[], bool]) -> Iterator[dict[str, Any]]:
    """What the process tells, until it closes its standard output; other lines there go to the log.

    Raises:
        Cancelled: `cancelled` returned True.
    """
    assert process.stdout is not None
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    # A thread, because reading a pipe cannot be given a time limit on every system.
    threading.Thread(target=_read_lines, args=(process.stdout, lines), daemon=True).start()
    while True:
        if cancelled():
            raise Cancelled()
        try:
            line = lines.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        if line is None:
            return
        try:
            event = json.loads(line)
        except ValueError:
            # Blender's greeting, and its complaint if our code cannot even be loaded.
            with log.stdout.open("a", encoding="utf-8") as file:
                file.write(line)
            continue
        if isinstance(event, dict):
            yield event


def _read_lines(stream: IO[str], lines: "queue.SimpleQueue[str | None]") -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


def _breakdown(blender: Blender, status: int, log: str) -> BlenderError:
    ending = f"exit status {status}" if status >= 0 else f"signal {-status}, {signal.strsignal(-status)}"
    told = [line.strip() for line in log.splitlines() if line.strip() and not line.strip().startswith(_NOISE)]
    last = f' Its last words: "{told[-1]}".' if told else ""
    return BlenderError(
        f"Blender ({blender.name}) broke down ({ending}).{last}", "Run again with -v to see all that it said."
    )
