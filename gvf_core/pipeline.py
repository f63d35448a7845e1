"""The main job: a captured asset and a driving video become an animation."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import gvf_core
from gvf_core.animation import Animation
from gvf_core.canonical import align_to_frame, gaussians_on_surface
from gvf_core.capture import Capture
from gvf_core.errors import VideoError
from gvf_core.motion import ENGINES, Monitor, MotionTask
from gvf_core.settings import AnimateSettings
from gvf_core.transfer import vertices_from_gaussians
from gvf_core.video import crop_square, cut_out, read_video

LOGGER = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the fraction of the whole job that is done, 0..1, never falling."""

WORKING_SIZE = 256
"""Side in pixels of the square in which video and asset are compared."""
STAGES = {
    "Reading the video": 0.02,
    "Making Gaussians": 0.05,
    "Finding the view": 0.06,
    "Finding motion": 0.97,
    "Moving the mesh": 1.0,
}
"""Stages in order, with the fraction of the whole job at which each one ends."""
POOR_OVERLAP = 0.6
"""Silhouette overlap with the first frame below which the artist is warned; a good view gives 0.9 and more."""


def animate(
    capture: Capture,
    video: Path,
    settings: AnimateSettings,
    on_progress: Progress = lambda stage, fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Animation:
    """Make the captured asset move like the video.

    Raises:
        GvfError: The input cannot be used; message and hint say why and what to do.
        Cancelled: `cancelled` returned True; it is asked between stages and frames, while motion is sought several
            times a second.
    """
    stages = _Stages(on_progress, cancelled)
    with stages.run("Reading the video") as monitor:
        clip = read_video(video, settings.start_frame, settings.frame_stride, settings.max_frames, monitor.part(0, 0.4))
        frames = cut_out(clip, monitor.part(0.4, 1))
    with stages.run("Making Gaussians") as monitor:
        rng = np.random.default_rng(settings.seed)
        canonical = gaussians_on_surface(capture, settings.gaussians, rng, monitor)
    with stages.run("Finding the view"):
        alignment = align_to_frame(capture, frames[0], settings.azimuth, settings.elevation, settings.fov)
        if alignment.iou == 0:
            raise VideoError(
                "The asset cannot be placed in the first frame of the video.", "Check the view and the first frame."
            )
        frames, camera = crop_square(frames, alignment.camera, WORKING_SIZE)
    engine = settings.engine if settings.engine != "auto" else list(ENGINES)[-1]
    # The operations are small: threads of BLAS and torch mostly wait for each other. On two busy cores, one thread
    # polished the example 5 times faster than two, and more BLAS threads than cores made clips 15 times slower.
    with stages.run("Finding motion") as monitor, threadpool_limits(1):
        task = MotionTask(capture, canonical, frames, camera, settings.seed)
        motion = ENGINES[engine](task, monitor)
    with stages.run("Moving the mesh"):
        vertices = vertices_from_gaussians(capture.vertices, canonical.gaussians, motion.variation)
    warnings = list(motion.warnings)
    if alignment.iou < POOR_OVERLAP:
        warnings.insert(
            0,
            f"The asset covers only {alignment.iou:.0%} of its place in the first frame. "
            "Check the view (azimuth and elevation), or start where the video shows the asset's pose.",
        )
    return Animation(
        gaussians=canonical.gaussians,
        variation=motion.variation,
        vertices=vertices,
        world_from_unit=capture.world_from_unit,
        fps=clip.fps,
        provenance={
            "engine": engine,
            "version": gvf_core.__version__,
            "settings": dataclasses.asdict(settings),
            "frames": len(frames),
            "gaussians": len(canonical.gaussians),
            "alignment_iou": alignment.iou,
            "seconds": stages.seconds,
            "warnings": warnings,
            **motion.figures,
        },
    )


class _Stages:
    """Turns progress within stages into progress of the whole job, and measures the time of each."""

    def __init__(self, on_progress: Progress, cancelled: Callable[[], bool]) -> None:
        self._on_progress, self._cancelled = on_progress, cancelled
        self.seconds: dict[str, float] = {}

    @contextmanager
    def run(self, name: str) -> Iterator[Monitor]:
        """The body of the `with` is the stage; it reports through the monitor."""
        names = list(STAGES)
        position = names.index(name)
        begin = STAGES[names[position - 1]] if position else 0.0
        monitor = Monitor(lambda fraction: self._on_progress(name, fraction), self._cancelled).part(begin, STAGES[name])
        monitor(0)
        start = time.perf_counter()
        yield monitor
        self.seconds[name] = round(time.perf_counter() - start, 3)
        LOGGER.info("%s took %.1f s", name, self.seconds[name])
        monitor(1)
