"""Lit pictures of an asset while it moves, as a driving video shows it."""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector

from .core.errors import RenderError, SettingsError

_NAME = "GVF clip"
_SAMPLES = 16


@dataclass(frozen=True, eq=False)
class CameraView:
    """A square pinhole camera without shift, in the unit frame.

    Attributes:
        world_to_camera: Unit frame to OpenCV camera, float64 [4, 4].
        fov: Field of view in degrees.
        size: Width and height in pixels.
    """

    world_to_camera: np.ndarray
    fov: float
    size: int

    @classmethod
    def from_json(cls, text: str) -> "CameraView":
        """From {"world_to_camera": 4 x 4, "fov": degrees, "size": pixels}.

        Raises:
            SettingsError: It is something else.
        """
        try:
            values = json.loads(text)
            matrix = np.array(values["world_to_camera"], np.float64).reshape(4, 4)
            return cls(matrix, float(values["fov"]), int(values["size"]))
        except (ValueError, KeyError, TypeError) as error:
            raise SettingsError(f"{text!r} is no camera ({error}).", "Give world_to_camera, fov and size.") from error


def lit_pictures(
    context: bpy.types.Context,
    names: Sequence[str],
    world_from_unit: np.ndarray,
    view: CameraView,
    times: Sequence[float],
    go_to: Callable[[bpy.types.Context, float], None],
    on_progress: Callable[[float], None] = lambda fraction: None,
) -> list[bytes]:
    """RGBA PNG files of the scene at some times, in soft daylight; straight alpha, sRGB.

    Camera, lights and render settings stay in the scene: it is one that was opened for this only.

    Args:
        context: Its scene is rendered.
        names: Objects to show, with their instances.
        world_from_unit: From the camera's frame to the scene, [4, 4], uniform scale.
        view: Where from.
        times: Scene frames, with fractions.
        go_to: Evaluates the scene at one of them.
        on_progress: Called with the fraction done after each picture.

    Raises:
        RenderError: Blender did not render.
    """
    scene = context.scene
    camera = _placed(view, world_from_unit)
    shown = set(names)
    for thing in scene.objects:
        # Lights of the file, the display shapes of bones, ground planes that were not chosen.
        thing.hide_render = thing.name not in shown
    _add_camera(scene, camera, view, float(world_from_unit[0, 0]))
    _add_light(scene, camera)
    _set_up(scene, view.size)
    pngs = []
    with tempfile.TemporaryDirectory(prefix="gvf-clip-") as folder:
        for index, time in enumerate(times):
            go_to(context, time)
            path = Path(folder) / f"{index:05d}.png"
            scene.render.filepath = str(path)
            if "FINISHED" not in bpy.ops.render.render(write_still=True, scene=scene.name) or not path.is_file():
                raise RenderError("Blender did not render a picture of the clip.", "Try again.")
            pngs.append(path.read_bytes())
            on_progress((index + 1) / len(times))
    return pngs


def _placed(view: CameraView, world_from_unit: np.ndarray) -> np.ndarray:
    """Scene to OpenCV camera, rigid, [4, 4]; seen from there the scene looks like the unit frame from `view`."""
    scale = world_from_unit[0, 0]
    camera = view.world_to_camera @ np.linalg.inv(world_from_unit)
    camera[:3] *= scale
    return camera


def _add_camera(scene: bpy.types.Scene, world_to_camera: np.ndarray, view: CameraView, scale: float) -> None:
    """Scale: metres per unit of the unit frame."""
    lens = bpy.data.cameras.new(_NAME)
    lens.sensor_fit = "HORIZONTAL"
    lens.angle = np.radians(view.fov)
    lens.clip_start, lens.clip_end = 0.01 * scale, 100 * scale
    holder = bpy.data.objects.new(_NAME, lens)
    # Blender's cameras look along -z with y up.
    holder.matrix_world = Matrix((np.linalg.inv(world_to_camera) @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist())
    scene.collection.objects.link(holder)
    scene.camera = holder


def _add_light(scene: bpy.types.Scene, world_to_camera: np.ndarray) -> None:
    """An overcast sky with some sun from the upper left behind the camera."""
    world = bpy.data.worlds.new(_NAME)
    world.use_nodes = True
    background: Any = world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (0.9, 0.95, 1.0, 1.0)
    background.inputs["Strength"].default_value = 0.65
    scene.world = world
    sun = bpy.data.objects.new(_NAME, bpy.data.lights.new(_NAME, "SUN"))
    sun.data.energy, sun.data.angle = 1.7, 0.3
    travel = np.linalg.inv(world_to_camera)[:3, :3] @ (0.5, 0.3, 1.0) + (0.0, 0.0, -0.8)
    sun.rotation_mode = "QUATERNION"
    sun.rotation_quaternion = Vector(travel.tolist()).to_track_quat("-Z", "Y")
    scene.collection.objects.link(sun)


def _set_up(scene: bpy.types.Scene, size: int) -> None:
    render = scene.render
    try:
        render.engine = "CYCLES"
    except TypeError as error:
        raise RenderError("The Cycles renderer is disabled.", "Enable Cycles in Preferences > Add-ons.") from error
    render.resolution_x = render.resolution_y = size
    render.resolution_percentage = 100
    render.film_transparent = True
    render.use_compositing = render.use_sequencer = False
    render.use_persistent_data = True
    render.image_settings.file_format, render.image_settings.color_mode = "PNG", "RGBA"
    cycles = scene.cycles
    cycles.device, cycles.samples, cycles.seed, cycles.max_bounces = "CPU", _SAMPLES, 0, 3
    cycles.use_denoising = True
    scene.view_settings.view_transform = "Standard"
