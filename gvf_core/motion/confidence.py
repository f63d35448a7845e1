"""How far the motion of each Gaussian can be trusted, frame by frame."""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from gvf_core.capture import Capture
from gvf_core.gaussians import Gaussians, Splats, VariationField
from gvf_core.motion.video_agreement import agreement_at
from gvf_core.rendering import Camera, rasterize
from gvf_core.rendering.mesh import rasterize_mesh

HIDDEN = 0.3
"""Confidence of a Gaussian that the video does not show: its motion is a guess from what is beside it."""
DIFFERENCE = 0.1
"""Difference of colour and coverage (0..1) around a Gaussian's place, beyond that of the first frame, at which
confidence falls to 37 %; it never falls below that of a hidden one."""
_SIZE = 192
"""Side in pixels of the pictures that are compared."""


def confidence(
    capture: Capture,
    vertices: Float[np.ndarray, "frames vertices 3"],
    gaussians: Gaussians,
    variation: VariationField,
    frames: Float32[np.ndarray, "frames height width 4"],
    camera: Camera,
) -> Float32[np.ndarray, "frames gaussians"]:
    """From 0 to 1; 1 in the first frame, whose pose is known.

    Seen Gaussians are trusted as far as their surroundings look like the video, hidden ones as far as `HIDDEN`.

    Args:
        capture: The asset.
        vertices: Its vertices in every frame.
        gaussians: Canonical Gaussians.
        variation: Their deltas.
        frames: The video, premultiplied colour and alpha.
        camera: Of the video.
    """
    small = camera.resized(_SIZE, _SIZE)
    result = np.ones((len(frames), len(gaussians)), np.float32)
    usual = 0.0
    for index, frame in enumerate(frames):
        with torch.no_grad():
            splats = gaussians.activate(variation.deltas[index])
        difference, seen = _compare(capture, vertices[index], splats, frame, small)
        if index == 0:
            # What light and drawing make different where the pose is right.
            usual = float(np.median(difference[seen])) if seen.any() else 0.0
            continue
        excess = np.maximum(difference - usual, 0)
        result[index] = np.where(seen, np.maximum(np.exp(-excess / DIFFERENCE), HIDDEN), HIDDEN)
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
