"""Camera, light and Cycles settings that the example's video and the demo's pictures share."""

from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

from gvf_core.rendering.camera import Camera, orbit_camera


def camera_around(
    vertices: np.ndarray, azimuth: float, elevation: float, radius: float, fov: float, size: int
) -> Camera:
    """An orbit camera of the unit frame of an asset, in the scene.

    Args:
        vertices: The asset in its first frame, world positions [vertices, 3].
        azimuth: Degrees; 0 is Blender's front view.
        elevation: Degrees above the horizon.
        radius: Distance in units of the longest side of the asset's bounding box.
        fov: Full field of view in degrees.
        size: Width and height in pixels.
    """
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    scale = float((high - low).max())
    unit = orbit_camera(azimuth, elevation, radius, fov, size)
    world_to_camera = unit.world_to_camera.copy()
    world_to_camera[:3, 3] *= scale
    world_to_camera[:3, 3] -= world_to_camera[:3, :3] @ ((low + high) / 2)
    return Camera(world_to_camera, unit.intrinsics, size, size)


def add_camera(scene: bpy.types.Scene, camera: Camera) -> None:
    """Put an equal Blender camera into the scene and make it the active one."""
    opengl_from_opencv = np.diag([1.0, -1.0, -1.0, 1.0])
    data = bpy.data.cameras.new("Video Camera")
    data.sensor_fit = "HORIZONTAL"
    data.angle = 2 * np.arctan(0.5 / camera.intrinsics[0])
    distance = float(np.linalg.norm(camera.world_to_camera[:3, 3]))
    data.clip_start, data.clip_end = distance / 1000, distance * 10
    holder = bpy.data.objects.new("Video Camera", data)
    holder.matrix_world = Matrix((np.linalg.inv(camera.world_to_camera) @ opengl_from_opencv).tolist())
    scene.collection.objects.link(holder)
    scene.camera = holder


def add_light(scene: bpy.types.Scene, camera: Camera) -> None:
    """Soft light as on an overcast day, with some sun from the upper left behind the camera."""
    world = bpy.data.worlds.new("Sky")
    background = world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value = (0.9, 0.95, 1.0, 1.0)
    background.inputs["Strength"].default_value = 0.65
    scene.world = world
    sun = bpy.data.objects.new("Sun", bpy.data.lights.new("Sun", "SUN"))
    sun.data.energy = 1.7
    sun.data.angle = 0.3
    camera_to_world = np.linalg.inv(camera.world_to_camera)
    travel = camera_to_world[:3, :3] @ (0.5, 0.3, 1.0) + (0.0, 0.0, -0.8)
    sun.rotation_mode = "QUATERNION"
    sun.rotation_quaternion = Vector(travel).to_track_quat("-Z", "Y")
    scene.collection.objects.link(sun)


def set_up_cycles(scene: bpy.types.Scene, size: int, samples: int, denoise: bool) -> None:
    """Square RGBA pictures with a transparent background and unchanged colours."""
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.samples = samples
    scene.cycles.use_denoising = denoise
    scene.cycles.max_bounces = 3
    scene.cycles.seed = 0
    scene.render.film_transparent = True
    scene.render.use_persistent_data = True
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.resolution_percentage = 100
    scene.render.image_settings.file_format = "PNG"
    scene.render.image_settings.color_mode = "RGBA"
    scene.view_settings.view_transform = "Standard"


def render_frame(frame: float, path: Path) -> None:
    """Render the scene at a time, which may have a fraction, into a PNG file."""
    show_frame(frame)
    bpy.context.scene.render.filepath = str(path)
    bpy.ops.render.render(write_still=True)


def show_frame(frame: float) -> bpy.types.Depsgraph:
    """Evaluate the scene at a time, which may have a fraction."""
    bpy.context.scene.frame_set(int(frame // 1), subframe=frame % 1)
    return bpy.context.evaluated_depsgraph_get()


def world_vertices(evaluated: bpy.types.Object) -> np.ndarray:
    """World positions of an evaluated mesh's vertices or point cloud's points, float64 [vertices, 3]."""
    positions = evaluated.data.attributes["position"].data
    flat = np.empty(len(positions) * 3, np.float32)
    positions.foreach_get("vector", flat)
    matrix = np.array(evaluated.matrix_world)
    return flat.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3]
