"""Where the video was seen from, taken from the 3D viewport or from a camera."""

from typing import ClassVar

import bpy

from ..asset_properties import use_view
from ..camera_view import direction_of_view, look_from_camera, view_of_camera
from ..capture import VideoView
from ..translations import translated
from ..translations.properties import BoolProperty


class GVF_OT_view_from_viewport(bpy.types.Operator):
    """Reads the viewport's direction only: the asset is centred and scaled on its own."""

    bl_idname = "gvf.view_from_viewport"
    bl_label = "From Viewport"
    bl_description = "Set azimuth and elevation to the direction from which this viewport sees the scene"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    second: BoolProperty(
        name="Second Video",
        description="For the second video",
        options={"HIDDEN", "SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is a 3D viewport to take the view from."""
        if context.region_data is None or not hasattr(context.region_data, "view_rotation"):
            text = "There is no 3D viewport here. Run this from the sidebar of one."
            cls.poll_message_set(translated(text))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set azimuth and elevation of a video, and from a camera view the first one's field of view as well."""
        settings = context.scene.gvf
        viewport = context.region_data
        camera = context.scene.camera
        if viewport.view_perspective == "CAMERA" and camera is not None:
            view = view_of_camera(context, camera, context.selected_objects, settings.fov)
        else:
            view = VideoView(*direction_of_view(viewport.view_rotation.to_matrix()), settings.fov)
        if self.second:
            settings.second_azimuth, settings.second_elevation = view.azimuth, view.elevation
        else:
            use_view(settings, view)
        return {"FINISHED"}


class GVF_OT_view_from_camera(bpy.types.Operator):
    """For a camera that was moved since it was chosen, or another selection."""

    bl_idname = "gvf.view_from_camera"
    bl_label = "From Camera"
    bl_description = "Set azimuth, elevation and field of view to how the chosen camera sees the selected objects now"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether a camera is chosen."""
        if context.scene.gvf.camera is None:
            cls.poll_message_set(translated("No camera is chosen. Choose the one that the video was seen from."))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set the scene's view."""
        look_from_camera(context)
        return {"FINISHED"}


CLASSES = (GVF_OT_view_from_viewport, GVF_OT_view_from_camera)
