"""The one button: make the selected objects move like the video."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import bpy

from .. import job_list, server_watch
from ..asset_summary import with_children
from ..core.errors import GvfBlenderError, SettingsError
from ..core.motion_settings import MotionSettings
from ..core.sentence import Sentence
from ..diffusion_properties import DiffusionProperties
from ..job import AnimateJob, ProgressCallback
from ..preferences import results_folder, server_choice
from ..properties import (
    SHARED_NAMES,
    SettingsProperties,
    VideoProperties,
    motion_settings,
    ordered_outputs,
    second_video,
)
from ..request import AnimateRequest, check_movable, check_outputs, check_video, make_request
from ..server_choice import ServerChoice
from ..translations import translated
from ..user_path import user_path
from ..video_facts import known_facts
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
            second_video(chosen),
        )
        server_choice(context).locate()
        return request


def animate_obstacle(context: bpy.types.Context) -> GvfBlenderError | None:
    """Why the panel's Animate button cannot work now; looks at scene, files and what is known of the server."""
    settings = context.scene.gvf
    try:
        check_video(settings.video)
        for second in second_video(settings):
            check_video(second.video)
        _check_frames(settings)
        check_movable(with_children(context.selected_objects) if settings.movable else (), settings.movable)
        check_outputs(settings.outputs)
        choice = server_choice(context)
        choice.locate()
        if settings.engine == "diffusion":
            _check_weights(choice, settings.weights)
    except GvfBlenderError as error:
        return capture_obstacle(context) or error
    return capture_obstacle(context)


def _check_frames(settings: bpy.types.PropertyGroup) -> None:
    """Whether there is motion to follow in every video; what Blender cannot read, the server is asked for.

    Raises:
        SettingsError: Fewer than two frames would be used, or fewer of the second video.
    """
    used = _used_frames(settings, settings.video)
    if used is not None and used < 2:
        text = Sentence("The video ends before the second used frame.")
        raise SettingsError(text, Sentence("Lower First Frame or Every Nth, or choose a longer video."))
    for second in second_video(settings):
        found = _used_frames(settings, second.video)
        if used is not None and found is not None and found < used:
            text = Sentence("The second video has {found} frames to use, the first {used}.", found=found, used=used)
            raise SettingsError(text, Sentence("Choose videos of the same moments, or lower Max Frames."))


def _used_frames(settings: bpy.types.PropertyGroup, video: str | Path) -> int | None:
    facts = known_facts(user_path(video))
    if facts is None:
        return None
    return facts.used_frames(settings.start_frame, settings.frame_stride, settings.max_frames)


def _check_weights(choice: ServerChoice, name: str) -> None:
    """Whether the server has the networks' weights, as far as that is known.

    Raises:
        SettingsError: It lacks them; there is a server, so that none has to be installed.
    """
    report = server_watch.look(choice)
    if report.facts is None or report.weights is None:
        return
    if name not in report.facts.weights:
        text = Sentence("The server has no set of weights called {name}.", name=name)
        raise SettingsError(text, Sentence("Choose another one under Diffusion, or the engine Fit to Video."))
    # Of sets with names of their own, an untrained one counts as incomplete, and may be used all the same.
    if name == MotionSettings.weights and report.weights.wanted():
        text = Sentence("The server lacks weights that the engine Diffusion needs.")
        raise SettingsError(text, Sentence("Download them under Server > Weights, or choose the engine Fit to Video."))


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
