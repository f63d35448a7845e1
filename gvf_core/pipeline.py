"""The main job: a captured asset and a driving video become an animation."""

import dataclasses
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import gvf_core
from gvf_core.animation import Animation
from gvf_core.canonical import Alignment, align_to_frame, check_views, find_view
from gvf_core.capture import Capture
from gvf_core.engine_choice import check_engine, choose_engine
from gvf_core.errors import VideoError
from gvf_core.gaussians import Gaussians
from gvf_core.geometry.mesh_doubts import mesh_doubts
from gvf_core.memory import forget_peak, peak_mb
from gvf_core.motion import MotionTask, open_engine
from gvf_core.motion.confidence import confidence
from gvf_core.motion.engine import DrivingView, Frames, MotionEngine, Similarity
from gvf_core.motion.recolor import recolor
from gvf_core.progress import Monitor, OnPreview
from gvf_core.settings import AnimateSettings
from gvf_core.transfer import held, vertices_from_gaussians
from gvf_core.video import cut_out, read_video
from gvf_core.video.doubts import video_doubts

LOGGER = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the fraction of the whole job that is done, 0..1, never falling."""

STAGES: dict[str, dict[str, float]] = {
    "fit": {
        "Reading the video": 0.02,
        "Loading the engine": 0.021,
        "Making Gaussians": 0.05,
        "Finding the view": 0.06,
        "Finding motion": 0.97,
        "Moving the mesh": 1.0,
    },
    "diffusion": {
        "Reading the video": 0.01,
        "Loading the engine": 0.03,
        "Making Gaussians": 0.4,
        "Finding the view": 0.42,
        "Finding motion": 0.98,
        "Moving the mesh": 1.0,
    },
}
"""Stages of each engine in order, with the fraction of the whole job at which each one ends."""


@dataclasses.dataclass(frozen=True)
class FurtherVideo:
    """The same moments as the driving video's, seen from another side.

    Attributes:
        path: Video file; its frames are chosen as the driving video's are.
        azimuth: Where it was seen from, degrees.
        elevation: The same.
    """

    path: Path
    azimuth: float
    elevation: float


_FOUND = 0.8
"""Part of the search for motion after which colours follow, where they do."""
POOR_OVERLAP = 0.6
"""Silhouette overlap with the first frame below which the artist is warned; a good view gives 0.9 and more."""


def check_request(video: Path, settings: AnimateSettings) -> None:
    """What can be told about video and settings in a second, before an asset is captured for them.

    Raises:
        GvfError: The video cannot be used, or the engine's weights are missing.
    """
    check_engine(settings)
    cut_out(read_video(video, settings.start_frame, settings.frame_stride, 2), method=settings.matting)


def animate(
    capture: Capture,
    video: Path,
    settings: AnimateSettings,
    on_progress: Progress = lambda stage, fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
    engine: MotionEngine[Any] | None = None,
    further: Sequence[FurtherVideo] = (),
    on_preview: OnPreview | None = None,
) -> Animation:
    """Make the captured asset move like the video.

    Args:
        capture: The asset.
        video: The driving video.
        settings: What the user chose.
        on_progress: Takes the progress.
        cancelled: Whether to stop.
        engine: An engine that is open already; if not given, the chosen one is opened.
        further: Synchronised videos from other sides, for the engine `fit` and for refinement.
        on_preview: Takes pictures of frames while their motion is found; `diffusion` draws some of each sample, and all
            frames of the one that it chose.

    Raises:
        GvfError: The input cannot be used; message and hint say why and what to do.
        Cancelled: `cancelled` returned True; it is asked between stages and frames, while motion is sought several
            times a second.
    """
    name = engine.name if engine else choose_engine(settings)
    stages = _Stages(STAGES[name], on_progress, cancelled, on_preview)
    with stages.run("Reading the video") as monitor:
        clip = read_video(video, settings.start_frame, settings.frame_stride, settings.max_frames, monitor.part(0, 0.4))
        frames = cut_out(clip, monitor.part(0.4, 1), settings.matting)
        doubts = (
            *mesh_doubts(capture.vertices, capture.triangles),
            *video_doubts(clip.frames[..., :3], frames, clip.is_steady),
        )
        other_frames = [_further_frames(one.path, settings, len(frames)) for one in further]
    with stages.run("Loading the engine"):
        check_views(capture)
        engine = engine or open_engine(settings)
        engine.check(capture, len(frames))
    with stages.run("Making Gaussians") as monitor:
        canonical = engine.canonical(capture, monitor)
    with stages.run("Finding the view") as monitor:
        placed = _place(capture, canonical.gaussians, frames, settings, engine.similarity, monitor)
        frames, camera = engine.crop(frames, placed.alignment.camera)
        more_views = []
        for one, seen in zip(further, other_frames, strict=True):
            given = replace(settings, view="given", azimuth=one.azimuth, elevation=one.elevation)
            other = _place(capture, canonical.gaussians, seen, given, None, monitor)
            placed = replace(placed, warnings=placed.warnings + other.warnings)
            more_views.append(DrivingView(*engine.crop(seen, other.alignment.camera)))
    with stages.run("Finding motion") as monitor:
        task = MotionTask(capture, canonical, frames, camera, settings.seed, tuple(more_views))
        found = _FOUND if settings.follow_colors else 1.0
        motion = engine.find_motion(task, monitor.part(0, found))
        if settings.follow_colors:
            with threadpool_limits(1):  # as in the engine `fit`: the operations are small
                motion = recolor(task, motion, monitor.part(found, 1))
    with stages.run("Moving the mesh"):
        vertices = vertices_from_gaussians(capture.vertices, canonical.gaussians, motion.variation)
        if capture.movable is not None:
            motion = replace(motion, variation=held(motion.variation, canonical.gaussians, capture))
            vertices = capture.vertices + capture.movable[:, None] * (vertices - capture.vertices)
        trusted = confidence(task, motion, vertices)
    remark = [engine.remark] if engine.remark else []
    if further and name != "fit" and not settings.refine_seconds:
        remark.append(f"The engine {name} looks at the driving video only; set refine_seconds to use the further ones.")
    return Animation(
        gaussians=canonical.gaussians,
        variation=motion.variation,
        vertices=vertices,
        world_from_unit=capture.world_from_unit,
        fps=clip.fps,
        provenance={
            "engine": name,
            "is_result": not engine.remark,
            "version": gvf_core.__version__,
            "settings": dataclasses.asdict(settings),
            "frames": len(frames),
            "videos": 1 + len(further),
            "gaussians": len(canonical.gaussians),
            **placed.figures,
            "seconds": stages.seconds,
            "peak_memory_mb": stages.peak_mb,
            "mean_confidence": round(float(trusted.mean()), 4),
            "warnings": [*remark, *doubts, *placed.warnings, *motion.warnings],
            **canonical.figures,
            **motion.figures,
            **engine.provenance,
        },
        confidence=trusted,
    )


def _further_frames(path: Path, settings: AnimateSettings, count: int) -> Frames:
    """Frames of another video, as many as the driving one has.

    Raises:
        VideoError: It is shorter.
    """
    clip = read_video(path, settings.start_frame, settings.frame_stride, settings.max_frames)
    frames = cut_out(clip, method=settings.matting)
    if len(frames) < count:
        raise VideoError(
            f"{path.name} has {len(frames)} frames, the driving video {count}.",
            "Give videos of the same moments, or fewer frames.",
        )
    return frames[:count]


@dataclasses.dataclass(frozen=True)
class _Placed:
    """Where the asset stands in the video, and what is to be said about it."""

    alignment: Alignment
    figures: dict[str, Any]
    warnings: tuple[str, ...]


def _place(
    capture: Capture,
    gaussians: Gaussians,
    frames: Frames,
    settings: AnimateSettings,
    similarity: Similarity | None,
    monitor: Monitor,
) -> _Placed:
    """Find the view if asked for, then size and position.

    Raises:
        VideoError: The asset has no place in the first frame.
    """
    azimuth, elevation = settings.azimuth, settings.elevation
    figures: dict[str, Any] = {}
    warnings = []
    if settings.view == "search":
        found = find_view(gaussians, frames[0], settings.fov, similarity=similarity, on_progress=monitor.part(0, 0.9))
        azimuth, elevation = found.azimuth, found.elevation
        figures = {"view_confidence": round(found.confidence, 3)}
        if found.remark:
            warnings.append(found.remark)
    alignment = align_to_frame(capture, frames[0], azimuth, elevation, settings.fov)
    if alignment.iou == 0:
        raise VideoError(
            "The asset cannot be placed in the first frame of the video.", "Check the view and the first frame."
        )
    if alignment.iou < POOR_OVERLAP:
        warnings.append(
            f"The asset covers only {alignment.iou:.0%} of its place in the first frame. "
            "Check the view (azimuth and elevation), or start where the video shows the asset's pose."
        )
    figures |= {"azimuth": azimuth, "elevation": elevation, "alignment_iou": alignment.iou}
    # What is needed to see the result from where the video sees it.
    distance = float(np.linalg.norm(alignment.camera.position))
    figures |= {"camera": {"distance": distance, "intrinsics": list(alignment.camera.intrinsics)}}
    return _Placed(alignment, figures, tuple(warnings))


class _Stages:
    """Turns progress within stages into progress of the whole job, and measures time and memory of each."""

    def __init__(
        self, ends: dict[str, float], on_progress: Progress, cancelled: Callable[[], bool], on_preview: OnPreview | None
    ) -> None:
        self._ends, self._on_progress, self._cancelled, self._on_preview = ends, on_progress, cancelled, on_preview
        self.seconds: dict[str, float] = {}
        self.peak_mb: dict[str, int] = {}

    @contextmanager
    def run(self, name: str) -> Iterator[Monitor]:
        """The body of the `with` is the stage; it reports through the monitor."""
        names = list(self._ends)
        position = names.index(name)
        begin = self._ends[names[position - 1]] if position else 0.0
        report = Monitor(lambda fraction: self._on_progress(name, fraction), self._cancelled, self._on_preview)
        monitor = report.part(begin, self._ends[name])
        monitor(0)
        start = time.perf_counter()
        measured = forget_peak()
        yield monitor
        self.seconds[name] = round(time.perf_counter() - start, 3)
        peak = peak_mb()
        if measured and peak is not None:
            self.peak_mb[name] = round(peak)
        LOGGER.info("%s took %.1f s", name, self.seconds[name])
        monitor(1)
