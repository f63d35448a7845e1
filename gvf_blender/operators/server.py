"""Start and stop the server, look at its log, and give its memory back; nothing here holds up the window."""

from collections.abc import Callable
from typing import Any, ClassVar

import bpy

from .. import server_watch
from ..client import Installation
from ..core.errors import GvfBlenderError
from ..core.sentence import Sentence
from ..job_list import push_undo
from ..preferences import server_choice
from ..server_choice import ServerChoice
from ..server_installation import present_installation
from ..translations import translated

LOG_NAME = "GVF Server Log"


class ServerOperator:
    """What the operators on the server share."""

    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Begin; in background mode, also finish."""
        try:
            choice = server_choice(context)
            server_watch.act(self.work(choice), self.then)
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        return {"FINISHED"}

    @staticmethod
    def then(result: Any) -> None:
        """What is left to do on the main thread."""


class GVF_OT_start_server(ServerOperator, bpy.types.Operator):
    """A job starts the server by itself; the button is for whoever wants it to be warm before."""

    bl_idname = "gvf.start_server"
    bl_label = "Start"
    bl_description = "Start the server now, so that the first job need not wait for it"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the preferences let Blender start it, and it does not run."""
        process = server_choice(context).process
        if process is None:
            text = "The preferences name a server that Blender does not start. Choose Started by Blender."
            cls.poll_message_set(translated(text))
        elif process.is_running:
            cls.poll_message_set(translated("The server runs already."))
        return process is not None and not process.is_running

    @staticmethod
    def work(choice: ServerChoice) -> Callable[[], Any]:
        """Start it."""
        choice.locate()
        return choice.connect


class GVF_OT_stop_server(ServerOperator, bpy.types.Operator):
    """A running job is interrupted and can be taken up again; queued ones wait for the next start."""

    bl_idname = "gvf.stop_server"
    bl_label = "Stop"
    bl_description = "Stop the server that this Blender started; a running job is interrupted"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether there is a server that is ours to stop."""
        process = server_choice(context).process
        is_ours = process is not None and process.is_running
        if not is_ours:
            text = "This Blender has started no server. Stop the server where it was started."
            cls.poll_message_set(translated(text))
        return is_ours

    @staticmethod
    def work(choice: ServerChoice) -> Callable[[], Any]:
        """Stop it."""
        assert choice.process is not None
        return choice.process.stop


class GVF_OT_show_server_log(ServerOperator, bpy.types.Operator):
    """A text of its own, replaced at each call."""

    bl_idname = "gvf.show_server_log"
    bl_label = "Show Log"
    bl_description = (
        f"Put the last lines of the server's log, or of its installation, into the text {LOG_NAME}, for the Text Editor"
    )

    @staticmethod
    def work(choice: ServerChoice) -> Callable[[], Any]:
        """Fetch it; while there is no server because of its installation, that one's."""
        installation = present_installation()
        if installation is None or installation.is_complete:
            return choice.log
        if installation.step:
            return installation.said
        return lambda: _log_or_why_not(choice, installation)

    @staticmethod
    def then(result: list[str]) -> None:
        """Show it, in a Text Editor if one is open."""
        text = bpy.data.texts.get(LOG_NAME) or bpy.data.texts.new(LOG_NAME)
        text.from_string("\n".join(result) + "\n")
        areas = [area for window in bpy.context.window_manager.windows for area in window.screen.areas]
        editor = next((area for area in areas if area.type == "TEXT_EDITOR"), None)
        if editor is not None:
            editor.spaces.active.text = text
        push_undo("Show Server Log")
        text = "The log is in the text {name}; choose it in a Text Editor."
        server_watch.watch().notice = Sentence(text, name=LOG_NAME)


def _log_or_why_not(choice: ServerChoice, installation: Installation) -> list[str]:
    """The log of the server that answers, else what the installation that failed said."""
    try:
        return choice.reach().log()
    except GvfBlenderError:
        return installation.said()


class GVF_OT_unload_models(ServerOperator, bpy.types.Operator):
    """The server refuses while it computes."""

    bl_idname = "gvf.unload_models"
    bl_label = "Unload Models"
    bl_description = "Let the server give back the memory of its models; the next job loads them again"

    @staticmethod
    def work(choice: ServerChoice) -> Callable[[], Any]:
        """Unload them."""
        return lambda: choice.reach().unload()


CLASSES = (GVF_OT_start_server, GVF_OT_stop_server, GVF_OT_show_server_log, GVF_OT_unload_models)
