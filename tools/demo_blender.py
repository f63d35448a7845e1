"""The demo's part inside Blender: animate the example through the add-on, measure, save, render.

Run by `tools.demo` as a process of its own. Its standard output carries one JSON object per line;
whatever Blender prints goes to a log file.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

import bpy
import numpy as np
import torch

from gvf_core.geometry import interpolation_weights
from tools.splat_fidelity import psnr_of_splats
from tools.staging import (
    add_camera,
    add_light,
    camera_around,
    render_frame,
    set_up_cycles,
    show_frame,
    world_vertices,
)

Progress = Callable[[str, float], None]

FIRST_FRAME = 1
FPS = 24
ANIMATE_SHARE = 0.8
"""Fraction of the demo's time that animating takes; the rest goes into pictures."""
SAMPLES = {"splats": 8, "points": 12, "motion": 16}
"""Cycles samples per pixel. Denoising would allow fewer, but costs more: 1.2 s per picture (measured)."""
FILE_SAMPLES = 32
"""Cycles samples per pixel that demo.blend is saved with."""


def main() -> None:
    """Run the whole part; errors become an event and exit status 1."""
    arguments = parse_arguments()
    events = divert_output(arguments.output / "blender.log")

    def tell(**event: object) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    def on_progress(stage: str, fraction: float) -> None:
        tell(event="progress", stage=stage, fraction=fraction)

    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.preferences.addon_enable(module="gvf_blender")
    from gvf_blender.core.errors import GvfBlenderError

    try:
        result = run(arguments, on_progress)
    except GvfBlenderError as error:
        tell(event="failed", message=str(error))
        sys.exit(1)
    tell(event="result", **result)


def parse_arguments() -> argparse.Namespace:
    """The command line, written by `tools.demo`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--asset", type=Path, required=True)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--handshake", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder for demo.blend")
    parser.add_argument("--pictures", type=Path, required=True, help="folder for rendered pictures")
    parser.add_argument("--engine", required=True)
    parser.add_argument("--gaussians", type=int, required=True)
    parser.add_argument("--size", type=int, required=True, help="width and height of the whole picture in pixels")
    parser.add_argument("--crop", type=int, nargs=4, required=True, help="rendered part: left, top, right, bottom")
    return parser.parse_args()


def divert_output(log: Path) -> TextIO:
    """Send everything that is printed, also by Blender's C code, to a file; returns the old standard output."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    return events


