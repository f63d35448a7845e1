"""The report for whoever helps."""

from typing import ClassVar

import bpy

from ..diagnosis import report


class GVF_OT_diagnose(bpy.types.Operator):
    """Without a window there is no clipboard: `gvf_blender.diagnosis.report` tells the same."""

    bl_idname = "gvf.diagnose"
    bl_label = "Copy Report"
    bl_description = "Copy versions, settings, server and jobs to the clipboard, to paste into a bug report"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy the report."""
        context.window_manager.clipboard = report(context)
        self.report({"INFO"}, "Copied the report to the clipboard.")
        return {"FINISHED"}


CLASSES = (GVF_OT_diagnose,)
