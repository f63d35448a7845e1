"""Colours of the asset as the video shows them, so that drawn pictures and frames can be compared."""

import cv2
import numpy as np
from jaxtyping import Float, Float32

from gvf_core.motion.body import Body
from gvf_core.rendering import Camera
from gvf_core.rendering.mesh import rasterize_mesh
from gvf_core.rendering.sampling import sample_picture

DEPTH_TOLERANCE = 0.015
"""A point counts as shown when it lies at most this far behind the visible surface."""
MIN_SAMPLES = 50
"""Fewer visible points than this cannot support the twelve numbers of an affine colour change."""


def colors_in_video(
    body: Body, frame: Float32[np.ndarray, "height width 4"], camera: Camera
) -> Float32[np.ndarray, "gaussians 3"]:
    """Colours (sRGB, 0..1) of the Gaussians under the light of the first frame.

    Points that the first frame shows take its colour; all others their captured colour after the
    affine change that explains the visible ones best.
    """
    position = body.points.positions(body.vertices, body.triangles)
    pixel, depth = camera.project(position)
    surface = rasterize_mesh(body.vertices, body.triangles, camera)
    # Away from contours: there a slight misalignment would paint one part with another's colour.
    inside = cv2.erode(((surface.triangle >= 0) & (frame[..., 3] > 0.98)).astype(np.uint8), np.ones((3, 3), np.uint8))
    column = np.clip(np.floor(pixel[:, 0]).astype(int), 0, camera.width - 1)
    row = np.clip(np.floor(pixel[:, 1]).astype(int), 0, camera.height - 1)
    visible = (inside[row, column] > 0) & (depth < surface.depth[row, column] + DEPTH_TOLERANCE)
    shown = sample_picture(frame[..., :3], pixel)
    colors = _affine(body.colors, shown, visible)
    colors[visible] = shown[visible]
    return np.clip(colors, 0, 1).astype(np.float32)


def contrasting_background(colors: Float[np.ndarray, "gaussians 3"]) -> float:
    """Black behind bright assets, white behind dark ones."""
    return 0.0 if colors.mean() > 0.45 else 1.0


def _affine(captured: np.ndarray, shown: np.ndarray, visible: np.ndarray) -> np.ndarray:
    if visible.sum() < MIN_SAMPLES:
        return captured.astype(np.float64).copy()
    extended = np.concatenate([captured, np.ones((len(captured), 1))], axis=1).astype(np.float64)
    # A little pull to "no change" keeps a uniformly coloured asset from an ill-posed fit.
    pull = 0.01 * visible.sum() * np.eye(4)
    no_change = np.eye(4, 3)
    a = extended[visible]
    matrix = np.linalg.solve(a.T @ a + pull, a.T @ shown[visible].astype(np.float64) + pull @ no_change)
    return extended @ matrix
