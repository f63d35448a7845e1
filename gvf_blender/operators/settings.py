"""Back to the defaults of the preferences."""

from typing import ClassVar

import bpy

from ..preferences import addon_preferences
from ..properties import SHARED_NAMES, copy_settings


class GVF_OT_reset_settings(bpy.types.Operator):
    """The driving video stays chosen."""

    bl_idname = "gvf.reset_settings"
    bl_label = "Reset Settings"
    bl_description = "Set this scene's settings to the defaults of the add-on's preferences"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy the defaults into the scene."""
        settings = context.scene.gvf
        preferences = addon_preferences(context)
        if preferences is not None:
            copy_settings(preferences.defaults, settings)
        else:
            for name in SHARED_NAMES:
                settings.property_unset(name)
        return {"FINISHED"}


CLASSES = (GVF_OT_reset_settings,)
