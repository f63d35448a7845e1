"""How far the motion of each Gaussian can be trusted, frame by frame."""

from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from gvf_core.capture import Capture
from gvf_core.gaussians import Splats
from gvf_core.motion.engine import DrivingView, Motion, MotionTask
from gvf_core.motion.video_agreement import agreement_at
from gvf_core.rendering import Camera, rasterize
from gvf_core.rendering.mesh import rasterize_mesh
from gvf_core.transfer.held import movable_at

TOLERATED = 0.1
"""Expected error (unit frame) at which confidence falls to 37 %, where the motion prior tells one."""
HIDDEN = 0.3
"""Where it was not asked: confidence of a Gaussian that no video shows, a guess from what is beside it."""
DIFFERENCE = 0.1
"""Difference of colour and coverage (0..1) around a Gaussian's place, beyond that of the first frame, at which
confidence falls to 37 %; it never falls below that of a hidden one."""
_SIZE = 192
"""Side in pixels of the pictures that are compared."""


def confidence(
    task: MotionTask[Any], motion: Motion, vertices: Float[np.ndarray, "frames vertices 3"]
) -> Float32[np.ndarray, "frames gaussians"]:
    """From 0 to 1; 1 in the first frame, whose pose is known.

    Where the motion prior was asked, its expected error is all: that what the video shows, and how like its
    surroundings look to it, told less of the true errors alone, and nothing more (docs/motion-quality.md). Elsewhere
    Gaussians that a video shows are trusted as far as their surroundings look like it, those that several show as far
    as the best of them, and hidden ones little. What the artist holds still is as sure as the rest pose.

    Args:
        task: Asset and videos.
        motion: What was found.
        vertices: The asset's in every frame.
    """
    if motion.expected_error is not None:
        result = np.exp(-motion.expected_error / TOLERATED).astype(np.float32)
    else:
        result = np.maximum.reduce([_as_seen(task, motion, vertices, view) for view in task.views])
    if task.capture.movable is not None:
        movable = movable_at(task.capture, task.canonical.gaussians.means.numpy()).astype(np.float32)
        result = 1 - movable * (1 - result)
    result[0] = 1
    return result


def _as_seen(
    task: MotionTask[Any],
    motion: Motion,
    vertices: Float[np.ndarray, "frames vertices 3"],
    view: DrivingView,
) -> Float32[np.ndarray, "frames gaussians"]:
    """What one video says; `HIDDEN` of what it does not show."""
    small = view.camera.resized(_SIZE, _SIZE)
    result = np.full((len(vertices), len(task.canonical.gaussians)), HIDDEN, np.float32)
    usual = 0.0
    for index, frame in enumerate(view.frames):
        with torch.no_grad():
            splats = task.canonical.gaussians.activate(motion.variation.deltas[index])
        difference, seen = _compare(task.capture, vertices[index], splats, frame, small)
        if index == 0:
            # What light and drawing make different where the pose is right.
            usual = float(np.median(difference[seen])) if seen.any() else 0.0
            continue
        excess = np.maximum(difference - usual, 0)
        result[index] = np.maximum(HIDDEN, np.where(seen, np.exp(-excess / DIFFERENCE), 0))
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
        drawn = rasterize(splats, camera)
    picture = torch.cat([drawn.color, drawn.alpha[..., None]], dim=-1).numpy()
    given = cv2.resize(frame, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    surface = rasterize_mesh(vertices, capture.triangles, camera).depth
    pixel, depth = camera.project(splats.means.double().numpy())
    return agreement_at(picture, given, surface, pixel, depth)
