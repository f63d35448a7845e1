"""Where the asset stands in the first frame of the driving video."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float, Float32
from scipy.optimize import minimize

from gvf_core.capture import Capture
from gvf_core.rendering.camera import Camera, orbit_camera
from gvf_core.rendering.mesh import rasterize_mesh
from gvf_core.video.crop import crop_square

SEARCH_SIZE = 192
"""Side in pixels of the pictures, cropped to the mask, in which silhouettes are compared."""
ROUNDS = 3
"""Perspective changes the silhouette a little, so distance and silhouette are found in turns."""
NEAREST, FARTHEST = 1.2, 20.0
"""Limits of the camera's distance; the asset reaches 0.87 from the origin at most."""


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
    capture: Capture, frame: Float32[np.ndarray, "height width 4"], azimuth: float, elevation: float, fov: float
) -> Alignment:
    """Find distance and position in the picture; the direction of view is given.

    The size of the asset in the picture tells the distance, and with it the perspective. The position goes into
    the principal point, as a crop of the official renderings would; so does the focal length take what the
    limits of the distance leave over.

    Args:
        capture: The asset.
        frame: Premultiplied colour and alpha of the first used frame.
        azimuth: Degrees, see `orbit_camera`.
        elevation: Degrees.
        fov: Degrees across the larger side of the frame.
    """
    height, width = frame.shape[:2]
    larger = max(height, width)
    lens = orbit_camera(azimuth, elevation, fov=fov).intrinsics[0] * larger
    whole = replace(
        orbit_camera(azimuth, elevation), intrinsics=(lens / width, lens / height, 0.5, 0.5), width=width, height=height
    )
    if not (frame[..., 3] > 0.5).any():
        return Alignment(whole, 0.0)
    cropped, window = crop_square(frame[None], whole, SEARCH_SIZE)
    mask = cropped[0, ..., 3]
    if not (mask > 0.5).any():
        # Thinner than the pixels of this smaller picture: then what there is of it.
        mask = np.minimum(1, mask / mask.max())
    lens = window.intrinsics[0]
    radius = 2.0
    for _ in range(ROUNDS):
        seen_from = orbit_camera(azimuth, elevation, radius)
        camera = _filling(replace(window, world_to_camera=seen_from.world_to_camera), capture.vertices)
        silhouette = _silhouette(capture, camera)
        if not silhouette.any():
            return Alignment(whole, 0.0)
        camera = _moved(camera, _match_moments(silhouette, mask))
        radius = float(np.clip(radius * lens / camera.intrinsics[0], NEAREST, FARTHEST))
    camera = _moved(camera, _refine(_silhouette(capture, camera), mask))
    covered, inside = _silhouette(capture, camera) > 0.5, mask > 0.5
    iou = (covered & inside).sum() / (covered | inside).sum()
    return Alignment(_uncropped(camera, window, whole), float(iou))


def _uncropped(camera: Camera, window: Camera, whole: Camera) -> Camera:
    """The camera of the whole frame whose crop is `camera`, where `window` is the same crop of `whole`."""
    fx, fy, cx, cy = camera.pixel_intrinsics
    window_fx, _, window_cx, window_cy = window.pixel_intrinsics
    whole_fx, _, whole_cx, whole_cy = whole.pixel_intrinsics
    scale = whole_fx / window_fx
    x, y = whole_cx + scale * (cx - window_cx), whole_cy + scale * (cy - window_cy)
    intrinsics = (fx * scale / whole.width, fy * scale / whole.height, x / whole.width, y / whole.height)
    return replace(whole, world_to_camera=camera.world_to_camera, intrinsics=intrinsics)


def _filling(camera: Camera, vertices: Float[np.ndarray, "vertices 3"]) -> Camera:
    """Zoomed and shifted so that the asset fills the picture and nothing of it is cut off."""
    pixels, _ = camera.project(vertices)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    frame = np.array([camera.width, camera.height])
    zoom = 0.9 * (frame / np.maximum(high - low, 1e-6)).min()
    return _moved(camera, np.array([np.log(zoom), *(frame / 2 - zoom * (low + high) / 2)]))


def _moved(camera: Camera, parameters: Float[np.ndarray, "3"]) -> Camera:
    """The camera whose picture is this one's after `_warp`."""
    scale, dx, dy = np.exp(parameters[0]), *parameters[1:]
    fx, fy, cx, cy = camera.intrinsics
    cx, cy = float(cx * scale + dx / camera.width), float(cy * scale + dy / camera.height)
    return replace(camera, intrinsics=(float(fx * scale), float(fy * scale), cx, cy))


def _silhouette(capture: Capture, camera: Camera) -> Float32[np.ndarray, "height width"]:
    return (rasterize_mesh(capture.vertices, capture.triangles, camera).triangle >= 0).astype(np.float32)


def _refine(silhouette: np.ndarray, mask: np.ndarray) -> Float[np.ndarray, "3"]:
    """Small change of log scale and shift after which the two masks differ least, sharp and blurred."""

    def cost(parameters: np.ndarray) -> float:
        moved = _warp(silhouette, parameters)
        return sum(float(np.abs(_blur(moved, sigma) - _blur(mask, sigma)).mean()) for sigma in (1.0, 4.0))

    start = np.zeros(3)
    simplex = np.array([[0, 0, 0], [0.05, 0, 0], [0, 3, 0], [0, 0, 3]])
    found = minimize(cost, start, method="Nelder-Mead", options={"initial_simplex": simplex, "maxfev": 150}).x
    return found if cost(found) <= cost(start) else start


def _match_moments(silhouette: np.ndarray, mask: np.ndarray) -> Float[np.ndarray, "3"]:
    """Log scale and shift that bring the centroid and area of one mask to the other's."""

    def moments(picture: np.ndarray) -> tuple[float, np.ndarray]:
        rows, columns = np.nonzero(picture > 0.5)
        return np.sqrt(len(rows)), np.array([columns.mean() + 0.5, rows.mean() + 0.5])

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
