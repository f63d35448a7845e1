"""One square crop for the whole clip."""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float32

from gvf_core.rendering.camera import Camera

MARGIN = 0.08
"""Free border around everything that the mask covers in any frame, as a fraction of the square's side."""
NETWORK_SIZE = 512
"""Side in pixels of the official crop."""
_OFFICIAL_ALPHA, _OFFICIAL_ROOM, _OFFICIAL_INNER = 0.8, 1.2, 380
"""The official square around the first frame's mask is this much larger than it, and becomes so many pixels in the
middle of the crop (encode_in_the_wild_img_cond_dinov2_feature.py)."""

Frames = Float32[np.ndarray, "frames height width 4"]
Square = Float32[np.ndarray, "frames size size 4"]


def crop_square(frames: Frames, camera: Camera, size: int) -> tuple[Square, Camera]:
    """Cut the smallest square that holds the object in all frames and scale it.

    Args:
        frames: Premultiplied colour and alpha.
        camera: Camera of the full frames.
        size: Side of the result in pixels.

    Returns:
        The cropped frames, and the camera that sees just the crop.
    """
    left, top, right, bottom = _bounds((frames[..., 3] > 0.5).any(axis=0))
    side = max(bottom - top, right - left) / (1 - 2 * MARGIN)
    return _cut(frames, camera, ((left + right) / 2, (top + bottom) / 2), side, size)


def crop_for_networks(frames: Frames, camera: Camera) -> tuple[Square, Camera]:
    """Cut the square that the official scripts cut, placed by the first frame's mask for all frames.

    The mask's larger side fills 380 / 1.2 of 512 pixels. What leaves the official square is cut off there; here it is
    shown as far as the margin of 66 pixels goes, as in the pictures that the networks were trained with.

    Args:
        frames: Premultiplied colour and alpha.
        camera: Camera of the full frames.

    Returns:
        The cropped frames, 512 pixels wide, and the camera that sees just the crop.
    """
    mask = frames[0, ..., 3]
    # A soft mask may nowhere be as opaque as officially asked for.
    left, top, right, bottom = _bounds(mask > min(_OFFICIAL_ALPHA, 0.99 * float(mask.max())))
    inner = int(max(right - left, bottom - top) * _OFFICIAL_ROOM)
    side = max(1, inner) * NETWORK_SIZE / _OFFICIAL_INNER
    return _cut(frames, camera, ((left + right) / 2, (top + bottom) / 2), side, NETWORK_SIZE)


def _bounds(covered: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is set; right and bottom are one beyond it."""
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _cut(frames: Frames, camera: Camera, center: tuple[float, float], side: float, size: int) -> tuple[Square, Camera]:
    """A square around a centre in pixels, scaled; where it leaves the picture, there is nothing."""
    x0, y0 = center[0] - side / 2, center[1] - side / 2
    scale = size / side
    # Pixel centres lie at half integers on both sides.
    matrix = np.array([[scale, 0, scale * (0.5 - x0) - 0.5], [0, scale, scale * (0.5 - y0) - 0.5]])
    blur = max(0.0, 0.5 * (1 / scale - 1))
    cropped = [
        cv2.warpAffine(cv2.GaussianBlur(frame, (0, 0), blur) if blur > 0.2 else frame, matrix, (size, size))
        for frame in frames
    ]
    fx, fy, cx, cy = camera.pixel_intrinsics
    intrinsics = (fx * scale / size, fy * scale / size, (cx - x0) * scale / size, (cy - y0) * scale / size)
    return np.stack(cropped), replace(camera, intrinsics=intrinsics, width=size, height=size)
