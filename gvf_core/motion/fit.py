"""The weights-free engine: motion from the video by analysis through synthesis.

Control nodes on the surface are tracked frame by frame (optical flow between the drawn estimate and the
next frame, then photometric steps), polished over the whole clip, and compared with simpler explanations.
One view shows no depth and no hidden side; there the asset keeps its rest shape.
"""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float32

from gvf_core.canonical.surface import SurfaceGaussians
from gvf_core.gaussians import VariationField
from gvf_core.motion.appearance import colors_in_video, contrasting_background
from gvf_core.motion.body import Body, Pose
from gvf_core.motion.engine import Motion, MotionTask
from gvf_core.motion.observe import Observer
from gvf_core.motion.polish import PolishOptions, polish
from gvf_core.motion.tracking import TrackingOptions, track
from gvf_core.progress import Monitor
from gvf_core.settings import FitPreset

LOGGER = logging.getLogger(__name__)

TIGHT, LOOSE = TrackingOptions(depth_weight=0.01), TrackingOptions(depth_weight=0.003)
"""How far depth may follow differs from clip to clip, and the video residual tells. Measured vertex errors after
polish, tight and loose: running fox .63, .65; snake .69, .58; gull 1.00, .98; leaping fox .36, .36."""
RIGID = TrackingOptions(flow_rounds=3, blurs=(4, 2), stiffness=(30.0, 30.0), bend_scale=10.0)
"""All links stiff: the asset moves as a whole."""


@dataclass(frozen=True)
class FitOptions:
    """How much is tried.

    Attributes:
        trackings: Ways to track by name, stiffer ones first; the one that explains the video best goes on.
        polishing: How that one is polished; not at all if None.
    """

    trackings: Mapping[str, TrackingOptions]
    polishing: PolishOptions | None


PRESETS: dict[FitPreset, FitOptions] = {
    "fast": FitOptions({"tracked": TIGHT}, None),
    "standard": FitOptions({"tracked": TIGHT, "tracked loosely": LOOSE}, PolishOptions()),
    "best": FitOptions({"rigid": RIGID, "tracked": TIGHT, "tracked loosely": LOOSE}, PolishOptions(iterations=60)),
}
CLEARLY = 0.97
"""A looser explanation must lower the residual at least by this factor: it follows noise better, too. Chosen on these
four clips and the example, where it takes the better one, or for the leaping fox an equal one; not tried on others."""
TRACKED, COMPARED, POLISHED = 0.48, 0.53, 0.98
"""Fractions of the time after which tracking, the choice among its results, and polish end; for the progress bar."""
STILL_BLUR, STILL_DIFFERENCE = 4.0, 0.12
"""A video is still when no pixel, blurred by so many pixels, differs more than this (0..1) from the first frame.
Measured on 512 px frames: a still picture with noise of 3/255, H.264 at crf 28, reaches 0.10; the example 0.66."""


def fit(
    task: MotionTask[SurfaceGaussians],
    monitor: Monitor,
    options: FitOptions = PRESETS["standard"],
) -> Motion:
    """Find the motion of the canonical Gaussians.

    Args:
        task: The asset and the video.
        monitor: Takes the progress.
        options: How much is tried.

    Raises:
        Cancelled: The caller asked to stop.
    """
    means = task.canonical.gaussians.means.numpy()
    if is_still(task.frames):
        # Drawing the asset is never exact, and fitting would make up for that by moving it a little.
        still = VariationField(torch.zeros(len(task.frames), len(means), 14))
        return Motion(still, {"hypothesis": "unmoved"}, ("The video shows no motion. Choose another part of it.",))
    body = Body(task.capture, task.canonical)
    body.colors = colors_in_video(body, task.frames[0], task.camera)
    observer = Observer(body, task.camera, contrasting_background(body.colors), np.random.default_rng(task.seed))
    hypotheses = {"unmoved": [body.rest] * len(task.frames)}
    for index, (name, tracking) in enumerate(options.trackings.items()):
        # Every hypothesis draws the same random pixels, so that only the options make a difference.
        observer = dataclasses.replace(observer, rng=np.random.default_rng(task.seed))
        part = monitor.part(0, TRACKED).part(index / len(options.trackings), (index + 1) / len(options.trackings))
        hypotheses[name] = track(body, observer, task.frames, tracking, part)
    residuals = {}
    for index, (name, poses) in enumerate(hypotheses.items()):
        part = monitor.part(TRACKED, COMPARED).part(index / len(hypotheses), (index + 1) / len(hypotheses))
        residuals[name] = video_residual(observer, poses, task.frames, part)
    best = "unmoved"
    for name, residual in residuals.items():
        if residual < CLEARLY * residuals[best]:
            best = name
    if best != "unmoved" and options.polishing is not None:
        part = monitor.part(COMPARED, POLISHED)
        hypotheses["polished"] = polish(body, task.camera, task.frames, hypotheses[best], options.polishing, part)
        residuals["polished"] = video_residual(observer, hypotheses["polished"], task.frames, monitor.part(POLISHED, 1))
        best = min(residuals, key=residuals.__getitem__)
    LOGGER.info("video residuals %s, taking %s", residuals, best)
    warnings: tuple[str, ...] = ()
    if best == "unmoved":
        warnings = (
            "No motion that explains the video better than standing still was found. "
            "Check the view (azimuth and elevation) and the first frame.",
        )
    return Motion(
        variation=variation_field(body, means, hypotheses[best]),
        figures={"video_residual": residuals, "hypothesis": best, "nodes": len(body.graph.nodes)},
        warnings=warnings,
    )


def is_still(frames: Float32[np.ndarray, "frames height width 4"]) -> bool:
    """Whether all frames look like the first one."""
    first = cv2.GaussianBlur(frames[0], (0, 0), STILL_BLUR)
    blurred = (cv2.GaussianBlur(frame, (0, 0), STILL_BLUR) for frame in frames[1:])
    return all(np.abs(frame - first).max() < STILL_DIFFERENCE for frame in blurred)


def video_residual(
    observer: Observer, poses: list[Pose], frames: Float32[np.ndarray, "frames height width 4"], monitor: Monitor
) -> float:
    """Mean absolute difference between drawn poses and the frames after the first, 0..1."""
    residuals = []
    for index in range(1, len(frames)):
        monitor(index / len(frames))
        residuals.append(observer.residual(observer.draw(poses[index]), frames[index]))
    return float(np.mean(residuals))


def variation_field(body: Body, means: Float32[np.ndarray, "gaussians 3"], poses: list[Pose]) -> VariationField:
    """Raw deltas that take the canonical Gaussians into the poses."""
    rest = body.splats(body.rest)
    deltas = torch.zeros(len(poses), len(means), 14)
    for index, pose in enumerate(poses[1:], start=1):
        splats = body.splats(pose)
        # Raw quaternions add up: the sign nearer to the rest quaternion is the shorter way.
        sign = torch.where((splats.quaternions * rest.quaternions).sum(-1, keepdim=True) < 0, -1.0, 1.0)
        deltas[index, :, VariationField.MEANS] = splats.means - torch.from_numpy(means)
        deltas[index, :, VariationField.ROTATIONS] = sign * splats.quaternions - rest.quaternions
    return VariationField(deltas)
