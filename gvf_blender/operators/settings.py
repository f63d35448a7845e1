"""Back to the defaults of the preferences."""

from typing import ClassVar

import bpy

from ..scene_defaults import reset_settings


class GVF_OT_reset_settings(bpy.types.Operator):
    """The driving video stays chosen."""

    bl_idname = "gvf.reset_settings"
    bl_label = "Reset Settings"
    bl_description = (
        "Set all settings of this scene but its video and start to the defaults of the add-on's preferences: "
        "also the view, the used frames and what may move"
    )
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Take the defaults over."""
        reset_settings(context)
        return {"FINISHED"}


CLASSES = (GVF_OT_reset_settings,)
