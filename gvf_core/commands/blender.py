"""Asset files in, .blend files out: a Blender without a window, as a process of its own, runs our extension's code."""

import importlib.util
import json
import logging
import math
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gvf_core.errors import BlenderError, Cancelled, CaptureError, FileFormatError, GvfError, SettingsError
from gvf_core.rendering.camera import Camera

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


def capture_asset(
    asset: Path,
    capture: Path,
    *,
    views: int = 40,
    size: int = 512,
    objects: Sequence[str] = (),
    frame: int | None = None,
    on_progress: Progress = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Write the capture of an asset file.

    Args:
        asset: .glb, .gltf, .fbx, .obj, .ply, .stl, .usd, .usda, .usdc, .usdz, .abc or .blend.
        capture: Capture file to write.
        views: Number of views.
        size: Their width and height in pixels.
        objects: Names of the objects to capture; none for all visible meshes.
        frame: Scene frame to capture; None for the one at which a .blend file was saved, else frame 1.
        on_progress: Called with the fraction done.
        cancelled: Asked ten times a second.

    Raises:
        SettingsError: There is no Blender, or a setting is out of range.
        FileFormatError: The asset or the output cannot be used.
        CaptureError: The asset cannot be captured.
        BlenderError: Blender broke down.
        Cancelled: `cancelled` returned True.
    """
    arguments = ["capture", str(asset.absolute()), f"--output={capture}", f"--views={views}", f"--size={size}"]
    run_action([*arguments, *_choice(objects, frame)], (capture,), on_progress, cancelled)


def import_animation(
    asset: Path,
    animation: Path,
    blend: Path,
    *,
    objects: Sequence[str] = (),
    frame: int | None = None,
    frame_start: int = 1,
    on_progress: Progress = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[str, ...]:
    """Write a .blend file of an asset with its animation: splats, points, and motion on its own objects.

    Args:
        asset: The file that was captured.
        animation: The animation made of that capture.
        blend: File to write; one that exists is replaced.
        objects: As for the capture.
        frame: As for the capture.
        frame_start: Scene frame of the animation's first frame.
        on_progress: Called with the fraction done.
        cancelled: Asked ten times a second.

    Returns:
        Sentences about what was left out or needs attention, those in the animation's provenance first.

    Raises:
        SettingsError: There is no Blender, or a setting is out of range.
        FileFormatError: The animation is not one of this asset, or a file cannot be read or written.
        CaptureError: The asset cannot be used.
        BlenderError: Blender broke down.
        Cancelled: `cancelled` returned True.
    """
    arguments = [
        "import",
        str(asset.absolute()),
        f"--animation={animation}",
        f"--output={blend}",
        f"--frame-start={frame_start}",
    ]
    return tuple(run_action([*arguments, *_choice(objects, frame)], (blend,), on_progress, cancelled)["warnings"])


@dataclass(frozen=True)
class ClipName:
    """A clip of an animated asset.

    Attributes:
        name: As in the file; "timeline" where it has none.
        seconds: How long it is.
        fps: Frames per second of the file's scene.
    """

    name: str
    seconds: float
    fps: float


def list_clips(
    asset: Path, *, objects: Sequence[str] = (), cancelled: Callable[[], bool] = lambda: False
) -> tuple[ClipName, ...]:
    """The clips of an asset file, sorted by name; none if nothing in it moves.

    Raises:
        GvfError: As for `capture_asset`.
    """
    arguments = ["clips", str(asset.absolute()), *_choice(objects, None)]
    clips = run_action(arguments, (), lambda fraction: None, cancelled)["clips"]
    return tuple(ClipName(clip["name"], clip["seconds"], clip["fps"]) for clip in clips)


def read_clips(
    asset: Path,
    outputs: Mapping[str, Path],
    *,
    frames: int = 16,
    seconds: float = 1.3,
    offset: float = 0.0,
    views: int = 0,
    size: int = 512,
    camera: Camera | None = None,
    objects: Sequence[str] = (),
    on_progress: Progress = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> dict[str, str]:
    """Write where the vertices of an asset are while its clips play; one Blender opens the file once for all clips.

    The first frame read is the rest pose, and the unit frame is its own. docs/evaluation.md describes the files;
    `gvf_core.evaluation.clip_file` reads them.

    Args:
        asset: An animated file of any kind that `capture_asset` takes.
        outputs: Clip file to write by the name of the clip.
        frames: Number of frames, evenly spread, both ends included.
        seconds: Read at most so much of a clip; 0 for all of it.
        offset: Seconds after a clip's beginning at which to start.
        views: Views of the first frame for a capture beside each clip file, called .capture.safetensors instead of
            .safetensors; 0 for none, which takes only a fraction of a second per clip.
        size: Width and height of these views in pixels.
        camera: From where to render lit pictures of the frames into the clip files; None for no pictures.
        objects: Names of the objects to read; none for all visible meshes.
        on_progress: Called with the fraction done.
        cancelled: Asked ten times a second.

    Returns:
        Clips that cannot be read, and why; there are no files of them.

    Raises:
        GvfError: As for `capture_asset`.
    """
    arguments = ["clip", str(asset.absolute()), *_choice(objects, None)]
    for name, path in outputs.items():
        arguments += [f"--clip={name}", f"--output={path.absolute()}"]
    arguments += [f"--frames={frames}", f"--seconds={seconds}", f"--offset={offset}", f"--views={views}"]
    arguments += [f"--size={size}", *([] if camera is None else [f"--camera={_camera_json(camera)}"])]
    written = [path for clip in outputs.values() for path in (clip, capture_beside(clip))]
    return dict(run_action(arguments, written, on_progress, cancelled)["refused"])


def read_clip(asset: Path, clip: str, output: Path, **options: Any) -> None:
    """Write one clip file; `options` are those of `read_clips`.

    Raises:
        CaptureError: There is no such clip, or it cannot be read.
        GvfError: As for `capture_asset`.
    """
    for sentence in read_clips(asset, {clip: output}, **options).values():
        raise CaptureError(sentence)


def capture_beside(clip: Path) -> Path:
    """The capture that belongs to a clip file."""
    return clip.with_name(clip.name.removesuffix(".safetensors") + ".capture.safetensors")


def _camera_json(camera: Camera) -> str:
    """What `gvf_blender.clip_pictures` takes: a square picture without shift."""
    fov = math.degrees(2 * math.atan(0.5 / camera.intrinsics[0]))
    return json.dumps({"world_to_camera": camera.world_to_camera.tolist(), "fov": fov, "size": camera.width})


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


def _choice(objects: Sequence[str], frame: int | None) -> list[str]:
    """Options that hold a value each, so that a name may begin with a dash."""
    return [*(f"--object={name}" for name in objects), *([] if frame is None else [f"--frame={frame}"])]


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
        GvfError: As for `capture_asset`.
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
        if hasattr(os, "killpg"):
            # macOS refuses it for a process that has just ended by itself.
            with suppress(PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
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
