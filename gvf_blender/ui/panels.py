"""The GVF tab in the sidebar of the 3D viewport.

Drawing looks at the scene, the job list and small files; it never speaks to the server, because a panel is drawn at
every move of the mouse.
"""

from typing import ClassVar

import bpy

from .. import job_list
from ..asset_properties import remembered_view, scene_view
from ..core.errors import GvfBlenderError
from ..core.job_phase import Phase
from ..importer import lacks_transparent_bounces
from ..job import AnimateJob
from ..operators.animate import animate_obstacle
from ..preferences import server_choice
from .place import GVFPanel
from .text import draw_sentence


class GVF_PT_animate(GVFPanel, bpy.types.Panel):
    """What to animate, after which video, and the button."""

    bl_label = "Animate from Video"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw the settings and the button, with the reason when it cannot be pressed."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.gvf
        layout.prop(settings, "video", text="Video")
        column = layout.column(align=True)
        column.prop(settings, "start_frame")
        column.prop(settings, "frame_stride")
        column.prop(settings, "max_frames")
        layout.prop(settings, "matting")
        layout.prop(settings, "view")
        column = layout.column(align=True)
        angles = column.column(align=True)
        angles.enabled = settings.view == "given"
        angles.prop(settings, "azimuth")
        angles.prop(settings, "elevation")
        column.prop(settings, "fov")
        layout.operator("gvf.view_from_viewport", icon="VIEW_CAMERA")
        _draw_start_frame(layout, context)
        meshes = [thing for thing in context.selected_objects if thing.type == "MESH"]
        if meshes:
            layout.prop_search(settings, "movable", meshes[0], "vertex_groups")
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
            draw_sentence(layout, context, str(obstacle), icon="INFO")


class GVF_PT_quality(GVFPanel, bpy.types.Panel):
    """Settings that most animations leave alone."""

    bl_label = "Engine and Timing"
    bl_parent_id = "GVF_PT_animate"
    bl_options: ClassVar[set[str]] = {"DEFAULT_CLOSED"}

    def draw(self, context: bpy.types.Context) -> None:
        """Draw engine, quality and the place on the timeline."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.gvf
        layout.prop(settings, "engine")
        layout.prop(settings, "views")
        column = layout.column()
        column.enabled = settings.engine != "diffusion"
        column.prop(settings, "preset")
        column.prop(settings, "gaussians")
        layout.prop(settings, "seed")
        layout.prop(settings, "use_current_frame")
        row = layout.row()
        row.enabled = not settings.use_current_frame
        row.prop(settings, "frame_start")
        layout.operator("gvf.reset_settings", icon="LOOP_BACK")


class GVF_PT_diffusion(GVFPanel, bpy.types.Panel):
    """Settings of the networks."""

    bl_label = "Diffusion"
    bl_parent_id = "GVF_PT_animate"
    bl_options: ClassVar[set[str]] = {"DEFAULT_CLOSED"}

    @classmethod
    def poll(cls, context: bpy.types.Context) -> bool:
        """Whether the networks may be used."""
        return context.scene.gvf.engine != "fit"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw how the networks sample."""
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.gvf
        layout.prop(settings, "weights")
        layout.prop(settings, "samples")
        layout.prop(settings, "refine_seconds")
        column = layout.column(align=True)
        column.prop(settings, "sampler")
        column.prop(settings, "tolerance" if settings.sampler == "adaptive" else "steps")
        column = layout.column(align=True)
        column.prop(settings, "image_guidance")
        column.prop(settings, "static_guidance")
        column = layout.column(align=True)
        column.prop(settings, "long_clips")
        column.prop(settings, "window")
        row = column.row()
        row.enabled = settings.long_clips == "windows"
        row.prop(settings, "overlap")
        layout.prop(settings, "background")
        layout.prop(settings, "voxel_features")
        layout.prop(settings, "standardise_positions")


class GVF_PT_jobs(GVFPanel, bpy.types.Panel):
    """Running and finished jobs of this session."""

    bl_label = "Jobs"

    def draw(self, context: bpy.types.Context) -> None:
        """Draw every job, the newest first."""
        layout = self.layout
        jobs = job_list.jobs()
        if not jobs:
            layout.label(text="None yet")
        for job in reversed(jobs):
            _draw_job(layout.box(), context, job)
        if any(job.phase is Phase.DONE for job in jobs) and lacks_transparent_bounces(context.scene):
            layout.operator("gvf.raise_transparent_bounces", icon="LIGHT")


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
        self.layout.operator("preferences.addon_show", text="Preferences", icon="PREFERENCES").module = _ADDON


_ADDON = __package__.rpartition(".")[0]

_ICONS = {Phase.DONE: "CHECKMARK", Phase.FAILED: "ERROR", Phase.CANCELLED: "CANCEL"}


def _draw_start_frame(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    layout.operator("gvf.render_start_frame", icon="RENDER_STILL")
    view = remembered_view(context.selected_objects)
    if view is not None and view != scene_view(context.scene.gvf):
        text = f"Use {view.azimuth:g}\N{DEGREE SIGN}, {view.elevation:g}\N{DEGREE SIGN} of Start Frame"
        layout.operator("gvf.use_start_view", text=text, icon="LOOP_BACK")


def _draw_job(layout: bpy.types.UILayout, context: bpy.types.Context, job: AnimateJob) -> None:
    header = layout.row()
    header.label(text=job.request.title, icon=_ICONS.get(job.phase, "SORTTIME"))
    header.operator("gvf.remove_job", text="", icon="X", emboss=False).job_id = job.id
    if not job.finished:
        row = layout.row(align=True)
        _draw_progress(row, job)
        row.operator("gvf.cancel", text="", icon="CANCEL").job_id = job.id
    draw_sentence(layout, context, job.message)
    for warning in job.warnings:
        draw_sentence(layout, context, warning, icon="ERROR")
    if job.can_import_again:
        layout.operator("gvf.import_result", icon="IMPORT").job_id = job.id


def _draw_progress(layout: bpy.types.UILayout, job: AnimateJob) -> None:
    text = f"{job.progress:.0%}"
    if hasattr(layout, "progress"):
        layout.progress(factor=job.progress, text=text)
    else:
        layout.label(text=text)


CLASSES = (GVF_PT_animate, GVF_PT_quality, GVF_PT_diffusion, GVF_PT_jobs, GVF_PT_server)
