"""Taking results away again: the imported motion of objects, or all of an import."""

from typing import ClassVar

import bpy

from ..core.errors import GvfBlenderError
from ..importer import has_motion, has_result, obstacle_to_removal, remove_motion, remove_result
from ..translations import translated


class GVF_OT_remove_motion(bpy.types.Operator):
    """The mesh itself was never changed, so nothing else has to be put back."""

    bl_idname = "gvf.remove_motion"
    bl_label = "Remove Motion"
    bl_description = "Take the imported motion off the selected objects"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether something selected carries a motion that is of this file, in object mode."""
        if context.mode != "OBJECT":
            cls.poll_message_set(translated("Motion is removed in object mode. Switch to object mode."))
            return False
        obstacles = [obstacle_to_removal(item) for item in context.selected_objects if has_motion(item)]
        if not obstacles:
            text = "No selected object carries imported motion. Select the objects whose motion shall go."
            cls.poll_message_set(translated(text))
            return False
        if None not in obstacles:
            cls.poll_message_set(translated(obstacles[0]))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove the motion of every selected object that carries one of this file."""
        found = [item for item in context.selected_objects if has_motion(item) and obstacle_to_removal(item) is None]
        try:
            removed = [item.name for item in found if remove_motion(item)]
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, translated("Removed the motion of {names}.", names=", ".join(removed)))
        return {"FINISHED"}


class GVF_OT_remove_result(bpy.types.Operator):
    """The original stays, as it was before the import."""

    bl_idname = "gvf.remove_result"
    bl_label = "Remove Result"
    bl_description = (
        "Remove the splats and points of the active object's import, and take the motion off the mesh, which stays"
    )
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the active object is a result or carries a motion, both of this file, in object mode."""
        if context.mode != "OBJECT":
            cls.poll_message_set(translated("Results are removed in object mode. Switch to object mode."))
            return False
        if context.object is None or not has_result(context.object):
            text = "The active object is no result. Select splats, points or a mesh with imported motion."
            cls.poll_message_set(translated(text))
            return False
        obstacle = obstacle_to_removal(context.object)
        if obstacle is not None:
            cls.poll_message_set(translated(obstacle))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Remove what the import of the active object made."""
        try:
            removed = remove_result(context.object, context.scene.objects)
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, translated("Removed the result: {names}.", names=", ".join(removed)))
        return {"FINISHED"}


CLASSES = (GVF_OT_remove_motion, GVF_OT_remove_result)
