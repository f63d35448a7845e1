"""Which server computes, and a report for whoever helps."""

from typing import ClassVar

import bpy

from ..core.errors import GvfBlenderError
from ..preferences import server_choice
from .place import GVFPanel
from .text import draw_sentence

_ADDON = __package__.rpartition(".")[0]


class GVF_PT_server(GVFPanel, bpy.types.Panel):
    """Where the server is expected."""

    bl_label = "Server"
    bl_options: ClassVar[set[str]] = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw which server is used, or why none can be."""
        try:
            address = server_choice(context).locate()
        except GvfBlenderError as error:
            draw_sentence(self.layout, context, str(error), icon="ERROR")
        else:
            draw_sentence(self.layout, context, f"Server at {address}", icon="LINKED")
        self.layout.operator("gvf.diagnose", icon="COPYDOWN")
        self.layout.operator("preferences.addon_show", text="Preferences", icon="PREFERENCES").module = _ADDON


CLASSES = (GVF_PT_server,)
