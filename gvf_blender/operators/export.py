"""Handing the active object's animation to another program."""

from pathlib import Path
from typing import ClassVar

import bpy
from bpy.props import IntProperty, StringProperty

from ..core.errors import GvfBlenderError
from ..exporter import FORMATS, export, export_obstacle
from ..exporter.export import usual_suffix
from ..translations import translated


class GVF_OT_export(bpy.types.Operator):
    """The file is read back, so that the report tells how exact it is."""

    bl_idname = "gvf.export"
    bl_label = "Export Animation"
    bl_description = (
        "Write the animation of the active object: splats and points as a PLY sequence; meshes as Alembic, USD, GLB "
        "with morph targets or a PC2 point cache, by the suffix of the file name"
    )
    bl_options: ClassVar[set[str]] = {"REGISTER"}

    filepath: StringProperty(name="File", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(
        default=";".join(f"*{suffix}" for suffixes in FORMATS.values() for suffix in suffixes), options={"HIDDEN"}
    )
    frame_start: IntProperty(name="First Frame", description="Scene frame", options={"SKIP_SAVE"})
    frame_end: IntProperty(name="Last Frame", description="Scene frame", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the active object can be exported, in object mode."""
        obstacle = export_obstacle(context.object)
        if obstacle is None and context.mode != "OBJECT":
            obstacle = GvfBlenderError("Animations are exported in object mode.", "Switch to object mode.")
        if obstacle is not None:
            cls.poll_message_set(translated(obstacle.text))
        return obstacle is None

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the file."""
        if not self.filepath:
            blend = Path(bpy.data.filepath)
            name = bpy.path.clean_name(context.object.name) + usual_suffix(context.object)
            self.filepath = str(blend.parent / name) if blend.name else name
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Export and report the error of the file."""
        try:
            path = Path(bpy.path.abspath(self.filepath)).expanduser()
            frames = (self._frame(name) for name in ("frame_start", "frame_end"))
            report = export(context, context.object, path, *frames)
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, str(report))
        return {"FINISHED"}

    def _frame(self, name: str) -> int | None:
        return getattr(self, name) if self.properties.is_property_set(name) else None


CLASSES = (GVF_OT_export,)
