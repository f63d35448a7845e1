"""Pinhole cameras in the OpenCV convention (x right, y down, z forward)."""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from gvf_core.errors import RenderError


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        world_to_camera: Rigid transform from the world into OpenCV camera coordinates.
        intrinsics: (fx, fy, cx, cy) in units of the image's width (fx, cx) and height (fy, cy).
        width: Pixels.
        height: Pixels.

    Raises:
        RenderError: A size below one pixel, a focal length that is not positive, numbers that are not finite.
    """

    world_to_camera: Float[np.ndarray, "4 4"]
    intrinsics: tuple[float, float, float, float]
    width: int
    height: int

    def __post_init__(self) -> None:
        """Check what every use of a camera relies on."""
        if self.width < 1 or self.height < 1:
            raise RenderError(f"A camera has {self.width} x {self.height} pixels.", "Give it at least one.")
        if np.shape(self.world_to_camera) != (4, 4) or not np.isfinite(self.world_to_camera).all():
            raise RenderError(f"A camera's world_to_camera is not a finite 4 x 4 matrix: {self.world_to_camera}.")
        if not np.isfinite(self.intrinsics).all() or min(self.intrinsics[:2]) <= 0:
            raise RenderError(
                f"A camera has the intrinsics {self.intrinsics}.", "Give finite (fx, fy, cx, cy) with fx, fy > 0."
            )

    @property
    def position(self) -> Float[np.ndarray, "3"]:
        """Centre of projection in the world."""
        rotation, translation = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return -rotation.T @ translation

    @property
    def pixel_intrinsics(self) -> tuple[float, float, float, float]:
        """(fx, fy, cx, cy) in pixels; the centre of the top left pixel is (0.5, 0.5)."""
        fx, fy, cx, cy = self.intrinsics
        return fx * self.width, fy * self.height, cx * self.width, cy * self.height

    def resized(self, width: int, height: int) -> "Camera":
        """The same view at another resolution."""
        return replace(self, width=width, height=height)

    def project(
        self, points: Float[np.ndarray, "*batch 3"]
    ) -> tuple[Float[np.ndarray, "*batch 2"], Float[np.ndarray, "*batch"]]:
        """Pixel coordinates and depths of world points; points behind the camera are not special."""
        in_camera = points @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        depth = in_camera[..., 2]
        fx, fy, cx, cy = self.pixel_intrinsics
        x = fx * in_camera[..., 0] / depth + cx
        y = fy * in_camera[..., 1] / depth + cy
        return np.stack([x, y], axis=-1), depth


def camera_from_blender(camera_to_world: Float[np.ndarray, "4 4"], fov: float, size: int) -> Camera:
    """A square camera from the `matrix_world` of Blender's camera object (x right, y up, z backward).

    Args:
        camera_to_world: Rigid, without scale.
        fov: Full field of view in degrees.
        size: Width and height in pixels.
    """
    world_to_camera = np.linalg.inv(camera_to_world @ np.diag([1.0, -1.0, -1.0, 1.0]))
    return Camera(world_to_camera, _square_intrinsics(fov), size, size)


def orbit_camera(azimuth: float, elevation: float, radius: float = 2.0, fov: float = 49.1, size: int = 512) -> Camera:
    """A square camera that looks at the origin, z up.

    Azimuth 0 is Blender's front view (from -y, looking along +y), 90 looks from +x; the
    default field of view is the one the official inference uses.

    Args:
        azimuth: Degrees.
        elevation: Degrees above the horizon, within (-90, 90).
        radius: Distance to the origin in world units.
        fov: Full field of view in degrees.
        size: Width and height in pixels.
    """
    azimuth, elevation = math.radians(azimuth), math.radians(elevation)
    position = radius * np.array(
        [
            math.sin(azimuth) * math.cos(elevation),
            -math.cos(azimuth) * math.cos(elevation),
            math.sin(elevation),
        ]
    )
    forward = -position / radius
    right = np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
    rotation = np.stack([right, np.cross(forward, right), forward])
    world_to_camera = np.eye(4)
    world_to_camera[:3, :3] = rotation
    world_to_camera[:3, 3] = -rotation @ position
    return Camera(world_to_camera, _square_intrinsics(fov), size, size)


def _square_intrinsics(fov: float) -> tuple[float, float, float, float]:
    focal = 0.5 / math.tan(math.radians(fov) / 2)
    return focal, focal, 0.5, 0.5
