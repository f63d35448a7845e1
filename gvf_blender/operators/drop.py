"""Files that are dropped onto a 3D viewport: a driving video, the result of a job, or Gaussian splats."""

from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import bpy

from ..asset_properties import remembered_view, use_view
from ..captured_sources import captured_sources
from ..core.animation_file import Animation, read_animation
from ..core.errors import FileError, GvfBlenderError, SelectionError
from ..core.sources import SourceObject
from ..import_cost import cost_of_file
from ..importer import ImportOptions, import_animation, import_splats
from ..preferences import track_cache
from ..request import check_video
from ..translations import translated
from ..translations.properties import BoolProperty, StringProperty
from ..user_path import user_path
from .asset_operator import ObjectModeOperator

VIDEO_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".m4v", ".mpg", ".mpeg", ".gif")


class GVF_OT_choose_video(bpy.types.Operator):
    """What a dropped video does."""

    bl_idname = "gvf.choose_video"
    bl_label = "Choose Driving Video"
    bl_description = "Let the selected objects move like this video, seen from the view of their start frame if any"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    filepath: StringProperty(name="Video", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default=";".join(f"*{suffix}" for suffix in VIDEO_SUFFIXES), options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the file unless it was dropped."""
        if self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set the scene's video, and its view to that of the selected asset's start frame."""
        settings = context.scene.gvf
        try:
            settings.video = _kept_path(context, check_video(self.filepath))
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        view = remembered_view(context.selected_objects)
        if view is not None:
            use_view(settings, view)
        return {"FINISHED"}


def _kept_path(context: bpy.types.Context, path: Path) -> str:
    """The path as Blender's own file browser would put it into a file that is saved."""
    if bpy.data.filepath and context.preferences.filepaths.use_relative_paths:
        with suppress(ValueError):  # on Windows, from one drive to another
            return bpy.path.relpath(str(path))
    return str(path)


class GVF_OT_import_animation(bpy.types.Operator):
    """What a dropped result does; also for results that another Blender or the command line made."""

    bl_idname = "gvf.import_animation"
    bl_label = "Import Animation"
    bl_description = (
        "Add the splats and points of a result file; if the captured objects are selected, they move as well"
    )
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    filepath: StringProperty(name="File", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.safetensors", options={"HIDDEN"})
    splats: BoolProperty(name="Splats", default=True)
    points: BoolProperty(name="Points", default=True)
    motion: BoolProperty(name="Motion on the Selected Objects", default=True)

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the file, or what to make of a dropped one."""
        if self.filepath:
            return context.window_manager.invoke_props_dialog(self)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw what to make, and how large it gets."""
        layout = self.layout
        for name in ("splats", "points", "motion"):
            layout.prop(self, name)
        try:
            path = user_path(self.filepath)
            cost = cost_of_file(context, path, self.splats + self.points, self.motion)
        except FileError as error:
            cost = error.text
        layout.label(text=translated(cost), icon="DISK_DRIVE")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import the file."""
        try:
            path = user_path(self.filepath)
            animation = read_animation(path)
            sources = self._sources(context, animation, path) if self.motion else ()
            options = ImportOptions(self.splats, self.points, bool(sources), cache=track_cache(context))
            imported = import_animation(context, path, sources, options)
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        for warning in imported.warnings:
            self.report({"WARNING"}, translated(warning))
        return {"FINISHED"}

    def _sources(self, context: bpy.types.Context, animation: Animation, path: Path) -> tuple[SourceObject, ...]:
        """The selected objects, if they are what was captured; else none, as Gaussians need none."""
        try:
            return captured_sources(context.selected_objects, "the selection", animation, path)
        except (FileError, SelectionError) as error:
            if not (self.splats or self.points):
                raise
            if context.selected_objects:
                text = translated("The selected objects do not move: {reason}", reason=error.message)
                self.report({"WARNING"}, text)
            return ()


class GVF_OT_import_splats(ObjectModeOperator, bpy.types.Operator):
    """What a dropped PLY file does, if the artist chooses this and not Blender's own importer of meshes.

    The splats become the active object, which another mode than object mode holds on to.
    """

    bl_idname = "gvf.import_splats"
    bl_label = "Import Gaussian Splats"
    bl_description = (
        "Add the Gaussian splats of a PLY file, as 3D Gaussian splatting tools and the export here write it"
    )
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    filepath: StringProperty(name="File", subtype="FILE_PATH", options={"SKIP_SAVE"})
    filter_glob: StringProperty(default="*.ply", options={"HIDDEN"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the file unless it was dropped."""
        if self.filepath:
            return self.execute(context)
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Import the file, and select what it became."""
        try:
            imported = import_splats(context, user_path(self.filepath))
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        for thing in context.selected_objects:
            thing.select_set(False)
        imported.splats.select_set(True)
        context.view_layer.objects.active = imported.splats
        for warning in imported.warnings:
            self.report({"WARNING"}, translated(warning))
        return {"FINISHED"}


class ViewportDrop:
    """Files dropped onto a 3D viewport."""

    @classmethod
    def poll_drop(cls, context: bpy.types.Context) -> bool:
        """Whether the file was dropped onto a 3D viewport."""
        return context.area is not None and context.area.type == "VIEW_3D"


class GVF_FH_video(ViewportDrop, bpy.types.FileHandler):
    """Driving videos."""

    bl_idname = "GVF_FH_video"
    bl_label = "GVF Driving Video"
    bl_import_operator = "gvf.choose_video"
    bl_file_extensions = ";".join(VIDEO_SUFFIXES)


class GVF_FH_animation(ViewportDrop, bpy.types.FileHandler):
    """Results."""

    bl_idname = "GVF_FH_animation"
    bl_label = "GVF Animation"
    bl_import_operator = "gvf.import_animation"
    bl_file_extensions = ".safetensors"


class GVF_FH_splats(ViewportDrop, bpy.types.FileHandler):
    """Gaussian splats; Blender asks whether they or a mesh are meant."""

    bl_idname = "GVF_FH_splats"
    bl_label = "GVF Gaussian Splats"
    bl_import_operator = "gvf.import_splats"
    bl_file_extensions = ".ply"


CLASSES = (
    GVF_OT_choose_video,
    GVF_OT_import_animation,
    GVF_OT_import_splats,
    GVF_FH_video,
    GVF_FH_animation,
    GVF_FH_splats,
)
