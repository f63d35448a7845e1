"""What to animate, after which video, and the button.

Drawing looks at the scene, the job list and small files; it never speaks to the server, because a panel is drawn at
every move of the mouse.
"""

import bpy

from ..asset_properties import remembered_view, scene_view
from ..asset_summary import summarise, with_children
from ..core.errors import FileError, ServerError
from ..core.sentence import Sentence
from ..import_cost import cost_of_settings
from ..operators.animate import animate_obstacle
from ..overlay import overlay_camera
from ..preferences import server_choice
from ..properties import uses_second_video
from ..scene_defaults import take_defaults_soon
from ..translations import translated
from ..user_path import user_path
from ..video_check import present_look
from ..video_facts import VideoFacts, is_unreadable, known_facts
from .missing_server import draw_installation
from .place import GVFPanel
from .text import draw_sentence

_THUMBNAIL_SCALE = 5.0
_LOOK_SCALE = 9.0
_MOST_WARNINGS = 4


class GVF_PT_animate(GVFPanel, bpy.types.Panel):
    """From the asset at the top to the button at the bottom."""

    bl_label = "Animate from Video"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the settings and the button, with the reason when it cannot be pressed."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.gvf
        take_defaults_soon(context.scene)
        _draw_asset(layout, context)
        layout.prop(settings, "video", text="Video")
        _draw_video(layout, context)
        column = layout.column(align=True)
        column.prop(settings, "start_frame")
        column.prop(settings, "frame_stride")
        column.prop(settings, "max_frames")
        layout.prop(settings, "matting")
        _draw_look(layout, context)
        _draw_view(layout, context)
        _draw_second_video(layout, context)
        _draw_movable(layout, context)
        row = layout.row()
        # Beside a label the three names would be cut off in a sidebar of usual width.
        row.use_property_split = False
        row.prop(settings, "outputs")
        obstacle = animate_obstacle(context)
        row = layout.row()
        row.scale_y = 1.5
        row.enabled = obstacle is None
        row.operator("gvf.animate", icon="PLAY")
        if obstacle is not None:
            draw_sentence(layout, context, obstacle.text, icon="INFO")
        if isinstance(obstacle, ServerError) and server_choice(context).address is None:
            draw_installation(layout, context)


