"""The start frame for an image-to-video tool, and the view that it was seen from."""

from pathlib import Path
from typing import ClassVar

import bpy

from ..asset_properties import remember_view, remembered_view, scene_view, use_view
from ..capture import StartFrameOptions, render_start_frame
from ..core.errors import FileError, GvfBlenderError
from ..translations import translated
from ..translations.properties import FloatVectorProperty, IntProperty, StringProperty
from ..user_folder import data_places
from ..user_path import user_path
from .asset_operator import AssetOperator


class GVF_OT_render_start_frame(AssetOperator, bpy.types.Operator):
    """Blocks for the one or two seconds of the render."""

    bl_idname = "gvf.render_start_frame"
    bl_label = "Render Start Frame"
    bl_description = (
        "Render the selected objects from the given view before a plain background, as the first picture for an "
        "image-to-video tool. The objects remember the view, so the video that comes back needs no search for it"
    )
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    filepath: StringProperty(
        name="File",
        description="PNG file to write; empty for a new one beside the .blend file",
        subtype="FILE_PATH",
        options={"SKIP_SAVE"},
    )
    width: IntProperty(name="Width", description="Pixels", default=1024, min=64, max=4096)
    height: IntProperty(name="Height", description="Pixels", default=1024, min=64, max=4096)
    background: FloatVectorProperty(
        name="Background",
        description="A colour that the asset does not have makes it easy to cut out of the video",
        subtype="COLOR_GAMMA",
        size=3,
        min=0.0,
        max=1.0,
        default=(1.0, 1.0, 1.0),
    )

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Render, and remember the view."""
        settings = context.scene.gvf
        view, objects = scene_view(settings), context.selected_objects
        options = StartFrameOptions(self.width, self.height, tuple(self.background))
        try:
            path = render_start_frame(context, objects, self._path(objects[0].name), view, options)
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        # Adjusting the size in the redo panel replaces this picture instead of adding another one.
        self.filepath = str(path)
        remember_view(objects, view, str(path))
        use_view(settings, view)
        self.report({"INFO"}, translated("Rendered {path}.", path=path))
        return {"FINISHED"}

    def _path(self, name: str) -> Path:
        if self.filepath:
            path = user_path(self.filepath)
            return path if path.suffix.lower() == ".png" else path.with_name(path.name + ".png")
        folder = Path(bpy.data.filepath).parent if bpy.data.filepath else data_places().start_frames
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(
                f"The folder {folder} cannot be made ({error.strerror}).", "Save the .blend file first."
            ) from error
        stem = bpy.path.clean_name(name) + "-start"
        names = (f"{stem}{number}.png" for number in ("", *(f"-{count}" for count in range(2, 10_000))))
        return next(folder / each for each in names if not (folder / each).exists())


class GVF_OT_use_start_view(bpy.types.Operator):
    """For the asset to which an artist comes back."""

    bl_idname = "gvf.use_start_view"
    bl_label = "Use View of Start Frame"
    bl_description = "Set azimuth, elevation and field of view to those of the selected object's start frame"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether a selected object has a start frame."""
        if remembered_view(context.selected_objects) is None:
            text = "No start frame was rendered of the selected objects. Render one first."
            cls.poll_message_set(translated(text))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Set the scene's view."""
        use_view(context.scene.gvf, remembered_view(context.selected_objects))
        return {"FINISHED"}


CLASSES = (GVF_OT_render_start_frame, GVF_OT_use_start_view)
