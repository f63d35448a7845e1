"""The result on the active object: when it plays, how it shows, where it goes."""

from pathlib import Path

import bpy

from ..core.sentence import Sentence
from ..importer import bounces_warning, has_motion, has_result
from ..importer.render_choice import is_replaced_in_renders
from ..importer.root import obstacle_in_edit_mode, obstacle_to_root
from ..importer.track_cache import lost_tracks, tracks_elsewhere
from ..result_properties import result_controls
from .place import GVFPanel
from .text import draw_sentence

_PLAYING = ("play_start", "play_speed", "play_loop", "play_held", "play_in_place", "play_root", "play_together")
# Their names would be cut off before them, and stand inside.
_SLIDERS = ("display_amount", "display_confidence")


class GVF_PT_result(GVFPanel, bpy.types.Panel):
    """Drawn for splats, points and objects with an imported motion."""

    bl_label = "Result"

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the active object carries a result."""
        return context.object is not None and bool(result_controls(context.object))

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the controls that do something on this object."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        if lost_tracks([context.object]):
            draw_sentence(layout, context, "Its tracks are in a file that was moved or deleted.", icon="ERROR")
            layout.operator("gvf.find_tracks", icon="FILE_FOLDER")
        elif bpy.data.filepath and tracks_elsewhere([context.object], Path(bpy.data.filepath)):
            draw_sentence(layout, context, "Its tracks are in a file that is not beside the .blend file.", icon="INFO")
            layout.operator("gvf.copy_tracks", icon="DUPLICATE")
        result = context.object.gvf
        controls = result_controls(context.object)
        obstacle = obstacle_to_root(context.object) if "play_root" in controls else None
        editing = None if obstacle is None else obstacle_in_edit_mode(context.object)
        held = {"play_root": obstacle, "play_in_place": editing}
        for names in (_PLAYING, tuple(name for name in controls if name not in _PLAYING)):
            column = layout.column(align=True)
            for name in names:
                if name in controls:
                    row = column.row(align=True)
                    row.use_property_split = name not in _SLIDERS
                    row.enabled = held.get(name) is None
                    row.prop(result, name)
        if obstacle is not None:
            draw_sentence(layout, context, obstacle, icon="INFO")
        if is_replaced_in_renders(context.object):
            text = "Renders show its splats or points instead of {name}."
            draw_sentence(layout, context, Sentence(text, name=context.object.name), icon="RESTRICT_RENDER_ON")
        warning = bounces_warning(context.scene, [context.object])
        if warning is not None:
            draw_sentence(layout, context, warning, icon="ERROR")
            layout.operator("gvf.raise_transparent_bounces", icon="LIGHT")
        layout.operator("gvf.export", icon="EXPORT")
        if has_motion(context.object):
            layout.operator("gvf.remove_motion", icon="X")
        if has_result(context.object):
            layout.operator("gvf.remove_result", icon="TRASH")


CLASSES = (GVF_PT_result,)
