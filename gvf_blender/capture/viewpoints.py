"""Cameras evenly spread on a sphere around the unit frame, in the OpenCV convention (x right, y down, z forward).

Radius, field of view and the Hammersley set are those of the views that the TRELLIS autoencoders were trained on
(Xiang et al. 2024, "Structured 3D Latents for Scalable and Versatile 3D Generation").
"""

import math

import numpy as np

RADIUS = 2.0
FIELD_OF_VIEW = math.radians(40.0)
NEAR = 0.01
"""Where cameras begin to see; the asset is 1 wide."""
# Pixels around a surface that it can still reach: Cycles' filter is 1.5 wide, and Blender rounds a region down.
_FILTER_REACH = 3


def sphere_cameras(count: int) -> np.ndarray:
    """World-to-camera matrices [count, 4, 4] of cameras that look at the origin with z up."""
    index = np.arange(count)
    # Half a step away from the poles, where "up" would have no meaning.
    sin_pitch = 2.0 * (index + 0.5) / count - 1.0
    cos_pitch = np.sqrt(1.0 - sin_pitch**2)
    yaw = 2.0 * np.pi * np.array([_radical_inverse(i) for i in range(count)])
    backward = np.stack([np.cos(yaw) * cos_pitch, np.sin(yaw) * cos_pitch, sin_pitch], axis=-1)
    right = np.stack([-np.sin(yaw), np.cos(yaw), np.zeros(count)], axis=-1)
    matrices = np.tile(np.eye(4), (count, 1, 1))
    matrices[:, :3, :3] = np.stack([right, np.cross(right, backward), -backward], axis=1)
    # The origin lies straight ahead of every camera.
    matrices[:, :3, 3] = (0.0, 0.0, RADIUS)
    return matrices


def intrinsics(count: int) -> np.ndarray:
    """The same square pinhole [count, 4] for every camera: fx, fy, cx, cy as fractions of the image size."""
    focal = 0.5 / math.tan(FIELD_OF_VIEW / 2.0)
    return np.tile([focal, focal, 0.5, 0.5], (count, 1))


def occupied_region(
    vertices: np.ndarray, world_to_camera: np.ndarray, size: int, field_of_view: float = FIELD_OF_VIEW
) -> tuple[float, float, float, float]:
    """The part of a view that a surface can touch: left, right, bottom and top as fractions of the picture.

    Args:
        vertices: Of the surface [V, 3]; where one is nearer than `NEAR`, the part is the whole view.
        world_to_camera: From their frame to the OpenCV camera, [4, 4].
        size: Width and height of the picture in pixels.
        field_of_view: Across the picture, radians.
    """
    # One row per axis: extremes are found several times as fast along rows.
    in_camera = world_to_camera[:3, :3] @ vertices.T + world_to_camera[:3, 3:]
    if in_camera[2].min() < NEAR:
        return 0.0, 1.0, 0.0, 1.0
    focal = 0.5 * size / math.tan(field_of_view / 2.0)
    places = focal * in_camera[:2] / in_camera[2] + 0.5 * size
    first = np.maximum(np.floor(places.min(axis=1)) - _FILTER_REACH, 0)
    last = np.minimum(np.ceil(places.max(axis=1)) + _FILTER_REACH, size)
    if np.any(first >= last):
        # It is all beside the picture, and Blender takes an empty region for the whole one.
        first, last = np.zeros(2), np.minimum(2 * _FILTER_REACH, [size, size])
    # Rows are counted from the bottom in Blender.
    return float(first[0] / size), float(last[0] / size), float(1 - last[1] / size), float(1 - first[1] / size)


def _radical_inverse(number: int) -> float:
    """The binary digits of a whole number mirrored at the point: the second Hammersley coordinate."""
    value, digit = 0.0, 0.5
    while number:
        value += digit * (number & 1)
        number >>= 1
        digit /= 2.0
    return value
