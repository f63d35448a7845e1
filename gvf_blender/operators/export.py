"""Handing the active object's animation to another program."""

from pathlib import Path
from typing import ClassVar

import bpy

from ..core.errors import GvfBlenderError
from ..core.sentence import Sentence, showable
from ..exporter import FORMATS, export, export_obstacle
from ..exporter.export import SEVERAL, animation_frames, format_of, of_one_result, replaced_files, usual_format
from ..translations.properties import BoolProperty, EnumProperty, IntProperty, StringProperty
from ..ui.text import draw_sentence
from ..user_path import real_path
from .asset_operator import GuardedOperator


class GVF_OT_export(GuardedOperator, bpy.types.Operator):
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
    # The file browser asks before it lets a file be replaced; of a sequence it knows none, so the dialog counts them.
    check_existing: BoolProperty(default=True, options={"HIDDEN"})
    format: EnumProperty(
        name="Format",
        description="Changes the suffix of the file name, which tells the format",
        items=(
            ("ALEMBIC", "Alembic", "For other 3D programs: positions of all vertices"),
            ("USD", "USD", "For other 3D programs: positions of all vertices"),
            ("GLB", "GLB", "For web viewers and game engines: one morph target per frame, with materials"),
            ("PC2", "PC2", "A point cache, for the Mesh Cache modifier"),
        ),
        options={"SKIP_SAVE"},
    )
    shown_format: StringProperty(options={"HIDDEN", "SKIP_SAVE"})
    frame_start: IntProperty(
        name="First Frame", description="Scene frame; left out: that of the animation", options={"SKIP_SAVE"}
    )
    frame_end: IntProperty(
        name="Last Frame", description="Scene frame; left out: that of the animation", options={"SKIP_SAVE"}
    )

    whole: BoolProperty(
        name="Whole Result",
        description="Write all meshes that move by the same import into one file; a point cache holds the active one",
        default=True,
        options={"SKIP_SAVE"},
    )

    @staticmethod
    def obstacle(context: bpy.types.Context) -> GvfBlenderError | None:
        """Why the active object cannot be exported now."""
        obstacle = export_obstacle(context.object)
        if obstacle is None and context.mode != "OBJECT":
            return GvfBlenderError("Animations are exported in object mode.", "Switch to object mode.")
        return obstacle

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the file, with what is exported filled in."""
        thing = context.object
        if not self.filepath:
            blend = Path(bpy.data.filepath)
            name = bpy.path.clean_name(thing.name) + FORMATS[usual_format(thing)][0]
            self.filepath = str(blend.parent / name) if blend.name else name
        for name, frame in zip(("frame_start", "frame_end"), animation_frames(context.scene, thing), strict=True):
            if not self.properties.is_property_set(name):
                setattr(self, name, frame)
        self.shown_format = self.format
        self.check(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def check(self, context: bpy.types.Context) -> bool:
        """Let the suffix follow the format where that was changed, and else the format the suffix."""
        if not self._offers_formats(context):
            return False
        path = Path(self.filepath)
        told = format_of(path)
        if self.format != self.shown_format:
            self.shown_format = self.format
            if told == self.format:
                return False
            suffix = FORMATS[self.format][0]
            self.filepath = str(path.with_suffix(suffix) if told is not None else path.with_name(path.name + suffix))
            return True
        if told in (None, "PLY", self.format):
            return False
        self.format = self.shown_format = told
        return True

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the format, which Gaussians have no choice of, the frames, and what they replace of a sequence."""
        layout = self.layout
        layout.use_property_split = True
        if self._offers_formats(context):
            layout.prop(self, "format")
            if self.format in SEVERAL and len(of_one_result(context.object)) > 1:
                layout.prop(self, "whole")
        column = layout.column(align=True)
        column.prop(self, "frame_start")
        column.prop(self, "frame_end")
        if not self._offers_formats(context) and (count := self._replaced()):
            draw_sentence(layout, context, Sentence("Files that are replaced: {count}", count=count), icon="ERROR")

    def _replaced(self) -> int:
        try:
            return replaced_files(real_path(self.filepath), range(self.frame_start, self.frame_end + 1))
        except GvfBlenderError:
            return 0

    @staticmethod
    def _offers_formats(context: bpy.types.Context) -> bool:
        return context.object is not None and usual_format(context.object) != "PLY"

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Export and report the error of the file."""
        try:
            # Resolved, so that a link stays one and the file that it stands for is replaced.
            path = real_path(self.filepath)
            frames = (self._frame(name) for name in ("frame_start", "frame_end"))
            is_whole = self.whole and format_of(path) in SEVERAL
            things = of_one_result(context.object) if is_whole else [context.object]
            report = export(context, things, path, *frames)
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, showable(str(report)))
        return {"FINISHED"}

    def _frame(self, name: str) -> int | None:
        return getattr(self, name) if self.properties.is_property_set(name) else None


CLASSES = (GVF_OT_export,)
