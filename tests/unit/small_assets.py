"""A painted body, small enough that whole clips of it are drawn and fitted in seconds."""

import cv2
import numpy as np
import trimesh

from gvf_core.capture import Capture, View
from gvf_core.rendering import Camera, orbit_camera
from gvf_core.rendering.mesh import rasterize_mesh

SUPERSAMPLING = 3


def painted_body(views: int = 8, size: int = 96, axes: tuple[float, float, float] = (0.5, 0.16, 0.14)) -> Capture:
    """A capture of a long ellipsoid along x whose colours differ everywhere."""
    sphere = trimesh.creation.icosphere(3)
    vertices = (np.asarray(sphere.vertices) * axes).astype(np.float32)
    triangles = np.asarray(sphere.faces, np.int32)
    cameras = [orbit_camera(360 * i / views, (-35, 35)[i % 2], size=size) for i in range(views)]
    return Capture(
        vertices=vertices,
        triangles=triangles,
        object_id=np.zeros(len(vertices), np.int32),
        objects=("Body",),
        world_from_unit=np.eye(4),
        views=tuple(View(camera, straight(picture(vertices, vertices, triangles, camera))) for camera in cameras),
    )


def paint(position: np.ndarray) -> np.ndarray:
    """Colours (sRGB, 0..1) at rest positions."""
    waves = position @ np.array([[17.0, 5, -9], [7, 23, 12], [-11, 8, 21]]) + [0.0, 1.0, 2.0]
    return 0.5 + 0.35 * np.sin(waves)


def picture(moved: np.ndarray, rest: np.ndarray, triangles: np.ndarray, camera: Camera) -> np.ndarray:
    """Premultiplied colour and alpha, 0..1, of the painted body with moved vertices."""
    large = camera.resized(SUPERSAMPLING * camera.width, SUPERSAMPLING * camera.height)
    seen = rasterize_mesh(moved, triangles, large)
    position = (rest[triangles[seen.triangle]] * seen.barycentric[..., None]).sum(axis=-2)
    alpha = (seen.triangle >= 0)[..., None].astype(np.float32)
    rgba = np.concatenate([alpha * paint(position), alpha], axis=-1).astype(np.float32)
    return cv2.resize(rgba, (camera.width, camera.height), interpolation=cv2.INTER_AREA)


def straight(rgba: np.ndarray) -> np.ndarray:
    """Premultiplied floats as 8 bit with straight alpha."""
    color = rgba[..., :3] / np.maximum(rgba[..., 3:], 1e-6)
    return np.round(255 * np.concatenate([color, rgba[..., 3:]], axis=-1)).clip(0, 255).astype(np.uint8)


def bent(vertices: np.ndarray, amount: float) -> np.ndarray:
    """Both ends lifted: an arc of constant curvature in the plane of x and z, length preserved along the axis."""
    if amount == 0:
        return vertices.copy()
    angle = amount * vertices[:, 0]
    radius = 1 / amount - vertices[:, 2]
    x = radius * np.sin(angle)
    z = 1 / amount - radius * np.cos(angle)
    return np.stack([x, vertices[:, 1], z], axis=1).astype(vertices.dtype)
