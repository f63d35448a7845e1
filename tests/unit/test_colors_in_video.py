"""Colours of the Gaussians under the light of the video."""

import numpy as np
from small_assets import painted_body

from gvf_core.canonical import gaussians_on_surface
from gvf_core.motion.appearance import colors_in_video
from gvf_core.motion.body import Body
from gvf_core.motion.engine import DrivingView
from gvf_core.rendering import orbit_camera

CAPTURE = painted_body(size=192, axes=(0.5, 0.12, 0.1))
COLOR = (0.2, 0.6, 0.4)


def test_what_lies_beside_the_picture_is_not_seen_in_it():
    body = Body(CAPTURE, gaussians_on_surface(CAPTURE, 2500, np.random.default_rng(0)), node_count=12)
    # So near that both ends of the body are outside.
    camera = orbit_camera(0, 10, radius=0.7, size=192)
    pixel, _ = camera.project(body.points.positions(body.vertices, body.triangles))
    assert (pixel < 0).any() and (pixel > 192).any()
    frame = np.ones((1, 192, 192, 4), np.float32)
    frame[..., :3] = COLOR
    colors = colors_in_video(body, [DrivingView(frame, camera)])
    seen = np.isclose(colors, COLOR, atol=1e-3).all(axis=1)
    assert seen.mean() > 0.2
    # The others have their own colours in this light, and none that of the emptiness around the picture.
    assert colors[~seen].max(axis=1).min() > 0.3
