"""Fetch and remove the server's network weights; the server does it, Blender asks."""

from collections.abc import Callable
from typing import Any, ClassVar

import bpy

from .. import server_watch
from ..core.errors import GvfBlenderError
from ..core.import_size import in_words
from ..core.sentence import Sentence
from ..core.weights_facts import WeightsEntry, WeightsFacts
from ..preferences import server_choice
from ..server_choice import ServerChoice
from ..translations import translated
from ..translations.properties import BoolProperty, StringProperty
from ..ui.text import draw_sentence

_DIALOG_WIDTH = 460


class GVF_OT_download_weights(bpy.types.Operator):
    """Nothing is fetched without the artist's consent, and nothing without a licence without a second one."""

    bl_idname = "gvf.download_weights"
    bl_label = "Download Weights"
    bl_description = "Let the server fetch network weights from their publishers and install them"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    names: StringProperty(
        name="Names",
        description="Which weights, separated by commas; empty for all that animating with networks needs",
        options={"SKIP_SAVE"},
    )
    accept: BoolProperty(
        name="Download them anyway",
        description="Also fetch weights whose publishers state no licence",
        options={"SKIP_SAVE"},
    )

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether a server of Blender's own may go online; what somebody else's may do is not Blender's business."""
        is_allowed = server_choice(context).process is None or bpy.app.online_access
        if not is_allowed:
            cls.poll_message_set(translated("Blender is not allowed to go online: Preferences > System > Network"))
        return is_allowed

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Show what would be fetched, from whom and under which terms."""
        return context.window_manager.invoke_props_dialog(self, width=_DIALOG_WIDTH, confirm_text="Download")

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the consent."""
        layout = self.layout
        wanted = self._wanted()
        size = in_words(sum(entry.size for entry in wanted))
        draw_sentence(layout, context, Sentence("{size} from the internet:", size=size))
        for terms in dict.fromkeys(entry.terms for entry in wanted):
            names = ", ".join(entry.name for entry in wanted if entry.terms == terms)
            draw_sentence(layout, context, f"{names}: {terms}", icon="DOT")
        if any(not entry.licence for entry in wanted):
            layout.prop(self, "accept")

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the server; the panel shows how far it is."""
        names, accept = _split(self.names), self.accept
        return _act(self, context, lambda choice: lambda: choice.reach().download_models(names, accept))

    def _wanted(self) -> tuple[WeightsEntry, ...]:
        facts = server_watch.watch().report.weights or WeightsFacts((), None)
        return facts.wanted(_split(self.names))


class GVF_OT_cancel_weights(bpy.types.Operator):
    """What arrived is kept for the next time."""

    bl_idname = "gvf.cancel_weights"
    bl_label = "Cancel"
    bl_description = "Stop fetching weights; what arrived is kept for the next time"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the server."""
        return _act(self, context, lambda choice: lambda: choice.reach().cancel_models_download())


class GVF_OT_remove_weights(bpy.types.Operator):
    """Asks first, because fetching them again takes long."""

    bl_idname = "gvf.remove_weights"
    bl_label = "Remove Weights"
    bl_description = "Delete these weights from the server's disk"
    bl_options: ClassVar[set[str]] = {"INTERNAL"}

    name: StringProperty(name="Name", options={"SKIP_SAVE"})

    def invoke(self, context: bpy.types.Context, event: bpy.types.Event) -> set[str]:
        """Ask."""
        return context.window_manager.invoke_confirm(self, event)

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Ask the server."""
        name = self.name
        return _act(self, context, lambda choice: lambda: choice.reach().remove_model(name))


def _act(
    operator: bpy.types.Operator, context: bpy.types.Context, work: Callable[[ServerChoice], Callable[[], Any]]
) -> set[str]:
    """Do something with the server without holding up the window; in background mode, wait for it."""
    try:
        server_watch.act(work(server_choice(context)), lambda result: None)
    except GvfBlenderError as error:
        operator.report({"ERROR"}, str(error))
        return {"CANCELLED"}
    return {"FINISHED"}


def _split(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


CLASSES = (GVF_OT_download_weights, GVF_OT_cancel_weights, GVF_OT_remove_weights)
