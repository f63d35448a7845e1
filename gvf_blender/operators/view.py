"""Where the video was seen from, taken from the 3D viewport."""

import math
from typing import ClassVar

import bpy
from mathutils import Matrix, Vector

from ..translations import translated


class GVF_OT_view_from_viewport(bpy.types.Operator):
    """Reads the viewport's direction only: the asset is centred and scaled on its own."""

    bl_idname = "gvf.view_from_viewport"
    bl_label = "From Viewport"
    bl_description = "Set azimuth and elevation to the direction from which this viewport sees the scene"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is a 3D viewport to take the view from."""
        if context.region_data is None or not hasattr(context.region_data, "view_rotation"):
            text = "There is no 3D viewport here. Run this from the sidebar of one."
            cls.poll_message_set(translated(text))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set the scene's azimuth and elevation, and from a camera view the field of view as well."""
        settings = context.scene.gvf
        viewport = context.region_data
        camera = context.scene.camera
        if viewport.view_perspective == "CAMERA" and camera is not None:
            rotation = camera.matrix_world.to_3x3().normalized()
            if camera.type == "CAMERA" and camera.data.type == "PERSP":
                settings.fov = math.degrees(camera.data.angle)
        else:
            rotation = viewport.view_rotation.to_matrix()
        settings.azimuth, settings.elevation = direction_of_view(rotation)
        settings.view = "given"
        return {"FINISHED"}


def direction_of_view(world_from_viewer: Matrix) -> tuple[float, float]:
    """Azimuth and elevation in degrees from which a viewer sees the scene.

    Args:
        world_from_viewer: Rotation, 3x3; the viewer looks along its own -z with y up.

    Returns:
        Azimuth within (-180, 180], 0 for the front view and 90 for the right view; elevation within
        [-89, 89], the range that the server accepts.
    """
    towards_viewer = world_from_viewer @ Vector((0.0, 0.0, 1.0))
    elevation = math.degrees(math.asin(max(-1.0, min(1.0, towards_viewer.z))))
    if towards_viewer.xy.length > 1e-4:
        azimuth = math.atan2(towards_viewer.x, -towards_viewer.y)
    else:
        # Seen from straight above or below, the right-hand side of the picture still tells the azimuth.
        right = world_from_viewer @ Vector((1.0, 0.0, 0.0))
        azimuth = math.atan2(right.y, right.x)
    degrees = round(math.degrees(azimuth), 2)
    return 180.0 if degrees == -180.0 else degrees, max(-89.0, min(89.0, round(elevation, 2)))


CLASSES = (GVF_OT_view_from_viewport,)
