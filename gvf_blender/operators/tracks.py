"""Tracks in files of their own that were moved, or that are not where the .blend file is."""

from pathlib import Path
from typing import ClassVar

import bpy

from ..core.errors import FileError
from ..importer.track_cache import copy_tracks, lost_tracks, relink_tracks, tracks_elsewhere
from ..preferences import tracks_folder
from ..translations import translated
from ..translations.properties import StringProperty
from ..user_path import user_path


class GVF_OT_find_tracks(bpy.types.Operator):
    """Compares contents, so a renamed file is found, and an older one of the same name is not taken for it."""

    bl_idname = "gvf.find_tracks"
    bl_label = "Find Tracks"
    bl_description = "Look in a folder for the files with the tracks of all results that lost theirs"
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    directory: StringProperty(name="Folder", subtype="DIR_PATH", options={"SKIP_SAVE"})

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether anything is lost."""
        if not lost_tracks(context.scene.objects):
            text = "The tracks of all results in this scene are where they should be."
            cls.poll_message_set(translated(text))
            return False
        return True

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask for the folder."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Relink what is found."""
        try:
            folder = user_path(self.directory)
        except FileError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        lost = lost_tracks(context.scene.objects)
        names = [thing.name for thing in lost]
        missing = relink_tracks(lost, folder) if folder.is_dir() else lost
        if missing:
            text = "{folder} does not hold the tracks of {name}. Choose another folder."
            self.report({"ERROR"}, translated(text, folder=folder, name=missing[0].name))
        if len(missing) == len(names):
            return {"CANCELLED"}
        self.report({"INFO"}, translated("Found the tracks of {count} results.", count=len(names) - len(missing)))
        return {"FINISHED"}


class GVF_OT_copy_tracks(bpy.types.Operator):
    """For what was imported before the first save, or a file that was saved in another folder."""

    bl_idname = "gvf.copy_tracks"
    bl_label = "Copy Tracks Beside File"
    bl_description = (
        "Copy the files with the tracks of all results into a folder beside the .blend file, and use the copies"
    )
    bl_options: ClassVar[set[str]] = {"REGISTER", "UNDO"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether tracks of a saved file are elsewhere."""
        if not bpy.data.filepath:
            cls.poll_message_set(translated("The .blend file has no folder yet. Save it first."))
            return False
        if not tracks_elsewhere(context.scene.objects, Path(bpy.data.filepath)):
            text = "The tracks of all results in this scene are where they should be."
            cls.poll_message_set(translated(text))
            return False
        return True

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Copy and link."""
        try:
            copy_tracks(tracks_elsewhere(context.scene.objects, Path(bpy.data.filepath)), tracks_folder())
        except FileError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        self.report({"INFO"}, translated("Copied the tracks to {folder}. Save the file.", folder=tracks_folder()))
        return {"FINISHED"}


CLASSES = (GVF_OT_find_tracks, GVF_OT_copy_tracks)
