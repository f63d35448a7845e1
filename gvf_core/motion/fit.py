"""The weights-free engine: motion from the video by analysis through synthesis.

Control nodes on the surface are tracked frame by frame (optical flow between the drawn estimate and the
next frame, then photometric steps), polished over the whole clip, and compared with simpler explanations.
One view shows no depth and no hidden side; there the asset keeps its rest shape.
"""

import logging

import numpy as np
import torch
from jaxtyping import Float32

from gvf_core.gaussians import VariationField
from gvf_core.motion.appearance import colors_in_video, contrasting_background
from gvf_core.motion.body import Body, Pose
from gvf_core.motion.engine import Monitor, Motion, MotionTask
from gvf_core.motion.observe import Observer
from gvf_core.motion.polish import PolishOptions, polish
from gvf_core.motion.tracking import TrackingOptions, track

LOGGER = logging.getLogger(__name__)

DEFAULT_TRACKING = TrackingOptions()
DEFAULT_POLISHING = PolishOptions()
TRACKING_SHARE = 0.35
"""Share of the time that tracking takes, for the progress bar."""


def fit(
    task: MotionTask,
    monitor: Monitor,
    tracking: TrackingOptions = DEFAULT_TRACKING,
    polishing: PolishOptions = DEFAULT_POLISHING,
) -> Motion:
    """Find the motion of the canonical Gaussians.

    Raises:
        Cancelled: The caller asked to stop.
    """
    body = Body(task.capture, task.canonical)
    body.colors = colors_in_video(body, task.frames[0], task.camera)
    observer = Observer(body, task.camera, contrasting_background(body.colors), np.random.default_rng(task.seed))
    unmoved = [body.rest] * len(task.frames)
    tracked = track(body, observer, task.frames, tracking, monitor.part(0, TRACKING_SHARE))
    polished = polish(body, task.camera, task.frames, tracked, polishing, monitor.part(TRACKING_SHARE, 1))
    hypotheses = {"unmoved": unmoved, "tracked": tracked, "polished": polished}
    residuals = {name: video_residual(observer, poses, task.frames) for name, poses in hypotheses.items()}
    best = min(residuals, key=residuals.__getitem__)
    LOGGER.info("video residuals %s, taking %s", residuals, best)
    warnings: tuple[str, ...] = ()
    if best == "unmoved":
        warnings = (
            "No motion that explains the video better than standing still was found. "
            "Check the view (azimuth and elevation) and the first frame.",
        )
    return Motion(
        variation=variation_field(body, task.canonical.gaussians.means.numpy(), hypotheses[best]),
        figures={"video_residual": residuals, "hypothesis": best, "nodes": len(body.graph.nodes)},
        warnings=warnings,
    )


def video_residual(observer: Observer, poses: list[Pose], frames: Float32[np.ndarray, "frames h w 4"]) -> float:
    """Mean absolute difference between drawn poses and the frames after the first, 0..1."""
    pairs = zip(poses[1:], frames[1:], strict=True)
    return float(np.mean([observer.residual(observer.draw(pose), frame) for pose, frame in pairs]))


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
