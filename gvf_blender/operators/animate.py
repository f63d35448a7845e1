"""The one button: make the selected objects move like the video."""

import logging
from types import SimpleNamespace
from typing import ClassVar

import bpy

from .. import job_list
from ..core.errors import GvfBlenderError
from ..diffusion_properties import DiffusionProperties
from ..job import AnimateJob, ProgressCallback
from ..preferences import results_folder, server_choice
from ..properties import SHARED_NAMES, SettingsProperties, VideoProperties, motion_settings, ordered_outputs
from ..request import AnimateRequest, check_outputs, check_video, make_request
from ..translations import translated
from .asset_operator import AssetOperator, capture_obstacle

LOGGER = logging.getLogger(__name__)

_NAMES = (*VideoProperties.__annotations__, *SHARED_NAMES)


class GVF_OT_animate(AssetOperator, VideoProperties, SettingsProperties, DiffusionProperties, bpy.types.Operator):
    """Arguments left out are taken from the scene's settings, as the panel shows them."""

    bl_idname = "gvf.animate"
    bl_label = "Animate"
    bl_description = "Make the selected objects move like the driving video"
    # No UNDO: with windows the scene changes later, and that moment pushes its own undo step.
    bl_options: ClassVar[set[str]] = {"REGISTER"}

    def execute(self, context: bpy.types.Context) -> set[str]:
        """Start the job; in background mode, where timers never fire, also finish it."""
        try:
            job = AnimateJob(self._request(context), server_choice(context).connect, results_folder())
            job_list.add(job)
            if bpy.app.background:
                job.wait(_log_progress())
        except GvfBlenderError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        for warning in job.warnings:
            self.report({"WARNING"}, translated(warning))
        if job.finished:
            self.report({"INFO"}, translated("Imported {title}.", title=job.request.title))
        else:
            text = "Started {title}; the GVF tab of the sidebar shows its progress."
            self.report({"INFO"}, translated(text, title=job.request.title))
        return {"FINISHED"}

    def _request(self, context: bpy.types.Context) -> AnimateRequest:
        scene_settings = context.scene.gvf
        chosen = SimpleNamespace(
            **{
                name: getattr(self if self.properties.is_property_set(name) else scene_settings, name)
                for name in _NAMES
            }
        )
        use_current = chosen.use_current_frame and not self.properties.is_property_set("frame_start")
        request = make_request(
            context.selected_objects,
            chosen.video,
            motion_settings(chosen),
            ordered_outputs(chosen),
            None if use_current else chosen.frame_start,
            chosen.views,
            chosen.movable,
        )
        server_choice(context).locate()
        return request


def animate_obstacle(context: bpy.types.Context) -> GvfBlenderError | None:
    """Why the panel's Animate button cannot work now; looks at the scene and at files, never at the network."""
    settings = context.scene.gvf
    try:
        check_video(settings.video)
        check_outputs(settings.outputs)
        server_choice(context).locate()
    except GvfBlenderError as error:
        return capture_obstacle(context) or error
    return capture_obstacle(context)


def _log_progress() -> ProgressCallback:
    """A progress callback that writes a line for every stage and every tenth of the way."""
    last: list[tuple[str, int]] = []

    def report(stage: str, fraction: float) -> None:
        now = (stage, int(fraction * 10))
        if [now] != last:
            last[:] = [now]
            LOGGER.info("%s: %d %%", stage, round(fraction * 100))

    return report


CLASSES = (GVF_OT_animate,)
