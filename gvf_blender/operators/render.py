"""The one render setting of the artist's scene that splats need, changed only on request."""

from typing import ClassVar

import bpy

from ..importer import raise_transparent_bounces


class GVF_OT_raise_transparent_bounces(bpy.types.Operator):
    """A setting of the scene, and therefore never changed by an import."""

    bl_idname = "gvf.raise_transparent_bounces"
    bl_label = "Raise Transparent Bounces"
    bl_description = "Let Cycles look through as many splats as lie behind each other; too few show black specks"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Raise the limit of the current scene."""
        raise_transparent_bounces(context.scene)
        return {"FINISHED"}


CLASSES = (GVF_OT_raise_transparent_bounces,)
