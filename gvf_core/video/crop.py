"""One square crop for the whole clip."""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float32

from gvf_core.rendering.camera import Camera

MARGIN = 0.08
"""Free border around everything that the mask covers in any frame, as a fraction of the square's side."""


def crop_square(
    frames: Float32[np.ndarray, "frames height width 4"], camera: Camera, size: int
) -> tuple[Float32[np.ndarray, "frames size size 4"], Camera]:
    """Cut the smallest square that holds the object in all frames and scale it.

    Args:
        frames: Premultiplied colour and alpha.
        camera: Camera of the full frames.
        size: Side of the result in pixels.

    Returns:
        The cropped frames, and the camera that sees just the crop.
    """
    covered = (frames[..., 3] > 0.5).any(axis=0)
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    side = max(bottom - top, right - left) / (1 - 2 * MARGIN)
    x0, y0 = (left + right - side) / 2, (top + bottom - side) / 2
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
