"""The asset laid on the first frames, so that drawn pictures and the clip can be compared."""

from collections.abc import Sequence

from gvf_core.motion.appearance import colors_in_video
from gvf_core.motion.body import Body
from gvf_core.motion.calibration import calibrate
from gvf_core.motion.engine import DrivingView


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
