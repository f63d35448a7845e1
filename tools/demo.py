"""The main job on the example, end to end: `python3 dev.py demo`.

Starts the server as its own process, lets a Blender process animate the example through the add-on,
and leaves a .blend file, pictures and a report in out/demo.
"""

import argparse
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from tools.contact_sheet import (
    Column,
    background_of,
    crop_to_motion,
    read_pictures,
    read_video,
    write_contact_sheet,
    write_preview,
)
from tools.process_memory import peak_memory_mb

LOGGER = logging.getLogger("demo")

ROOT = Path(__file__).resolve().parents[1]
SERVER_START_SECONDS = 60
FPS = Fraction(24)
"""Frames per second of every example's video (`tools.make_example`)."""
SHEET_ROWS = 6
SIZES = (64, 2048)
LOG = "server.log"
"""The first file that a demo writes, and what its folder is known by."""
WRITTEN = ("demo.blend", "preview.mp4", "frames.png", "report.json", "server.json", "blender.log", LOG)
LABELS = {"splats": "Gaussian splats", "points": "point cloud", "motion": "moved mesh"}


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


@dataclass
class Measurements:
    """What is measured while the demo runs.

    Attributes:
        seconds: By stage, in the order in which they began.
        peak_mb: Largest resident size by process id.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[int, float] = field(default_factory=dict)
    _stage: str = ""
    _since: float = field(default_factory=time.perf_counter)

    def enter(self, stage: str) -> bool:
        """Count the time from now on for this stage; returns whether it is another one than before."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        changed = stage != self._stage
        self._stage, self._since = stage, now
        return changed

    def note_memory(self, pid: int) -> None:
        """Take the peak memory of a process and its descendants, which must still run."""
        for process, peak in peak_memory_mb(pid).items():
            self.peak_mb[process] = max(peak, self.peak_mb.get(process, 0.0))


