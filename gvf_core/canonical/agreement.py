"""Whether the captured views show the captured geometry."""

import cv2
import numpy as np

from gvf_core.capture import CAPTURE_AGAIN, Capture
from gvf_core.errors import CaptureError
from gvf_core.rendering.mesh import rasterize_mesh

_VIEWS, _SIZE = 6, 128
"""So many views, evenly chosen, at so many pixels: 30 ms for 100k triangles."""
_OUTSIDE = 0.2
"""Part of a view's opaque pixels that may lie beside the geometry. Transparent parts may miss, so nothing is said about
geometry without pixels. Of the views of 20 captured assets at most 0.02 lay beside it."""


def check_views(capture: Capture) -> None:
    """See that what the views show lies where the geometry is.

    Raises:
        CaptureError: It does not, or no view shows anything.
    """
    count = len(capture.views)
    chosen = np.unique(np.linspace(0, count - 1, min(count, _VIEWS)).astype(int))
    opaque = outside = 0
    for index in chosen.tolist():
        view = capture.views[index]
        alpha = cv2.resize(view.rgba[..., 3], (_SIZE, _SIZE), interpolation=cv2.INTER_AREA) > 127
        camera = view.camera.resized(_SIZE, _SIZE)
        surface = rasterize_mesh(capture.vertices, capture.triangles, camera).triangle >= 0
        surface = cv2.dilate(surface.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        opaque += int(alpha.sum())
        outside += int((alpha & ~surface).sum())
    if not opaque:
        raise CaptureError("No captured view shows the mesh.", "Check that its materials are not fully transparent.")
    if outside > _OUTSIDE * opaque:
        raise CaptureError(
            f"The captured views do not show the captured geometry: {outside / opaque:.0%} of it lies beside.",
            CAPTURE_AGAIN,
        )
