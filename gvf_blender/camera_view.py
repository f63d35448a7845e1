"""From where a camera or another viewer sees an asset, in the angles of the settings."""

import math
from collections.abc import Iterable

import bpy
import numpy as np
from mathutils import Matrix, Vector

from .asset_properties import use_view
from .asset_vertices import world_vertices
from .capture import VideoView
from .core.motion_settings import RANGES

# A camera this close to the middle of the asset, in metres, does not see it from any side.
_NOWHERE = 1e-6


def look_from_camera(context: bpy.types.Context) -> None:
    """Set the scene's view to how its chosen camera sees the selected objects."""
    settings = context.scene.gvf
    use_view(settings, view_of_camera(context, settings.camera, context.selected_objects, settings.fov))


def view_of_camera(
    context: bpy.types.Context, camera: bpy.types.Object, objects: Iterable[bpy.types.Object], fov: float
) -> VideoView:
    """Where a camera sees the middle of objects from, wherever in its picture they are.

    Args:
        context: Its scene's resolution gives the shape of the camera's picture.
        camera: A camera object, or another one that a scene takes for its camera.
        objects: The asset; without any, and for orthographic cameras, the camera's own direction counts.
        fov: Field of view where the camera has none.
    """
    # A script may just have moved it.
    context.view_layer.update()
    matrix = camera.matrix_world
    rotation = matrix.to_3x3().normalized()
    lens = camera.data if camera.type == "CAMERA" else None
    towards = rotation.col[2]
    if lens is not None and lens.type == "PERSP":
        corners = np.array(lens.view_frame(scene=context.scene))
        fov = math.degrees(2 * math.atan(np.ptp(corners, axis=0)[:2].max() / (2 * abs(corners[0, 2]))))
        vertices = world_vertices(context, objects)
        if vertices is not None:
            from_middle = matrix.translation - Vector((vertices.min(axis=0) + vertices.max(axis=0)) / 2)
            towards = from_middle.normalized() if from_middle.length > _NOWHERE else towards
    low, high = RANGES["fov"]
    return VideoView(*_angles(towards, rotation.col[0]), min(max(round(fov, 2), low), high))


def direction_of_view(world_from_viewer: Matrix) -> tuple[float, float]:
    """Azimuth and elevation in degrees from which a viewer sees the scene.

    Args:
        world_from_viewer: Rotation, 3x3; the viewer looks along its own -z with y up.

    Returns:
        Azimuth within (-180, 180], 0 for the front view and 90 for the right view; elevation within
        [-89, 89], the range that the server accepts.
    """
    return _angles(world_from_viewer.col[2], world_from_viewer.col[0])


def _angles(towards_viewer: Vector, right: Vector) -> tuple[float, float]:
    """The same from two axes: towards the viewer, and to the right-hand side of the picture."""
    elevation = math.degrees(math.asin(max(-1.0, min(1.0, towards_viewer.z))))
    if towards_viewer.xy.length > 1e-4:
        azimuth = math.atan2(towards_viewer.x, -towards_viewer.y)
    else:
        # Seen from straight above or below, the right-hand side of the picture still tells the azimuth.
        azimuth = math.atan2(right.y, right.x)
    degrees = round(math.degrees(azimuth), 2)
    return 180.0 if degrees == -180.0 else degrees, max(-89.0, min(89.0, round(elevation, 2)))
