"""The add-on's preferences: which server, and what a scene starts from."""

from pathlib import Path

import bpy
from bpy.props import PointerProperty

from .client import default_handshake_path
from .core.data_places import PARTIAL
from .importer import TrackCache
from .managed_server import managed_server
from .properties import GVFDefaults
from .server_choice import ServerChoice
from .server_installation import made_environment
from .translations import translated
from .translations.properties import EnumProperty, IntProperty, StringProperty
from .user_folder import absolute_path, chosen_folder, chosen_folders, data_places

# A .blend file of a gigabyte takes half a minute to save, also when Blender saves by itself.
_TRACKS_ABOVE_MB = 1000


class GVFPreferences(bpy.types.AddonPreferences):
    """Saved with Blender's preferences and not with a file, because a token is nobody else's business."""

    bl_idname = __package__

    server_mode: EnumProperty(
        name="Server",
        description="How the server is found",
        items=(
            ("HANDSHAKE", "On This Machine", "The server writes down where it listens; nothing to enter"),
            ("ADDRESS", "At an Address", "A server that somebody else started, with its address and token"),
            (
                "MANAGED",
                "Started by Blender",
                "Blender starts the server when a job needs it, and ends it at its own end",
            ),
        ),
        default="HANDSHAKE",
    )
    handshake_path: StringProperty(
        name="Handshake File",
        description="The file in which the server writes down where it listens; empty for the usual place",
        subtype="FILE_PATH",
    )
    address: StringProperty(
        name="Address",
        description="Address of the server, for example http://127.0.0.1:8000",
        default="http://127.0.0.1:8000",
    )
    token: StringProperty(
        name="Token",
        description="The server's token, from its handshake file (~/.gvf/server.json) or its --token-file",
        subtype="PASSWORD",
    )
    python: StringProperty(
        name="Python",
        description="The Python of an environment that has GVF installed, for example ~/gvf/.venv/bin/python",
        subtype="FILE_PATH",
    )
    data_folder: StringProperty(
        name="Data Folder",
        description="Where results, tracks of unsaved files and a new server environment are kept, and weights and "
        "jobs of the server that Blender starts, from its next start on; empty for the usual places",
        subtype="DIR_PATH",
        update=lambda preferences, context: _note_folder(preferences),
    )
    data_folders: StringProperty(
        name="Data Folders",
        description="Every folder that was chosen, one a line, because what is there stays there",
        options={"HIDDEN"},
    )
    tracks_above: IntProperty(
        name="Tracks in Own File Above",
        description="Megabytes of splats and points above which an import keeps them in a file beside the .blend file, "
        "or in the data folder while that is not saved; 0 keeps all in the .blend file",
        default=_TRACKS_ABOVE_MB,
        min=0,
    )
    defaults: PointerProperty(type=GVFDefaults)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the preferences."""
        # Not at the top: they read these preferences.
        from .server_watch import look
        from .ui.data_folder import draw_places
        from .ui.missing_server import draw_reason

        layout = self.layout
        layout.use_property_split = True
        layout.prop(self, "server_mode", expand=True)
        if self.server_mode == "ADDRESS":
            layout.prop(self, "address")
            layout.prop(self, "token")
        elif self.server_mode == "MANAGED":
            layout.prop(self, "python")
        else:
            layout.prop(self, "handshake_path")
            if not self.handshake_path:
                layout.label(text=translated("Usual place: {path}", path=default_handshake_path()))
        choice = server_choice(context)
        draw_reason(layout, context, choice, look(choice))
        layout.prop(self, "data_folder")
        draw_places(layout, context)
        layout.prop(self, "tracks_above")
        column = layout.column(heading="Defaults for Scenes")
        column.prop(self.defaults, "engine")
        column.prop(self.defaults, "gaussians")
        column.prop(self.defaults, "max_frames")
        row = column.row()
        row.prop(self.defaults, "outputs")


def _note_folder(preferences: GVFPreferences) -> None:
    """Remember the folder, in full: a path relative to one .blend file would mean another folder in the next."""
    text = preferences.data_folder
    folder = absolute_path(text)
    if text.startswith("//"):
        preferences.data_folder = str(folder)  # which comes here once more
    elif folder is not None and folder not in chosen_folders():
        preferences.data_folders += f"{folder}\n"


def addon_preferences(context: bpy.types.Context) -> GVFPreferences | None:
    """The preferences; None when the package was registered from a script and is not an enabled add-on."""
    addon = context.preferences.addons.get(__package__)
    return addon.preferences if addon is not None else None


def server_choice(context: bpy.types.Context) -> ServerChoice:
    """The server that the preferences name."""
    preferences = addon_preferences(context)
    if preferences is None:
        return ServerChoice()
    if preferences.server_mode == "ADDRESS":
        return ServerChoice(address=preferences.address.strip(), token=preferences.token.strip())
    if preferences.server_mode == "MANAGED":
        python = absolute_path(preferences.python)
        places = data_places() if chosen_folder() is not None else None
        return ServerChoice(
            process=managed_server(), python=python, environment=made_environment(python), places=places
        )
    return ServerChoice(handshake_path=absolute_path(preferences.handshake_path))


def results_folder() -> Path:
    """Where downloaded results wait for their import."""
    return data_places().results


def track_cache(context: bpy.types.Context) -> TrackCache | None:
    """Where large tracks go: beside the .blend file, or while it has no name, into the data folder."""
    preferences = addon_preferences(context)
    above = _TRACKS_ABOVE_MB if preferences is None else preferences.tracks_above
    if not above:
        return None
    return TrackCache(tracks_folder(), above * 1_000_000)


def tracks_folder() -> Path:
    """Where the open file's large tracks belong."""
    blend = Path(bpy.data.filepath)
    return blend.parent / f"{blend.stem.removesuffix(PARTIAL)} tracks" if bpy.data.filepath else data_places().tracks


CLASSES = (GVFPreferences,)


def register() -> None:
    """Register the preferences."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Undo `register`; the values stay."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
