"""Looking at the driving video before a job."""

from typing import ClassVar

import bpy

from ..core.errors import GvfBlenderError
from ..preferences import server_choice
from ..request import check_video
from ..translations import CONTEXT, translated
from ..video_check import present_look


class GVF_OT_check_video(bpy.types.Operator):
    """What is found stands in the panel until something about the video is changed."""

    bl_idname = "gvf.check_video"
    bl_label = "Check Video"
    bl_description = (
        "Let the server show what it would cut out of the used frames, and say what makes a good result unlikely: "
        "cuts, a moving camera, an object that leaves the picture"
    )
    bl_options: ClassVar[set[str]] = set()

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there are a video and a place where a server is expected."""
        try:
            check_video(context.scene.gvf.video)
            server_choice(context).locate()
        except GvfBlenderError as error:
            cls.poll_message_set(translated(error.text))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the server; in background mode, wait for it and report what it says."""
        look = present_look()
        try:
            look.begin(context.scene.gvf, server_choice(context).connect)
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        for warning in look.check.warnings if look.check is not None else ():
            self.report({"WARNING"}, warning)
        return {"FINISHED"}


class GVF_OT_close_check(bpy.types.Operator):
    """An unfinished look ends unseen."""

    bl_idname = "gvf.close_check"
    bl_label = "Close"
    bl_translation_context = CONTEXT  # Blender's own is of a curve that is closed
    bl_description = "Take what was found about the video out of the panel; stop looking if it is not finished"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Forget it."""
        present_look().dismiss()
        return {"FINISHED"}


CLASSES = (GVF_OT_check_video, GVF_OT_close_check)
