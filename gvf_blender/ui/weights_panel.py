"""Which network weights the server has, and fetching and removing them."""

from typing import ClassVar

import bpy

from .. import server_watch
from ..core.import_size import in_words
from ..core.sentence import Sentence
from ..core.weights_facts import WeightsDownload, WeightsEntry
from ..preferences import server_choice
from ..translations import translated
from .place import GVFPanel
from .server_panel import GVF_PT_server
from .text import draw_sentence

# What this extension can make use of; others are shown where they take space.
_USES = (Sentence("animating"), Sentence("any background"))
_ICONS = {"installed": "CHECKMARK", "missing": "X", "damaged": "ERROR", "downloading": "SORTTIME"}


class GVF_PT_weights(GVFPanel, bpy.types.Panel):
    """Reads what the watch knows; never asks the server."""

    bl_label = "Weights"
    bl_parent_id = GVF_PT_server.__name__
    bl_options: ClassVar[set[str]] = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw what there is and what can be done."""
        layout = self.layout
        facts = server_watch.look(server_choice(context)).weights
        if facts is None:
            draw_sentence(layout, context, "Not known while the server does not run.")
            return
        if facts.download is not None:
            _draw_download(layout, context, facts.download)
        is_idle = facts.download is None or not facts.download.is_running
        wanted = facts.wanted()
        if wanted and is_idle:
            text = translated("Download All ({size})", size=in_words(sum(entry.size for entry in wanted)))
            layout.operator("gvf.download_weights", text=text, icon="IMPORT").names = ""
        for use in dict.fromkeys(entry.use for entry in facts.entries):
            shown = [entry for entry in facts.entries if entry.use == use and (use in _USES or entry.is_here)]
            if not shown:
                continue
            layout.label(text=translated("For {use}", use=Sentence(use)))
            column = layout.column(align=True)
            for entry in shown:
                _draw_entry(column, context, entry, is_idle)


def _draw_download(layout: bpy.types.UILayout, context: bpy.types.Context, download: WeightsDownload) -> None:
    if download.is_running:
        row = layout.row(align=True)
        text = f"{download.stage}, {download.progress:.0%}"
        if hasattr(row, "progress"):
            row.progress(factor=download.progress, text=text)
        else:
            row.label(text=text)
        row.operator("gvf.cancel_weights", text="", icon="CANCEL")
    elif download.reason:
        draw_sentence(layout, context, download.reason, icon="ERROR")


def _draw_entry(layout: bpy.types.UILayout, context: bpy.types.Context, entry: WeightsEntry, is_idle: bool) -> None:
    row = layout.row(align=True)
    # Nothing but the name: with state and size it would not fit into a sidebar of usual width.
    row.label(text=entry.name, icon=_ICONS.get(entry.state, "QUESTION"))
    if entry.is_here:
        row.operator("gvf.remove_weights", text="", icon="TRASH").name = entry.name
    elif is_idle:
        row.operator("gvf.download_weights", text="", icon="IMPORT").names = entry.name
    if entry.problem:
        draw_sentence(layout, context, entry.problem, icon="BLANK1")


CLASSES = (GVF_PT_weights,)
