"""The guided installation as buttons."""

from pathlib import Path
from typing import ClassVar

import bpy
from bpy.props import EnumProperty

from .. import server_installation, server_watch
from ..client import Client
from ..core.errors import GvfBlenderError
from ..core.import_size import in_words
from ..core.sentence import Sentence
from ..core.torch_build import TorchBuild, can_choose, disk_megabytes, download_megabytes, suggested_build
from ..preferences import addon_preferences, server_choice
from ..translations import translated
from ..ui.text import draw_sentence

_DIALOG_WIDTH = 420


class GVF_OT_install_server(bpy.types.Operator):
    """Goes on where an earlier one stopped; at its end the preferences take the Python, and the server starts."""

    bl_idname = "gvf.install_server"
    bl_label = "Install Server"
    bl_description = (
        "Make a Python environment in the extension's own folder, install the server there and start it. "
        "Tells first how much that downloads"
    )
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    build: EnumProperty(
        name="Computes on",
        description="Which build of PyTorch is installed",
        items=(
            ("AUTO", "Automatic", "With CUDA where an NVIDIA driver is installed"),
            ("CPU", "Processor", "The small build, which uses no GPU"),
            ("CUDA", "NVIDIA GPU", "The build with CUDA, which needs an NVIDIA driver"),
        ),
        default="AUTO",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether Blender may go online."""
        if not bpy.app.online_access:
            cls.poll_message_set(translated("Blender is not allowed to go online: Preferences > System > Network"))
        return bpy.app.online_access

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Let the artist choose, beginning with what fits this machine."""
        self.build = suggested_build().name
        return context.window_manager.invoke_props_dialog(self, width=_DIALOG_WIDTH)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the choice, where there is one, and what it costs."""
        build = _build(self.build)
        if can_choose():
            self.layout.row().prop(self, "build", expand=True)
        downloads, takes = (in_words(size(build) * 1_000_000) for size in (download_megabytes, disk_megabytes))
        text = Sentence("Downloads about {size} and takes {space} of disk space.", size=downloads, space=takes)
        draw_sentence(self.layout, context, text, icon="IMPORT")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in background mode, also finish."""
        try:
            server_watch.act(server_installation.new_installation(_build(self.build)).run, _use)
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
            self.report({"WARNING"}, "No installation runs. Press Install Server to begin one.")
            return {"CANCELLED"}
        installation.cancel()
        return {"FINISHED"}


def _build(choice: str) -> TorchBuild:
    return suggested_build() if choice == "AUTO" else TorchBuild[choice]


def _use(python: Path) -> None:
    preferences = addon_preferences(bpy.context)
    if preferences is None:
        return
    preferences.server_mode, preferences.python = "MANAGED", str(python)
    bpy.context.preferences.is_dirty = True
    server_watch.act(server_choice(bpy.context).connect, _tell)


def _tell(client: Client) -> None:
    server_watch.watch().notice = Sentence("The server is installed and runs. Press Animate.")


CLASSES = (GVF_OT_install_server, GVF_OT_cancel_installation)
