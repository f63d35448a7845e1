"""The guided installation as buttons."""

from pathlib import Path
from typing import ClassVar

import bpy

from .. import server_installation, server_watch
from ..core.errors import GvfBlenderError
from ..preferences import addon_preferences


class GVF_OT_install_server(bpy.types.Operator):
    """Goes on where an earlier one stopped; the preferences take the Python when it has ended."""

    bl_idname = "gvf.install_server"
    bl_label = "Install Server"
    bl_description = (
        "Make a Python environment in the extension's own folder and install the server there. "
        "Downloads about 3 GB and takes 6 GB of disk space"
    )
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether Blender may go online."""
        if not bpy.app.online_access:
            cls.poll_message_set("Blender is not allowed to go online: Preferences > System > Network")
        return bpy.app.online_access

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in background mode, also finish."""
        try:
            server_watch.act(server_installation.new_installation().run, _use)
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}


class GVF_OT_cancel_installation(bpy.types.Operator):
    """What was downloaded is kept."""

    bl_idname = "gvf.cancel_installation"
    bl_label = "Cancel"
    bl_description = "Stop the installation; Install Server goes on with it later"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Cancel it."""
        installation = server_installation.present_installation()
        if installation is None or not installation.step:
            self.report({"WARNING"}, "No installation runs.")
            return {"CANCELLED"}
        installation.cancel()
        return {"FINISHED"}


def _use(python: Path) -> None:
    preferences = addon_preferences(bpy.context)
    if preferences is not None:
        preferences.server_mode, preferences.python = "MANAGED", str(python)
        bpy.context.preferences.is_dirty = True
    server_watch.watch().notice = "The server is installed. Press Start, or Animate."


CLASSES = (GVF_OT_install_server, GVF_OT_cancel_installation)
