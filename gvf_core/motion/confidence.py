"""How far the motion of each Gaussian can be trusted, frame by frame."""

from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from scipy.spatial import cKDTree

from gvf_core.capture import Capture
from gvf_core.gaussians import Splats
from gvf_core.motion.engine import DrivingView, Motion, MotionTask
from gvf_core.motion.video_agreement import agreement_at
from gvf_core.rendering import Camera, rasterize
from gvf_core.rendering.mesh import rasterize_mesh
from gvf_core.transfer.held import movable_at

TOLERATED = 0.1
"""Expected error (unit frame) at which confidence falls to 37 %."""
MOVED, BENT = 0.37, 3.7
"""Where the motion prior was not asked, expected error in parts of how far a Gaussian has moved, and of how differently
its neighbours move. So large is the median error on 32 clips with one video; docs/motion-quality.md."""
NEIGHBOURS, COMPARED = 16, 20_000
"""Neighbours are so many of about so many Gaussians: in a denser crowd they would be nearer, and differ less."""
SEVERAL = 0.5
"""What several videos leave of that, as they show depth: about the median over eight clips with two."""
DIFFERENCE = 0.3
"""Expected error for a difference of 1 in colour or coverage (0..1) around a Gaussian's place, beyond that of the first
frame: a motion that does not look like the video is not to be trusted, however small it is."""
_SIZE = 192
"""Side in pixels of the pictures that are compared."""


def confidence(
    task: MotionTask[Any], motion: Motion, vertices: Float[np.ndarray, "frames vertices 3"]
) -> Float32[np.ndarray, "frames gaussians"]:
    """From 0 to 1; 1 in the first frame, whose pose is known.

    It is what error is expected. Where the motion prior was asked, it has told that: that what the video shows, and how
    like its surroundings look to it, told less of the true errors alone, and nothing more (docs/motion-quality.md).
    Elsewhere what moves far, or bends, is less sure, and what does not look like any of the videos. What the artist
    holds still is as sure as the rest pose.

    Args:
        task: Asset and videos.
        motion: What was found.
        vertices: The asset's in every frame.
    """
    error = motion.expected_error
    if error is None:
        error = _error_by_motion(task, motion) + DIFFERENCE * _unexplained(task, motion, vertices)
    result = np.exp(-error / TOLERATED).astype(np.float32)
    if task.capture.movable is not None:
        movable = movable_at(task.capture, task.canonical.gaussians.means.numpy()).astype(np.float32)
        result = 1 - movable * (1 - result)
    result[0] = 1
    return result


def _error_by_motion(task: MotionTask[Any], motion: Motion) -> Float32[np.ndarray, "frames gaussians"]:
    """What error is usual where Gaussians move as they do."""
    gaussians = task.canonical.gaussians
    with torch.no_grad():
        means = np.stack([gaussians.activate(delta).means.numpy() for delta in motion.variation.deltas])
    ways = means - means[0]
    error = MOVED * np.linalg.norm(ways, axis=-1)
    some = slice(None, None, max(1, len(means[0]) // COMPARED))
    tree = cKDTree(means[0, some])
    _, around = tree.query(means[0, some], k=[*range(1, min(NEIGHBOURS + 1, tree.n) + 1)])
    _, nearest = tree.query(means[0])
    for index, way in enumerate(ways[:, some]):
        error[index] += BENT * np.linalg.norm(way[around] - way[:, None], axis=-1).mean(axis=1)[nearest]
    return error * (SEVERAL if task.more_views else 1.0)


def _unexplained(
    task: MotionTask[Any], motion: Motion, vertices: Float[np.ndarray, "frames vertices 3"]
) -> Float32[np.ndarray, "frames gaussians"]:
    """How unlike the most similar of the videos the surroundings of each Gaussian look; 0 where none shows it."""
    least = np.minimum.reduce([_difference(task, motion, vertices, view) for view in task.views])
    return np.where(np.isfinite(least), least, 0)


def _difference(
    task: MotionTask[Any],
    motion: Motion,
    vertices: Float[np.ndarray, "frames vertices 3"],
    view: DrivingView,
) -> Float32[np.ndarray, "frames gaussians"]:
    """How unlike one video it looks, beyond how unlike its first frame is; infinite where it is hidden there."""
    small = view.camera.resized(_SIZE, _SIZE)
    result = np.full((len(vertices), len(task.canonical.gaussians)), np.inf, np.float32)
    usual = 0.0
    for index, frame in enumerate(view.frames):
        with torch.no_grad():
            splats = task.canonical.gaussians.activate(motion.variation.deltas[index])
        difference, seen = _compare(task.capture, vertices[index], splats, frame, small)
        if index == 0:
            # What light and drawing make different where the pose is right.
            usual = float(np.median(difference[seen])) if seen.any() else 0.0
        result[index, seen] = np.maximum(difference[seen] - usual, 0)
    return result


def _compare(
    capture: Capture,
    vertices: Float[np.ndarray, "vertices 3"],
    splats: Splats,
    frame: Float32[np.ndarray, "height width 4"],
    camera: Camera,
) -> tuple[Float[np.ndarray, " gaussians"], Bool[np.ndarray, " gaussians"]]:
    """How much the picture differs from the frame around each Gaussian, and which ones it shows."""
    with torch.no_grad():
        picture = rasterize(splats, camera).premultiplied.numpy()
    given = cv2.resize(frame, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    surface = rasterize_mesh(vertices, capture.triangles, camera).depth
    pixel, depth = camera.project(splats.means.double().numpy())
    return agreement_at(picture, given, surface, pixel, depth)
