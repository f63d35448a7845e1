"""The add-on's preferences: which server, and what a scene starts from."""

from pathlib import Path

import bpy
from bpy.props import EnumProperty, IntProperty, PointerProperty, StringProperty

from .client import default_handshake_path
from .importer import TrackCache
from .managed_server import managed_server
from .properties import GVFDefaults
from .server_choice import ServerChoice
from .server_installation import made_environment
from .translations import translated
from .user_folder import home_folder

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
        description="The token that the server printed when it started",
        subtype="PASSWORD",
    )
    python: StringProperty(
        name="Python",
        description="The Python of an environment that has GVF installed, for example ~/gvf/.venv/bin/python",
        subtype="FILE_PATH",
    )
    tracks_above: IntProperty(
        name="Tracks in Own File Above",
        description="Megabytes of splats and points above which an import keeps them in a file beside the .blend file, "
        "or in the home folder while that is not saved; 0 keeps all in the .blend file",
        default=_TRACKS_ABOVE_MB,
        min=0,
    )
    defaults: PointerProperty(type=GVFDefaults)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the preferences."""
        # Not at the top: both read these preferences.
        from .server_watch import look
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
        layout.prop(self, "tracks_above")
        column = layout.column(heading="Defaults for Scenes")
        column.prop(self.defaults, "engine")
        column.prop(self.defaults, "gaussians")
        column.prop(self.defaults, "max_frames")
        row = column.row()
        row.prop(self.defaults, "outputs")


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
        python = _path(preferences.python)
        return ServerChoice(process=managed_server(), python=python, environment=made_environment(python))
    return ServerChoice(handshake_path=_path(preferences.handshake_path))


def _path(text: str) -> Path | None:
    return Path(bpy.path.abspath(text.strip())).expanduser() if text.strip() else None


def results_folder() -> Path:
    """Where downloaded results wait for their import."""
    return home_folder() / "results"


def track_cache(context: bpy.types.Context) -> TrackCache | None:
    """Where large tracks go: beside the .blend file, or while it has no name, into the home folder."""
    preferences = addon_preferences(context)
    above = _TRACKS_ABOVE_MB if preferences is None else preferences.tracks_above
    if not above:
        return None
    return TrackCache(tracks_folder(), above * 1_000_000)


def tracks_folder() -> Path:
    """Where the open file's large tracks belong."""
    blend = Path(bpy.data.filepath)
    return blend.parent / f"{blend.stem} tracks" if bpy.data.filepath else home_folder() / "tracks"


CLASSES = (GVFPreferences,)


def register() -> None:
    """Register the preferences."""
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    """Undo `register`; the values stay."""
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
