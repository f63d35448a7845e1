"""Seeing the first frame of the video over the asset."""

from typing import ClassVar

import bpy

from ..core.errors import GvfBlenderError
from ..overlay import hide_overlay, look_freely, look_through, overlay_camera, show_overlay
from ..translations import translated
from .asset_operator import AssetOperator


class GVF_OT_show_video(AssetOperator, bpy.types.Operator):
    """The camera follows azimuth, elevation and field of view while they are changed."""

    bl_idname = "gvf.show_video"
    bl_label = "Show Video Over Asset"
    bl_description = (
        "Look at the selected objects from the given view, with the first used frame of the video before them; "
        "change azimuth and elevation until both lie over each other"
    )
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Add the camera, and let this viewport look through it."""
        try:
            camera = show_overlay(context, context.selected_objects)
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if context.area is not None and context.area.type == "VIEW_3D":
            look_through(context.space_data, camera)
        return {"FINISHED"}


class GVF_OT_hide_video(bpy.types.Operator):
    """Leaves nothing behind."""

    bl_idname = "gvf.hide_video"
    bl_label = "Hide Video"
    bl_description = "Remove the camera with the first frame of the video"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether it is shown."""
        if overlay_camera(context.scene) is None:
            cls.poll_message_set(translated("The video is not shown. Press Show Video Over Asset first."))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove the camera; viewports that looked through it look freely again."""
        camera = overlay_camera(context.scene)
        for screen in bpy.data.screens:
            for area in screen.areas:
                if area.type == "VIEW_3D" and area.spaces.active.camera == camera:
                    look_freely(area.spaces.active)
        hide_overlay(context.scene)
        return {"FINISHED"}


CLASSES = (GVF_OT_show_video, GVF_OT_hide_video)