def main() -> int:
    """Run the demo; returns the exit status."""
    logging.basicConfig(
        level=logging.INFO, format="%(message)s", handlers=[RichHandler(show_time=False, show_path=False)]
    )
    # So that the server is stopped on this way out, too.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    arguments = parse_arguments()
    try:
        report = run(arguments)
    except (DemoError, OSError) as error:
        LOGGER.error("%s", error)
        return 1
    except KeyboardInterrupt:
        LOGGER.error("Stopped.")
        return 130
    LOGGER.info(
        "Engine %s, %d Gaussians: motion error %.2f of the unmoved mesh's, %.1f dB between splats in Cycles and in the "
        "rasterizer, %.0f s, %.1f GB at most. See %s",
        report["engine"],
        report["gaussians"],
        report["motion_error_ratio"],
        report["splats_psnr"],
        report["seconds"]["total"],
        report["peak_memory_mb"]["total"] / 1024,
        arguments.output,
    )
    return 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="dev.py demo", description="Animate an example and show the result.")
    parser.add_argument("--example", type=Path, default=ROOT / "examples" / "shark", help="path without suffix")
    parser.add_argument("--output", type=Path, default=ROOT / "out" / "demo", help="folder (%(default)s)")
    parser.add_argument("--engine", default="auto", help="how motion is found (%(default)s)")
    parser.add_argument("--gaussians", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument(
        "--size", type=int, default=512, help="width in pixels of the pictures before they are cropped (%(default)s)"
    )
    arguments = parser.parse_args()
    if not SIZES[0] <= arguments.size <= SIZES[1]:
        parser.error(f"--size is {arguments.size}; choose {SIZES[0]} to {SIZES[1]}")
    return arguments


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make everything in the output folder.

    Returns:
        The report.

    Raises:
        DemoError: A file of the example is missing, the server did not start, or the job failed.
    """
    files = {
        "asset": arguments.example.with_suffix(".glb"),
        "video": arguments.example.with_suffix(".mp4"),
        "truth": arguments.example.with_name(arguments.example.name + "_truth.npz"),
    }
    for file in files.values():
        if not file.is_file():
            raise DemoError(f"{file} is missing; choose an example with --example.")
    try:
        driving = read_video(files["video"], arguments.size)
    except av.FFmpegError as error:
        raise DemoError(f"{files['video']} is not a readable video ({error.strerror}).") from error
    output = arguments.output.absolute()
    clear(output)

    start = time.perf_counter()
    measurements = Measurements()
    crop = crop_to_motion(driving)
    with (
        tempfile.TemporaryDirectory(prefix="gvf-demo-") as scratch,
        Progress(
            TextColumn("{task.description:<24}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), transient=True
        ) as bar,
    ):
        task = bar.add_task("starting the server", total=1.0)

        def on_progress(stage: str, fraction: float) -> None:
            bar.update(task, description=stage, completed=fraction)
            if measurements.enter(stage):
                LOGGER.info("%3.0f %%  %s", 100 * fraction, stage)

        on_progress("starting the server", 0.0)
        pictures = Path(scratch) / "pictures"
        with running_server(output, Path(scratch)) as server:
            command = [sys.executable, "-m", "tools.demo_blender", "--handshake", str(output / "server.json")]
            command += [part for name, file in files.items() for part in (f"--{name}", str(file.absolute()))]
            command += ["--output", str(output), "--pictures", str(pictures), "--size", str(arguments.size)]
            command += ["--crop", *(str(side) for side in astuple(crop))]
            command += ["--engine", arguments.engine, "--gaussians", str(arguments.gaussians)]
            result, blender_pid = run_blender(command, server.pid, measurements, on_progress, output / "blender.log")
        on_progress("putting pictures together", 0.99)
        write_pictures(crop.of(driving), background_of(driving), pictures, output)
        measurements.enter("")
    report = make_report(result, measurements, blender_pid, files, time.perf_counter() - start)
    (output / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def clear(output: Path) -> None:
    """Make the folder and remove what an earlier run wrote there, but nothing else.

    Raises:
        OSError: It cannot be made or written.
        DemoError: It holds files of the same names that no demo has written.
    """
    output.mkdir(parents=True, exist_ok=True)
    foreign = [name for name in WRITTEN if (output / name).exists()]
    if foreign and not (output / LOG).exists():
        raise DemoError(f"{output} holds {foreign[0]}, but not from a demo. Choose another folder.")
    for name in WRITTEN:
        (output / name).unlink(missing_ok=True)


@contextmanager
def running_server(output: Path, scratch: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The server as a process of its own, with its handshake in OUTPUT/server.json, until the context ends.

    Raises:
        DemoError: It did not start.
    """
    handshake = output / "server.json"
    log = output / LOG
    command = [sys.executable, "-m", "server", "--handshake", str(handshake), "--data", str(scratch / "server")]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--parent-pid", str(os.getpid())], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + SERVER_START_SECONDS
        while not handshake.is_file():
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"The server did not start; {log} says why.")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_blender(
    command: list[str],
    server_pid: int,
    measurements: Measurements,
    on_progress: Callable[[str, float], None],
    log: Path,
) -> tuple[dict[str, Any], int]:
    """Run the Blender process to its end and follow its events.

    Returns:
        What it measured, and its process id.

    Raises:
        DemoError: The job failed, or the process broke down.
    """
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    result = None
    try:
        for line in process.stdout:
            event = json.loads(line)
            measurements.note_memory(server_pid)
            measurements.note_memory(process.pid)
            if event["event"] == "progress":
                on_progress(event["stage"], event["fraction"])
            elif event["event"] == "failed":
                raise DemoError(event["message"])
            else:
                result = event
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if result is None or process.returncode != 0:
        raise DemoError(f"The Blender process ended with status {process.returncode}; {log} says why.")
    return result, process.pid


def write_pictures(driving: np.ndarray, background: np.ndarray, pictures: Path, output: Path) -> None:
    """The preview video and the contact sheet: driving video and all forms of the result."""
    columns = [Column("driving video", driving)]
    columns += [
        Column(label, read_pictures(sorted((pictures / form).glob("*.png")), background))
        for form, label in LABELS.items()
    ]
    write_preview(output / "preview.mp4", columns, FPS)
    write_contact_sheet(output / "frames.png", columns, SHEET_ROWS)


def make_report(
    result: dict[str, Any], measurements: Measurements, blender_pid: int, files: dict[str, Path], seconds: float
) -> dict[str, Any]:
    """What is worth knowing about a run, ready for JSON."""
    peaks = dict(measurements.peak_mb)
    blender = peaks.pop(blender_pid, 0.0)
    server = sum(peaks.values())
    provenance = result["provenance"]
    return {
        "engine": provenance["engine"],
        "gaussians": provenance["gaussians"],
        "frames": result["frames"],
        "vertices": result["vertices"],
        "motion_error": result["motion_error"],
        "unmoved_error": result["unmoved_error"],
        "motion_error_ratio": result["motion_error_ratio"],
        "gaussian_error_ratio": result["gaussian_error_ratio"],
        "splats_psnr": result["splats_psnr"],
        "seconds": {
            "total": round(seconds, 2),
            "animate": result["seconds_animate"],
            "stages": {stage: round(value, 2) for stage, value in measurements.seconds.items()},
        },
        "peak_memory_mb": {
            "blender": round(blender),
            "server": round(server),
            "total": round(blender + server),
        },
        "inputs": {name: file.name for name, file in files.items()},
        "warnings": result["warnings"],
        "blender": result["blender"],
        "provenance": provenance,
    }


if __name__ == "__main__":
    sys.exit(main())
