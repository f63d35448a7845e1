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

HIDDEN = 0.3
"""Confidence of a Gaussian that no video shows: its motion is a guess from what is beside it."""
GUIDED, TOLERATED = 0.6, 0.1
"""The same where the motion prior was asked and expects no error, and the expected error (unit frame) at which that
falls to 37 %."""
DIFFERENCE = 0.1
"""Difference of colour and coverage (0..1) around a Gaussian's place, beyond that of the first frame, at which
confidence falls to 37 %; it never falls below that of a hidden one."""
_SIZE = 192
"""Side in pixels of the pictures that are compared."""


def confidence(
    task: MotionTask[Any], motion: Motion, vertices: Float[np.ndarray, "frames vertices 3"]
) -> Float32[np.ndarray, "frames gaussians"]:
    """From 0 to 1; 1 in the first frame, whose pose is known.

    Gaussians that a video shows are trusted as far as their surroundings look like it, those that several show as far
    as the best of them. Hidden ones are trusted little; how little says the motion prior, where it was asked.

    Args:
        task: Asset and videos.
        motion: What was found.
        vertices: The asset's in every frame.
    """
    least = np.full((len(vertices), len(task.canonical.gaussians)), HIDDEN, np.float32)
    if motion.expected_error is not None:
        least = (GUIDED * np.exp(-motion.expected_error / TOLERATED)).astype(np.float32)
    result = np.maximum.reduce([_as_seen(task, motion, vertices, view, least) for view in task.views])
    result[0] = 1
    return result


def _as_seen(
    task: MotionTask[Any],
    motion: Motion,
    vertices: Float[np.ndarray, "frames vertices 3"],
    view: DrivingView,
    least: Float32[np.ndarray, "frames gaussians"],
) -> Float32[np.ndarray, "frames gaussians"]:
    """What one video says; `least` of what it does not show."""
    small = view.camera.resized(_SIZE, _SIZE)
    result = least.copy()
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
        result[index] = np.maximum(least[index], np.where(seen, np.exp(-excess / DIFFERENCE), 0))
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
