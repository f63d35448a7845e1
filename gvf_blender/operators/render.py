"""The one render setting of the artist's scene that splats need, changed only on request."""

from typing import ClassVar

import bpy

from ..importer import raise_transparent_bounces
from ..translations import translated


class GVF_OT_raise_transparent_bounces(bpy.types.Operator):
    """A setting of the scene, and therefore never changed by an import."""

    bl_idname = "gvf.raise_transparent_bounces"
    bl_label = "Raise Transparent Bounces"
    bl_description = "Let Cycles look through as many splats as lie behind each other; too few show black specks"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is a limit."""
        if not hasattr(context.scene, "cycles"):
            cls.poll_message_set(translated("Cycles is not enabled. Enable it under Preferences > Add-ons."))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Raise the limit of the current scene."""
        raised = raise_transparent_bounces(context.scene)
        text = "Cycles looks through {count} transparent surfaces in this scene now."
        if not raised:
            text = "Cycles looks through {count} transparent surfaces in this scene already: enough for splats."
        self.report({"INFO"}, translated(text, count=context.scene.cycles.transparent_max_bounces))
        return {"FINISHED"} if raised else {"CANCELLED"}


CLASSES = (GVF_OT_raise_transparent_bounces,)