def run(arguments: argparse.Namespace, on_progress: Progress) -> dict[str, object]:
    """Import, animate, measure, save and render.

    Returns:
        What `tools.demo` puts into the report.
    """
    from gvf_blender import api
    from gvf_blender.importer import PROVENANCE_PROPERTY, raise_transparent_bounces

    truth = np.load(arguments.truth)
    positions = truth["positions"].astype(np.float64)
    view = {name: float(truth[name]) for name in ("azimuth", "elevation", "fov")}
    assets = import_asset(arguments.asset, len(positions))
    raise_transparent_bounces(bpy.context.scene)
    start = time.perf_counter()
    imported = api.animate(
        assets,
        arguments.video,
        engine=arguments.engine,
        gaussians=arguments.gaussians,
        frame_start=FIRST_FRAME,
        server=arguments.handshake,
        on_progress=lambda stage, fraction: on_progress(stage, ANIMATE_SHARE * fraction),
        **view,
    )
    seconds = time.perf_counter() - start

    on_progress("measuring", ANIMATE_SHARE)
    errors = motion_errors(assets, imported.points, positions)

    scene = bpy.context.scene
    camera = camera_around(positions[0], **view, radius=float(truth["radius"]), size=arguments.size)
    add_camera(scene, camera)
    add_light(scene, camera)
    set_up_cycles(scene, arguments.size, FILE_SAMPLES, denoise=False)
    shown = {"splats": [imported.splats], "points": [imported.points], "motion": list(imported.motion)}
    show_only(shown, "splats")
    scene.frame_set(FIRST_FRAME)
    bpy.ops.wm.save_as_mainfile(filepath=str(arguments.output / "demo.blend"), compress=True)
    crop_render(scene, arguments.size, *arguments.crop)
    on_progress("comparing with the rasterizer", ANIMATE_SHARE)
    with tempfile.TemporaryDirectory(prefix="gvf-demo-") as folder:
        psnr = psnr_of_splats(imported.splats, camera, FIRST_FRAME + len(positions) // 2, Path(folder))
    render_columns(shown, len(positions), arguments.pictures, on_progress)
    return {
        **errors,
        "splats_psnr": round(psnr, 2),
        "frames": len(positions),
        "vertices": positions.shape[1],
        "seconds_animate": round(seconds, 2),
        "provenance": json.loads(imported.splats[PROVENANCE_PROPERTY]),
        "warnings": list(imported.warnings),
        "blender": bpy.app.version_string,
    }


def import_asset(path: Path, frames: int) -> list[bpy.types.Object]:
    """Import a GLB into the open scene and set the scene's frames; returns its mesh objects."""
    scene = bpy.context.scene
    scene.render.fps, scene.render.fps_base = FPS, 1.0
    scene.frame_start, scene.frame_end = FIRST_FRAME, FIRST_FRAME + frames - 1
    scene.frame_set(FIRST_FRAME)
    bpy.ops.import_scene.gltf(filepath=str(path))
    return [o for o in bpy.context.selected_objects if o.type == "MESH"]


def motion_errors(assets: list[bpy.types.Object], points: bpy.types.Object, truth: np.ndarray) -> dict[str, float]:
    """Mean distances to the true positions over frames, in metres, measured as Blender evaluates the objects.

    Args:
        assets: The moving meshes.
        points: The Gaussians as a point cloud. Their true motion is that of the vertices around them.
        truth: True world positions [frames, vertices, 3]; the first frame is the unmoved mesh.
    """
    vertices, gaussians = [], []
    for index in range(len(truth)):
        depsgraph = show_frame(FIRST_FRAME + index)
        vertices.append(np.concatenate([world_vertices(o.evaluated_get(depsgraph)) for o in assets]))
        gaussians.append(world_vertices(points.evaluated_get(depsgraph)))
    motion = truth - truth[:1]
    weights = interpolation_weights(torch.from_numpy(gaussians[0]), torch.from_numpy(truth[0]))
    gaussian_motion = weights.apply(torch.from_numpy(motion)).numpy()
    motion_error = _mean_length(np.stack(vertices) - truth)
    unmoved_error = _mean_length(motion)
    gaussian_error = _mean_length(np.stack(gaussians) - gaussians[0] - gaussian_motion)
    return {
        "motion_error": motion_error,
        "unmoved_error": unmoved_error,
        "motion_error_ratio": motion_error / unmoved_error,
        "gaussian_error_ratio": gaussian_error / _mean_length(gaussian_motion),
    }


def _mean_length(vectors: np.ndarray) -> float:
    return float(np.linalg.norm(vectors, axis=-1).mean())


def show_only(shown: dict[str, list[bpy.types.Object]], name: str) -> None:
    """Let renders show one form of the result; the viewport goes on showing all."""
    for form, objects in shown.items():
        for o in objects:
            o.hide_render = form != name


def crop_render(scene: bpy.types.Scene, size: int, left: int, top: int, right: int, bottom: int) -> None:
    """Render only a part of the square picture; pixels from the top left."""
    scene.render.use_border = scene.render.use_crop_to_border = True
    scene.render.border_min_x, scene.render.border_max_x = left / size, right / size
    scene.render.border_min_y, scene.render.border_max_y = 1 - bottom / size, 1 - top / size


def render_columns(shown: dict[str, list[bpy.types.Object]], frames: int, folder: Path, on_progress: Progress) -> None:
    """Render every form in every frame, as FOLDER/FORM/NNN.png."""
    total = len(shown) * frames
    done = 0
    cycles = bpy.context.scene.cycles
    for form in shown:
        show_only(shown, form)
        cycles.samples = SAMPLES[form]
        (folder / form).mkdir(parents=True)
        for index in range(frames):
            on_progress(f"rendering {form}", ANIMATE_SHARE + (1 - ANIMATE_SHARE) * done / total)
            path = folder / form / f"{index:03d}.png"
            render_frame(FIRST_FRAME + index, path)
            done += 1


if __name__ == "__main__":
    main()