def _draw_asset(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    summary = summarise(context.selected_objects)
    if summary.objects:
        pattern = (
            "1 object, {vertices:,} vertices" if summary.objects == 1 else "{count} objects, {vertices:,} vertices"
        )
        text = translated(pattern, count=summary.objects, vertices=summary.vertices)
        layout.label(text=text, icon="OUTLINER_OB_MESH")
    for warning in summary.warnings[:_MOST_WARNINGS]:
        draw_sentence(layout, context, warning, icon="ERROR")
    if summary.makes_instances:
        # Blender's own operator: the artist decides, and undoes it as usual.
        layout.operator("object.duplicates_make_real", icon="DUPLICATE")


def _draw_video(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    settings = context.scene.gvf
    try:
        path = user_path(settings.video)
    except FileError:  # which the button below says
        return
    facts = known_facts(path) if settings.video else None
    if facts is None:
        if settings.video and is_unreadable(path):
            text = "Blender cannot read this video, so its frames are not counted here. The server may still read it."
            draw_sentence(layout, context, text, icon="ERROR")
        return
    if facts.icon:
        layout.template_icon(icon_value=facts.icon, scale=_THUMBNAIL_SCALE)
    text = "{facts.width} x {facts.height}, {facts.fps:g} fps, {facts.frames} frames"
    draw_sentence(layout, context, Sentence(text, facts=facts), icon="FILE_MOVIE")
    used = facts.used_frames(settings.start_frame, settings.frame_stride, settings.max_frames)
    if used < 2:
        return
    draw_sentence(layout, context, _use_of(facts, settings, used), icon="BLANK1")
    cost = cost_of_settings(context, used)
    if cost is not None:
        draw_sentence(layout, context, cost, icon="DISK_DRIVE")


def _draw_look(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """The button that asks the server what it would cut out, and what it answered."""
    look = present_look()
    if not look.is_about(context.scene.gvf):
        layout.operator("gvf.check_video", icon="VIEWZOOM")
        return
    row = layout.row()
    if look.is_running:
        row.label(text="Looking at the video", icon="VIEWZOOM")
    else:
        row.operator("gvf.check_video", icon="FILE_REFRESH")
    row.operator("gvf.close_check", text="", icon="X")
    if look.problem:
        draw_sentence(layout, context, look.problem, icon="ERROR")
    if look.check is None:
        return
    if look.icon:
        layout.template_icon(icon_value=look.icon, scale=_LOOK_SCALE)
    for warning in look.check.warnings:
        draw_sentence(layout, context, warning, icon="ERROR")
    if not look.check.warnings:
        draw_sentence(layout, context, "Red is left out. Nothing else speaks against this video.", icon="CHECKMARK")


def _use_of(facts: VideoFacts, settings: bpy.types.PropertyGroup, used: int) -> Sentence:
    last = settings.start_frame + (used - 1) * settings.frame_stride
    seconds = (last - settings.start_frame) / facts.fps
    text = "Uses {count} frames, {first} to {last}: {seconds:.1f} s"
    return Sentence(text, count=used, first=settings.start_frame, last=last, seconds=seconds)


def _draw_movable(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Also without a mesh to choose from, as long as a group is named: it would be asked for."""
    settings = context.scene.gvf
    meshes = [thing for thing in with_children(context.selected_objects) if thing.type == "MESH"]
    if meshes:
        offers = max(meshes, key=lambda mesh: (settings.movable in mesh.vertex_groups, len(mesh.vertex_groups)))
        layout.prop_search(settings, "movable", offers, "vertex_groups")
    elif settings.movable:
        layout.prop(settings, "movable")


def _draw_view(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    settings = context.scene.gvf
    layout.prop(settings, "view")
    row = layout.row(align=True)
    row.prop(settings, "camera")
    if settings.camera is not None:
        row.operator("gvf.view_from_camera", text="", icon="FILE_REFRESH")
    column = layout.column(align=True)
    angles = column.column(align=True)
    angles.enabled = settings.view == "given"
    angles.prop(settings, "azimuth")
    angles.prop(settings, "elevation")
    column.prop(settings, "fov")
    column = layout.column(align=True)
    column.operator("gvf.view_from_viewport", icon="VIEW_CAMERA")
    if overlay_camera(context.scene) is None:
        column.operator("gvf.show_video", icon="OVERLAY")
    else:
        column.operator("gvf.hide_video", icon="X")
    column.operator("gvf.render_start_frame", icon="RENDER_STILL")
    view = remembered_view(context.selected_objects)
    if view is not None and view != scene_view(settings):
        text = translated(
            "Use {view.azimuth:g}\N{DEGREE SIGN}, {view.elevation:g}\N{DEGREE SIGN} of Start Frame", view=view
        )
        column.operator("gvf.use_start_view", text=text, icon="LOOP_BACK")


def _draw_second_video(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """One row while there is none; with an engine that does not look at it, only what was chosen before."""
    settings = context.scene.gvf
    is_used = uses_second_video(settings)
    if not is_used and not settings.second_video:
        return
    column = layout.column(align=True)
    column.enabled = is_used
    column.prop(settings, "second_video")
    if not settings.second_video:
        return
    column.prop(settings, "second_azimuth", text="Azimuth")
    column.prop(settings, "second_elevation", text="Elevation")
    column.operator("gvf.view_from_viewport", icon="VIEW_CAMERA").second = True
    if is_used:
        draw_sentence(layout, context, "Both videos must show the same moments, frame by frame.", icon="INFO")
    else:
        draw_sentence(layout, context, "Diffusion uses a second video only where Refine is above 0.", icon="ERROR")


CLASSES = (GVF_PT_animate,)
