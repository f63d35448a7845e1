"""Which server computes, how it stands with it, and a report for whoever helps."""

from typing import ClassVar

import bpy

from .. import server_watch
from ..core.server_facts import ServerFacts, ServerState
from ..preferences import server_choice
from ..server_installation import present_installation
from .place import GVFPanel
from .text import draw_sentence

_ADDON = __package__.rpartition(".")[0]
_ICONS = {
    ServerState.CHECKING: "SORTTIME",
    ServerState.STOPPED: "UNLINKED",
    ServerState.STARTING: "SORTTIME",
    ServerState.RUNNING: "LINKED",
    ServerState.BUSY: "RENDER_ANIMATION",
    ServerState.UNREACHABLE: "ERROR",
}


class GVF_PT_server(GVFPanel, bpy.types.Panel):
    """Reads what the watch knows; never asks the server."""

    bl_label = "Server"
    bl_options: ClassVar[set[str]] = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw state, facts and what can be done."""
        layout = self.layout
        choice = server_choice(context)
        report = server_watch.look(choice)
        place = f": {report.place}" if report.place else ""
        draw_sentence(layout, context, f"{report.state.capitalize()}{place}", icon=_ICONS[report.state])
        for sentence in (report.reason, server_watch.watch().notice):
            if sentence:
                draw_sentence(layout, context, sentence, icon="INFO")
        if report.facts is not None:
            _draw_facts(layout.box(), context, report.facts)
        if choice.process is not None:
            draw_installation(layout, context)
            row = layout.row(align=True)
            row.operator("gvf.start_server", icon="PLAY")
            row.operator("gvf.stop_server", icon="SNAP_FACE")
        column = layout.column(align=True)
        column.operator("gvf.show_server_log", icon="TEXT")
        if report.facts is not None:
            column.operator("gvf.unload_models", icon="TRASH")
        column.operator("gvf.diagnose", icon="COPYDOWN")
        layout.operator("preferences.addon_show", text="Preferences", icon="PREFERENCES").module = _ADDON


def draw_installation(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The guided installation: a button, or how far it is. Also for the preferences."""
    installation = present_installation()
    if installation is not None and installation.step:
        draw_sentence(layout, context, installation.step, icon="IMPORT")
        layout.operator("gvf.cancel_installation", icon="CANCEL")
    else:
        layout.operator("gvf.install_server", icon="IMPORT")


def _draw_facts(layout: bpy.types.UILayout, context: bpy.types.Context, facts: ServerFacts) -> None:
    layout.label(text=f"Version {facts.version}")
    devices = ", ".join(facts.devices) or "not known until the first job"
    draw_sentence(layout, context, f"Computes on: {devices}")
    layout.label(text=f"Free memory: {facts.free_mb / 1000:.1f} GB")
    layout.label(text=f"Engines: {', '.join(facts.engines)}")
    for name, is_ready in facts.weights.items():
        icon = "CHECKMARK" if is_ready else "X"
        state = "installed" if is_ready else "not installed"
        draw_sentence(layout, context, f"Weights {name}: {state}", icon=icon)


CLASSES = (GVF_PT_server,)
