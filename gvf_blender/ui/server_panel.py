"""Which server computes, how it stands with it, and a report for whoever helps."""

from typing import ClassVar

import bpy

from .. import server_watch
from ..core.sentence import Sentence
from ..core.server_facts import ServerFacts, ServerState
from ..preferences import server_choice
from ..translations import translated
from .missing_server import draw_reason
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
_STATES = {
    ServerState.CHECKING: Sentence("Checking"),
    ServerState.STOPPED: Sentence("Not running"),
    ServerState.STARTING: Sentence("Starting"),
    ServerState.RUNNING: Sentence("Running"),
    ServerState.BUSY: Sentence("Busy"),
    ServerState.UNREACHABLE: Sentence("Unreachable"),
}

# As the setting calls them; "auto" is no engine of its own.
_ENGINES = {"fit": Sentence("Fit to Video"), "diffusion": Sentence("Diffusion")}


class GVF_PT_server(GVFPanel, bpy.types.Panel):
    """Reads what the watch knows; never asks the server."""

    bl_label = "Server"
    bl_options: ClassVar[set[str]] = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw state, facts and what can be done."""
        layout = self.layout
        choice = server_choice(context)
        report = server_watch.look(choice)
        state = _STATES[report.state]
        text = Sentence("{state}: {place}", state=state, place=report.place) if report.place else state
        draw_sentence(layout, context, text, icon=_ICONS[report.state])
        draw_reason(layout, context, choice, report)
        if report.facts is not None:
            _draw_facts(layout.box(), context, report.facts)
        if choice.process is not None:
            row = layout.row(align=True)
            row.operator("gvf.start_server", icon="PLAY")
            row.operator("gvf.stop_server", icon="SNAP_FACE")
        column = layout.column(align=True)
        column.operator("gvf.show_server_log", icon="TEXT")
        if report.facts is not None:
            column.operator("gvf.unload_models", icon="TRASH")
        column.operator("gvf.diagnose", icon="COPYDOWN")
        layout.operator("preferences.addon_show", text="Preferences", icon="PREFERENCES").module = _ADDON


def _draw_facts(layout: bpy.types.UILayout, context: bpy.types.Context, facts: ServerFacts) -> None:
    layout.label(text=translated("Version {version}", version=facts.version))
    devices = ", ".join(facts.devices) or Sentence("not known until the first job")
    draw_sentence(layout, context, Sentence("Computes on: {devices}", devices=devices))
    layout.label(text=translated("Free memory: {size:.1f} GB", size=facts.free_mb / 1000))
    names = ", ".join(translated(_ENGINES.get(engine, engine)) for engine in facts.engines if engine != "auto")
    draw_sentence(layout, context, Sentence("Engines: {names}", names=names))
    for name, is_ready in facts.weights.items():
        icon = "CHECKMARK" if is_ready else "X"
        state = Sentence("installed") if is_ready else Sentence("not installed")
        draw_sentence(layout, context, Sentence("Weights {name}: {state}", name=name, state=state), icon=icon)


CLASSES = (GVF_PT_server,)
