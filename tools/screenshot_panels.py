"""Pictures of the panels in a real Blender window, for the documentation: `python -m tools.screenshot_panels`.

Needs `blender`, 4.2 or newer, and `Xvfb` (Debian 13: packages blender, python3-numpy and xvfb; elsewhere a script
`blender` that runs it in a debootstrap of Debian 13 serves, if that sees this checkout and /tmp). The jobs in the
pictures are real: the bpy module starts them on a real server, and the Blender with a window takes them up.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

import bpy
from PIL import Image, ImageGrab

import gvf_blender
from gvf_blender import job_list
from gvf_blender.capture import CaptureOptions
from gvf_blender.core.motion_settings import MotionSettings
from gvf_blender.job import AnimateJob
from gvf_blender.preferences import results_folder
from gvf_blender.request import make_request
from gvf_blender.server_choice import ServerChoice

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "docs" / "images"
PICTURES = {
    "animate-panel": (1280, 1000),
    "check-video": (1280, 1240),
    "no-server": (1280, 1100),
    "jobs-and-server": (1280, 900),
    "result": (1280, 900),
    "weights": (1280, 900),
}
"""Names, and width and height of the window in pixels."""
JOBS = {
    "jobs-and-server": MotionSettings(engine="fit", azimuth=45, elevation=15),
    "result": MotionSettings(
        engine="fit", preset="fast", gaussians=4000, frame_stride=2, max_frames=8, azimuth=45, elevation=15
    ),
}
"""What is computed while a picture is taken."""
MARGINS = (300, 26, 0, 50)
"""What is cut off at left, top, right and bottom: the sidebar and some of the viewport are kept."""
WINDOW_SECONDS = 450
INHERITED = frozenset({"HOME", "USER", "LANG", "LC_ALL", "TMPDIR"})
NEEDED = ("blender", "Xvfb")
OLDEST = (4, 2)
COMPLAINTS = ("Traceback", "rna_ui", "could not be opened")
"""What Blender prints where a panel raised, asked for a property or an operator that is not there, or for a file."""


def main(arguments: list[str] | None = None) -> int:
    """Take the pictures.

    Raises:
        RuntimeError: A panel raised, or the server ended.
    """
    parser = argparse.ArgumentParser(description="Pictures of the panels in a real Blender window.")
    parser.add_argument("names", nargs="*", default=list(PICTURES), metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER")
    options = parser.parse_args(arguments)
    for name in options.names:
        with tempfile.TemporaryDirectory(prefix="gvf-") as folder:
            os.environ["GVF_HOME"] = folder
            os.environ["GVF_MODELS_DIR"] = str(Path(folder) / "models")
            with nullcontext() if name == "no-server" else _server(Path(folder)):
                if name in JOBS:
                    _start_job(JOBS[name])
                _take(name, Path(folder), options.output)
    return 0


def obstacle() -> str | None:
    """Why no pictures can be taken here; None if they can."""
    if not all(map(shutil.which, NEEDED)):
        return "needs blender and xvfb"
    said = subprocess.run(["blender", "--version"], capture_output=True, text=True, timeout=60).stdout
    version = re.search(r"Blender (\d+)\.(\d+)", said)
    if version is None or tuple(map(int, version.groups())) < OLDEST:
        return f"needs Blender {'.'.join(map(str, OLDEST))} or newer"
    with tempfile.NamedTemporaryFile(prefix="gvf-") as file:  # one in a container may have other folders than this
        look = f"import os, sys; sys.exit(not all(map(os.path.exists, {[__file__, file.name]})))"
        command = ["blender", "--background", "--factory-startup", "--python-expr", look]
        if subprocess.run(command, capture_output=True, timeout=60).returncode != 0:
            return f"needs a Blender that sees {ROOT} and {tempfile.gettempdir()}"
    return None


@contextmanager
def _server(folder: Path) -> Iterator[None]:
    """A server whose handshake file is in the folder."""
    with (folder / "output.log").open("wb") as log:
        server = subprocess.Popen([sys.executable, "-m", "server"], stdout=log, stderr=log, cwd=ROOT)
    try:
        while not (folder / "server.json").exists():
            if server.poll() is not None:
                raise RuntimeError((folder / "output.log").read_text())
            with suppress(subprocess.TimeoutExpired):
                server.wait(0.1)
        yield
    finally:
        server.terminate()
        server.wait()


def _start_job(settings: MotionSettings) -> None:
    """Begin to animate the example, and leave the job to the next Blender."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    gvf_blender.register()
    bpy.ops.import_scene.gltf(filepath=str(ROOT / "examples" / "shark.glb"))
    meshes = [thing for thing in bpy.context.scene.objects if thing.type == "MESH"]
    request = make_request(meshes, ROOT / "examples" / "shark.mp4", settings)
    job = AnimateJob(request, ServerChoice().connect, results_folder(), CaptureOptions(views=12, size=256))
    job_list.add(job)
    while job.kept is None:
        if job.finished:
            raise RuntimeError(job.message)
        job.poll()
    gvf_blender.unregister()


def _take(name: str, folder: Path, output: Path) -> None:
    size = PICTURES[name]
    ready = folder / "ready"
    script = [str(ROOT / "tools" / "screenshot_window.py"), "--", name, str(ready)]
    options = ["--factory-startup", "--online-mode", "-p", "0", "0", *map(str, size)]
    command = [str(shutil.which("blender")), *options, "--python", *script]
    log = folder / "window.log"
    with _screen(size) as display, log.open("wb") as file:
        # Nothing of this environment, above all not its PATH: Debian's Blender takes its Python, and with that its
        # numpy, from beside the first python3 there, which pyenv for one puts another before.
        kept = {key: value for key, value in os.environ.items() if key in INHERITED or key.startswith("GVF_")}
        window = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**kept, "DISPLAY": display, "PATH": os.defpath},
        )
        try:
            _watch(window, log, ready)
            image = ImageGrab.grab(xdisplay=display)
        finally:
            window.kill()
            window.wait()
    output.mkdir(exist_ok=True)
    left, top, right, bottom = MARGINS
    image = image.convert("RGB").crop((left, top, size[0] - right, size[1] - bottom))
    image.quantize(128, dither=Image.Dither.NONE).save(output / f"{name}.png", optimize=True)
    print(output / f"{name}.png")


def _watch(window: subprocess.Popen[bytes], log: Path, ready: Path) -> None:
    """Wait until a window shows what it shall; one whose panel raised goes on, so what it says is read meanwhile."""
    deadline = time.monotonic() + WINDOW_SECONDS
    while True:
        code, is_ready = window.poll(), ready.exists()
        said = log.read_text(encoding="utf-8", errors="replace")
        if code is not None or any(complaint in said for complaint in COMPLAINTS):
            raise RuntimeError(f"Blender ended with {code}:\n{said}")
        if is_ready:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"Blender took more than {WINDOW_SECONDS} s:\n{said}")
        time.sleep(0.2)


@contextmanager
def _screen(size: tuple[int, int]) -> Iterator[str]:
    """The name of a screen that nobody sees.

    Not through xvfb-run: it waits for a signal, for ever where its parent ignores that one.
    """
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", f"{size[0]}x{size[1]}x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL)
    os.close(write)
    try:
        with os.fdopen(read) as said:
            number = said.readline().strip()
        if not number:
            raise RuntimeError(f"Xvfb ended with {server.wait()}.")
        yield f":{number}"
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    if (reason := obstacle()) is not None:
        sys.exit(f"This {reason}.")
    sys.exit(main())
