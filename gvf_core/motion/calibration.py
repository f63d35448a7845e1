"""Where the camera is and how large Gaussians are, so that the drawn asset lies on the first frame.

`align_to_frame` compares silhouettes of the mesh. Gaussians reach a little over its edges, by how much depends on their
number, and so may the video's object (a picture of Gaussians, or a soft matte). Contours that do not agree pull at the
motion. On four research clips the cost below fell to between a fifth and two fifths of what it was.
"""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32
from scipy.optimize import minimize, minimize_scalar

from gvf_core.gaussians import Splats
from gvf_core.motion.body import Body
from gvf_core.motion.engine import DrivingView
from gvf_core.rendering import Camera, rasterize
from gvf_core.side_by_side import side_by_side

SIZE = 128
"""Side in pixels of the pictures that are compared."""
_BLURS = (0.6, 2.0)
"""Pixels; the first lets fractions of a pixel count, the second shows the way from farther off."""
_FIRST_STEPS = np.array([[0.0, 0, 0, 0], [0.03, 0, 0, 0], [0, 0.01, 0, 0], [0, 0, 0.01, 0], [0, 0, 0, -0.2]])
"""Simplex of log distance, shift in parts of the picture (x, y) and log size to start from."""
_STEPS, _TOLERANCE = 160, 2e-3
"""Most drawings, and the size of the simplex at which the search ends. With a twentieth of it the search takes half as
long again and moves no parameter by more than 0.001."""
_LOG_SIZES = (-0.9, 0.25)
_LIMITS = ((-0.15, 0.15), (-0.05, 0.05), (-0.05, 0.05), _LOG_SIZES)
"""How far from where silhouettes lie over each other: a first frame in another pose must not drive the camera away."""


def calibrate(body: Body, views: Sequence[DrivingView]) -> tuple[DrivingView, ...]:
    """Improve the cameras' distances and principal points, and set the body's `size`.

    Args:
        body: In rest; its colours should be those of the video.
        views: Frame 0 of each shows it.

    Returns:
        The views with better cameras.
    """
    splats = body.splats(body.rest)

    def best(view: DrivingView) -> Float[np.ndarray, "4"]:
        small = view.camera.resized(SIZE, SIZE)
        cost = _Cost(cv2.resize(view.frames[0], (SIZE, SIZE), interpolation=cv2.INTER_AREA))

        def difference(parameters: np.ndarray) -> float:
            return cost(_sized(splats, parameters[3]), _moved(small, parameters))

        options = {"initial_simplex": _FIRST_STEPS, "maxfev": _STEPS, "xatol": _TOLERANCE}
        found: np.ndarray = minimize(difference, np.zeros(4), method="Nelder-Mead", bounds=_LIMITS, options=options).x
        return found

    found = list(side_by_side(best, views))
    body.size *= float(np.exp(np.mean([parameters[3] for parameters in found])))
    return tuple(replace(view, camera=_moved(view.camera, one)) for view, one in zip(views, found, strict=True))


def calibrate_size(body: Body, views: Sequence[DrivingView]) -> None:
    """Set the body's `size` alone."""
    splats = body.splats(body.rest)
    costs = [_Cost(view.frames[0]) for view in views]

    def difference(log_size: float) -> float:
        return sum(cost(_sized(splats, log_size), view.camera) for cost, view in zip(costs, views, strict=True))

    found = minimize_scalar(difference, bounds=_LOG_SIZES, method="bounded", options={"maxiter": 16}).x
    body.size *= float(np.exp(found))


class _Cost:
    """How much a drawn picture differs from a frame."""

    def __init__(self, frame: Float32[np.ndarray, "height width 4"]) -> None:
        self._blurred = [cv2.GaussianBlur(frame, (0, 0), blur) for blur in _BLURS]

    def __call__(self, splats: Splats, camera: Camera) -> float:
        with torch.no_grad():
            picture = rasterize(splats, camera).premultiplied.numpy()
        blurred = (cv2.GaussianBlur(picture, (0, 0), blur) for blur in _BLURS)
        return sum(float(np.abs(a - b).mean()) for a, b in zip(blurred, self._blurred, strict=True))


def _sized(splats: Splats, log_size: float) -> Splats:
    return splats._replace(scales=splats.scales * float(np.exp(log_size)))


def _moved(camera: Camera, parameters: Float[np.ndarray, "4"]) -> Camera:
    """The camera farther from the origin, with its picture shifted."""
    pose = np.array(camera.world_to_camera)
    pose[:3, 3] *= np.exp(parameters[0])
    fx, fy, cx, cy = camera.intrinsics
    return replace(
        camera, world_to_camera=pose, intrinsics=(fx, fy, cx + float(parameters[1]), cy + float(parameters[2]))
    )
