"""Taking the imported motion off an object again."""

from typing import ClassVar

import bpy

from ..core.errors import GvfBlenderError
from ..importer import has_motion, remove_motion
from ..translations import translated


class GVF_OT_remove_motion(bpy.types.Operator):
    """The mesh itself was never changed, so nothing else has to be put back."""

    bl_idname = "gvf.remove_motion"
    bl_label = "Remove Motion"
    bl_description = "Take the imported motion off the selected objects"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether something selected carries a motion, in object mode."""
        if context.mode != "OBJECT":
            cls.poll_message_set(translated("Motion is removed in object mode. Switch to object mode."))
            return False
        if not any(map(has_motion, context.selected_objects)):
            text = "No selected object carries imported motion. Select the objects whose motion shall go."
            cls.poll_message_set(translated(text))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove the motion of every selected object that carries one."""
        try:
            removed = [item.name for item in context.selected_objects if has_motion(item) and remove_motion(item)]
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, translated("Removed the motion of {names}.", names=", ".join(removed)))
        return {"FINISHED"}


CLASSES = (GVF_OT_remove_motion,)
