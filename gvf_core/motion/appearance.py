"""Colours of the asset as the video shows them, so that drawn pictures and frames can be compared."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

from gvf_core.motion.body import Body
from gvf_core.motion.engine import DrivingView
from gvf_core.rendering.mesh import rasterize_mesh
from gvf_core.rendering.sampling import sample_picture

DEPTH_TOLERANCE = 0.015
"""A point counts as shown when it lies at most this far behind the visible surface."""
MIN_SAMPLES = 50
"""Fewer visible points than this cannot support the twelve numbers of an affine colour change."""


def colors_in_video(body: Body, views: Sequence[DrivingView]) -> Float32[np.ndarray, "gaussians 3"]:
    """Colours (sRGB, 0..1) of the Gaussians under the light of the first frames.

    Points that a first frame shows take its colour, of several the mean; all others their present colour after
    the affine change that explains the visible ones best.
    """
    position = body.points.positions(body.vertices, body.triangles)
    total, count = np.zeros((len(position), 3)), np.zeros(len(position))
    for view in views:
        shown, visible = _shown(body, position, view)
        total[visible] += shown[visible]
        count += visible
    visible = count > 0
    total[visible] /= count[visible, None]
    colors = _affine(body.colors, total, visible)
    colors[visible] = total[visible]
    return np.clip(colors, 0, 1).astype(np.float32)


def _shown(
    body: Body, position: Float[np.ndarray, "gaussians 3"], view: DrivingView
) -> tuple[Float[np.ndarray, "gaussians 3"], Bool[np.ndarray, " gaussians"]]:
    """Colours of the first frame at the points, and which of them it shows."""
    camera, frame = view.camera, view.frames[0]
    pixel, depth = camera.project(position)
    surface = rasterize_mesh(body.vertices, body.triangles, camera)
    # Away from contours: there a slight misalignment would paint one part with another's colour.
    inside = cv2.erode(((surface.triangle >= 0) & (frame[..., 3] > 0.98)).astype(np.uint8), np.ones((3, 3), np.uint8))
    place = np.floor(pixel).astype(int)
    pictured = (place >= 0).all(axis=1) & (place < (camera.width, camera.height)).all(axis=1) & (depth > 0)
    column, row = np.where(pictured[:, None], place, 0).T
    visible = pictured & (inside[row, column] > 0) & (depth < surface.depth[row, column] + DEPTH_TOLERANCE)
    return sample_picture(frame[..., :3], pixel), visible


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
