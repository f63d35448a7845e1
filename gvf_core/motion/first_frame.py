"""The asset laid on the first frames, so that drawn pictures and the clip can be compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gvf_core.canonical.surface import SurfaceGaussians, bound_to_surface
from gvf_core.motion.appearance import colors_in_video
from gvf_core.motion.body import Body
from gvf_core.motion.calibration import calibrate
from gvf_core.motion.engine import DrivingView, MotionTask

WORKING_SIZE = 256
"""Side in pixels at which pictures are compared; larger ones take longer and gain little."""


def body_on_first_frame(task: MotionTask[Any]) -> tuple[Body, tuple[DrivingView, ...]]:
    """A body of the task's Gaussians, whatever engine made them, and its views, no larger than `WORKING_SIZE`.

    See `lay_on_first_frame`.
    """
    canonical = task.canonical
    if not isinstance(canonical, SurfaceGaussians):
        canonical = bound_to_surface(task.capture, canonical.gaussians, np.random.default_rng(task.seed))
    body = Body(task.capture, canonical)
    return body, lay_on_first_frame(body, [view.resized(min(WORKING_SIZE, view.camera.width)) for view in task.views])


def lay_on_first_frame(body: Body, views: Sequence[DrivingView]) -> tuple[DrivingView, ...]:
    """Give the body, at rest, the video's colours and the size of its Gaussians.

    Returns:
        The views with cameras that see the body where the first frames show it.
    """
    captured = body.colors
    body.colors = colors_in_video(body, views)
    better = calibrate(body, views)
    # From the captured ones again: what the wrong camera took from the background must not stay.
    body.colors = captured
    body.colors = colors_in_video(body, better)
    return better
