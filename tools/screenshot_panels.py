"""Pictures of the panels in a real Blender window, for the documentation: `python -m tools.screenshot_panels`.

Needs `blender`, `Xvfb` and `xdotool` (Debian: packages blender, python3-numpy, xdotool and xvfb). The job in the
pictures is real: the bpy module starts it on a real server, and the Blender with a window takes it up.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
from PIL import Image

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
PICTURES = {"jobs-and-server": (1280, 900), "animate-panel": (1280, 900), "weights": (1280, 900)}
"""Names, and width and height of the window in pixels."""
SHOWN = (300, 26, 1280, 850)
"""Left, top, right and bottom of what is kept: the sidebar and some of the viewport."""
WINDOW_SECONDS = 200
INHERITED = frozenset({"HOME", "USER", "LANG", "LC_ALL", "TMPDIR"})
NEEDED = ("blender", "Xvfb", "xdotool")


def main(arguments: list[str] | None = None) -> int:
    """Take the pictures.

    Raises:
        RuntimeError: A panel raised, or the server ended.
    """
    parser = argparse.ArgumentParser(description="Pictures of the panels in a real Blender window.")
    parser.add_argument("names", nargs="*", default=list(PICTURES), metavar="NAME", help=", ".join(PICTURES))
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="FOLDER")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="gvf-pictures-") as folder:
        os.environ["GVF_HOME"] = folder
        os.environ["GVF_MODELS_DIR"] = str(Path(folder) / "models")
        with (Path(folder) / "output.log").open("wb") as log:
            server = subprocess.Popen([sys.executable, "-m", "server"], stdout=log, stderr=log, cwd=ROOT)
        try:
            _wait_for(server, Path(folder))
            for name in options.names:
                if name == "jobs-and-server":
                    _start_job()
                _take(name, Path(folder), options.output)
        finally:
            server.terminate()
            server.wait()
    return 0


def _wait_for(server: subprocess.Popen[bytes], folder: Path) -> None:
    while not (folder / "server.json").exists():
        if server.poll() is not None:
            raise RuntimeError((folder / "output.log").read_text())
        try:
            server.wait(0.1)
        except subprocess.TimeoutExpired:
            continue


def _start_job() -> None:
    """Begin to animate the example, and leave the job to the next Blender."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    gvf_blender.register()
    bpy.ops.import_scene.gltf(filepath=str(ROOT / "examples" / "shark.glb"))
    meshes = [thing for thing in bpy.context.scene.objects if thing.type == "MESH"]
    settings = MotionSettings(engine="fit", azimuth=45, elevation=15)
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
    picture = folder / f"{name}.png"
    script = [str(ROOT / "tools" / "screenshot_window.py"), "--", name, str(picture)]
    command = [str(shutil.which("blender")), "--factory-startup", "-p", "0", "0", *map(str, size), "--python", *script]
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
            _watch(window, log)
        finally:
            window.kill()
            window.wait()
    output.mkdir(exist_ok=True)
    image = Image.open(picture).convert("RGB").crop(SHOWN)
    image.quantize(64, dither=Image.Dither.NONE).save(output / f"{name}.png", optimize=True)
    print(output / f"{name}.png")


def _watch(window: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for the end of a window; one whose script or panel raised goes on, so what it says is read meanwhile."""
    deadline = time.monotonic() + WINDOW_SECONDS
    while True:
        code = window.poll()
        said = log.read_text(encoding="utf-8", errors="replace")
        if code or "Traceback" in said:
            raise RuntimeError(f"Blender ended with {code}:\n{said}")
        if code == 0:
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
    if not all(map(shutil.which, NEEDED)):
        sys.exit("Install blender, xvfb and xdotool first.")
    sys.exit(main())
