"""The guided installation as buttons."""

from pathlib import Path
from typing import ClassVar

import bpy

from .. import job_list, server_installation, server_watch
from ..client import Client, Environment
from ..core.errors import GvfBlenderError, SettingsError
from ..core.import_size import in_words
from ..core.sentence import Sentence
from ..core.torch_build import TorchBuild, can_choose, disk_megabytes, download_megabytes, suggested_build
from ..managed_server import managed_server
from ..preferences import addon_preferences, server_choice
from ..translations import translated
from ..translations.properties import EnumProperty
from ..ui.text import draw_sentence

_DIALOG_WIDTH = 420


class GVF_OT_install_server(bpy.types.Operator):
    """Goes on where an earlier one stopped; at its end the preferences take the Python, and the server starts."""

    bl_idname = "gvf.install_server"
    bl_label = "Install Server"
    bl_description = (
        "Make a Python environment in the Data Folder or the extension's own, install the server there and start it. "
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
        """Let the artist choose, beginning with what is there, else with what fits this machine."""
        self.build = _build("AUTO", _changed_environment(context)).name
        return context.window_manager.invoke_props_dialog(self, width=_DIALOG_WIDTH)

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the choice, where there is one, and what it costs."""
        environment = _changed_environment(context)
        build = _build(self.build, environment)
        if can_choose():
            self.layout.row().prop(self, "build", expand=True)
        if environment is not None and environment.build == build:
            text = "Downloads only what changed since. A running server is stopped, and started again afterwards."
            draw_sentence(self.layout, context, text, icon="IMPORT")
            return
        downloads, takes = (in_words(size(build) * 1_000_000) for size in (download_megabytes, disk_megabytes))
        text = Sentence("Downloads about {size} and takes {space} of disk space.", size=downloads, space=takes)
        draw_sentence(self.layout, context, text, icon="IMPORT")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in background mode, also finish."""
        try:
            environment = _changed_environment(context)
            build = _build(self.build, environment)
            _refuse_during_jobs()
            server_watch.act(server_installation.new_installation(build, environment).run, _use)
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


def _changed_environment(context: bpy.types.Context) -> Environment | None:
    """The environment that is there already and gets another server."""
    environment = server_choice(context).environment
    return environment if server_installation.update_reason(environment) else None


def _build(choice: str, environment: Environment | None) -> TorchBuild:
    """The chosen build; without a choice that of the environment, else the one that fits this machine."""
    if choice != "AUTO":
        return TorchBuild[choice]
    return suggested_build() if environment is None else TorchBuild(environment.build)


def _refuse_during_jobs() -> None:
    """Raise an error if a job of this session would lose its server, for it may still be capturing what it sends."""
    running = next((job for job in job_list.jobs() if not job.finished), None)
    if running is not None and managed_server().is_running:
        raise SettingsError(
            f"The job {running.request.title} is not done.", "Wait until it is, or cancel it, then try again."
        )


def _use(python: Path) -> None:
    server_installation.look_again()
    preferences = addon_preferences(bpy.context)
    if preferences is None:
        return
    preferences.server_mode, preferences.python = "MANAGED", str(python)
    bpy.context.preferences.is_dirty = True
    server_watch.act(server_choice(bpy.context).connect, _tell)


def _tell(client: Client) -> None:
    server_watch.watch().notice = Sentence("The server is installed and runs. Press Animate.")


CLASSES = (GVF_OT_install_server, GVF_OT_cancel_installation)
