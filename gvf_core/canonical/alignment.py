"""Where the asset stands in the first frame of the driving video."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float32
from scipy.optimize import minimize

from gvf_core.capture import Capture
from gvf_core.rendering.camera import Camera, orbit_camera
from gvf_core.rendering.mesh import rasterize_mesh

SEARCH_SIZE = 192
"""Larger side of the pictures in which the masks are compared, in pixels."""


@dataclass(frozen=True)
class Alignment:
    """A camera under which the asset lies on the first frame.

    Attributes:
        camera: Camera of the full video frame, in the unit frame.
        iou: Overlap of the asset's silhouette with the frame's mask, intersection over union, 0..1.
    """

    camera: Camera
    iou: float


def align_to_frame(
    capture: Capture,
    frame: Float32[np.ndarray, "height width 4"],
    azimuth: float,
    elevation: float,
    fov: float,
    radius: float = 2.0,
) -> Alignment:
    """Find scale and position in the picture; the direction of view is given.

    Scale goes into the focal length and position into the principal point, as a crop of the
    official renderings would.

    Args:
        capture: The asset.
        frame: Premultiplied colour and alpha of the first used frame.
        azimuth: Degrees, see `orbit_camera`.
        elevation: Degrees.
        fov: Degrees across the larger side of the frame.
        radius: Distance of the camera in the unit frame.
    """
    height, width = frame.shape[:2]
    larger = max(height, width)
    square = orbit_camera(azimuth, elevation, radius, fov, larger)
    focal = square.intrinsics[0] * larger
    camera = replace(square, intrinsics=(focal / width, focal / height, 0.5, 0.5), width=width, height=height)

    shrink = SEARCH_SIZE / larger
    small = (max(8, round(width * shrink)), max(8, round(height * shrink)))
    mask = cv2.resize(frame[..., 3], small, interpolation=cv2.INTER_AREA)
    drawn = camera.resized(*small)
    triangle = rasterize_mesh(capture.vertices, capture.triangles, drawn).triangle
    silhouette = (triangle >= 0).astype(np.float32)
    if not silhouette.any():
        return Alignment(camera, 0.0)
    start = _match_boxes(silhouette, mask)

    def cost(parameters: np.ndarray) -> float:
        moved = _warp(silhouette, parameters)
        return sum(float(np.abs(_blur(moved, sigma) - _blur(mask, sigma)).mean()) for sigma in (1.0, 4.0))

    spread = np.array([[0, 0, 0], [0.05, 0, 0], [0, 3, 0], [0, 0, 3]])
    found = minimize(cost, start, method="Nelder-Mead", options={"initial_simplex": start + spread, "maxfev": 150}).x
    best = found if cost(found) <= cost(start) else start
    scale, dx, dy = float(np.exp(best[0])), float(best[1]), float(best[2])
    fx, fy, cx, cy = drawn.pixel_intrinsics
    intrinsics = (
        fx * scale / small[0],
        fy * scale / small[1],
        (cx * scale + dx) / small[0],
        (cy * scale + dy) / small[1],
    )
    moved, inside = _warp(silhouette, best) > 0.5, mask > 0.5
    iou = (moved & inside).sum() / max(1, (moved | inside).sum())
    return Alignment(replace(camera, intrinsics=intrinsics), float(iou))


def _match_boxes(silhouette: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Log scale and shift that bring the centroid and area of one mask to the other's."""

    def moments(picture: np.ndarray) -> tuple[float, np.ndarray]:
        rows, columns = np.nonzero(picture > 0.5)
        return np.sqrt(len(rows)), np.array([columns.mean() + 0.5, rows.mean() + 0.5])

    if not (mask > 0.5).any():
        return np.zeros(3)
    (size, center), (wanted_size, wanted_center) = moments(silhouette), moments(mask)
    scale = wanted_size / size
    return np.array([np.log(scale), *(wanted_center - scale * center)])


def _warp(picture: np.ndarray, parameters: np.ndarray) -> np.ndarray:
    """Scale about the top left corner and shift; pixel centres at half integers."""
    scale, dx, dy = np.exp(parameters[0]), parameters[1], parameters[2]
    half = 0.5 * scale - 0.5
    matrix = np.array([[scale, 0, dx + half], [0, scale, dy + half]])
    return cv2.warpAffine(picture, matrix, picture.shape[::-1])


def _blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(picture, (0, 0), sigma)
