"""Canonical Gaussians on the surface look like the captured views."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from small_assets import paint, painted_body

from gvf_core.canonical import gaussians_on_surface
from gvf_core.canonical.surface import NORMAL_SCALE
from gvf_core.capture import Capture, View
from gvf_core.errors import Cancelled, CaptureError
from gvf_core.gaussians import Splats
from gvf_core.rendering import orbit_camera, rasterize
from gvf_core.rendering.sampling import sample_picture

BODY = painted_body()


def cover(capture: Capture = BODY, count: int = 2000, seed: int = 0) -> tuple[Splats, np.ndarray]:
    """Activated Gaussians, and their places at rest."""
    surface = gaussians_on_surface(capture, count, np.random.default_rng(seed))
    return surface.gaussians.activate(), surface.points.positions(capture.vertices, capture.triangles)


def test_the_gaussians_lie_flat_on_the_surface():
    splats, position = cover()
    np.testing.assert_allclose(splats.means, position, atol=1e-6)
    np.testing.assert_allclose(splats.scales[:, 2], NORMAL_SCALE, rtol=1e-3)
    assert (splats.scales[:, :2] > 3 * NORMAL_SCALE).all()


def test_rendered_gaussians_look_like_the_captured_views():
    splats, _ = cover(count=4000)
    ratios = []
    for view in BODY.views:
        rendering = rasterize(splats, view.camera, background=(1.0, 1.0, 1.0))
        rgba = view.rgba.astype(np.float32) / 255
        expected = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
        ratios.append(-10 * np.log10(np.square(rendering.color.numpy() - expected).mean()))
    assert np.mean(ratios) > 24


def test_colours_are_those_of_the_surface_below():
    splats, position = cover()
    error = np.abs(splats.colors.numpy() - paint(position))
    assert np.median(error) < 0.02
    assert np.percentile(error, 95) < 0.1


def test_a_part_that_hides_another_does_not_paint_it():
    front, back = (np.array([[-0.4, y, -0.4], [0.4, y, -0.4], [0.4, y, 0.4], [-0.4, y, 0.4]]) for y in (-0.2, 0.2))
    front = front * [0.5, 1, 0.5]
    vertices = np.concatenate([front, back]).astype(np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    camera = painted_body(views=1).views[0].camera
    camera = replace(camera, world_to_camera=np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 2.0], [0, 0, 0, 1]]))
    pixels = np.indices((96, 96))[::-1].reshape(2, -1).T + 0.5
    rgba = np.zeros((96, 96, 4), np.uint8)
    low, high = camera.project(np.array([[-0.4, 0.2, 0.4], [0.4, 0.2, -0.4]]))[0]
    inside_back = ((pixels > low) & (pixels < high)).all(axis=1).reshape(96, 96)
    low, high = camera.project(np.array([[-0.2, -0.2, 0.2], [0.2, -0.2, -0.2]]))[0]
    inside_front = ((pixels > low) & (pixels < high)).all(axis=1).reshape(96, 96)
    rgba[inside_back] = (0, 0, 255, 255)
    rgba[inside_front] = (255, 0, 0, 255)
    capture = replace(BODY, vertices=vertices, triangles=triangles, views=(View(camera, rgba),))
    surface = gaussians_on_surface(capture, 800, np.random.default_rng(0))
    colors = surface.gaussians.activate().colors.numpy()
    behind = surface.points.triangle >= 2
    assert (colors[behind, 2] > 0.9).mean() > 0.95
    assert (colors[~behind, 0] > 0.9).mean() > 0.9


def test_points_that_no_view_shows_take_the_nearest_seen_colour():
    corners = np.array([[-0.4, -0.2, -0.4], [0.4, -0.2, -0.4], [0.4, -0.2, 0.4], [-0.4, -0.2, 0.4]])
    vertices = np.concatenate([corners, corners * [0.7, -1, 0.7]]).astype(np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    rgba = np.full((64, 64, 4), (255, 0, 0, 255), np.uint8)
    rgba[:, 32:] = (0, 0, 255, 255)
    views = (View(orbit_camera(0, 0, size=64), rgba),)
    splats, position = cover(replace(BODY, vertices=vertices, triangles=triangles, views=views), count=800)
    hidden_left, hidden_right = ((position[:, 1] > 0) & (side * position[:, 0] > 0.05) for side in (-1, 1))
    np.testing.assert_allclose(splats.colors[hidden_left], np.tile([1, 0, 0], (hidden_left.sum(), 1)), atol=1e-5)
    np.testing.assert_allclose(splats.colors[hidden_right], np.tile([0, 0, 1], (hidden_right.sum(), 1)), atol=1e-5)
    assert min(hidden_left.sum(), hidden_right.sum()) > 50


@pytest.mark.parametrize("count", [100, 40_000])
def test_any_allowed_number_of_gaussians_can_be_made(count):
    splats, _ = cover(count=count)
    assert len(splats.means) == count
    assert all(field.isfinite().all() for field in splats)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_places():
    first, again, other = cover(seed=3)[0], cover(seed=3)[0], cover(seed=4)[0]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.means, other.means)


def test_views_that_show_nothing_are_refused_with_the_likely_reason():
    clear = tuple(View(view.camera, np.zeros_like(view.rgba)) for view in BODY.views)
    with pytest.raises(CaptureError, match=r"No captured view shows the mesh.*transparent"):
        cover(replace(BODY, views=clear))


def test_a_mesh_without_area_is_refused():
    with pytest.raises(CaptureError, match="no area"):
        cover(replace(BODY, triangles=np.array([[0, 0, 1]], np.int32)))


def test_a_caller_can_stop_between_views():
    seen: list[float] = []

    def stop(fraction: float) -> None:
        seen.append(fraction)
        if fraction >= 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        gaussians_on_surface(BODY, 500, np.random.default_rng(0), stop)
    assert seen == [0, 0.125, 0.25, 0.375, 0.5]


def test_pictures_are_read_at_pixel_centres_and_linearly_between_them():
    ramp = np.dstack([np.tile(np.arange(5.0), (4, 1)), np.tile(np.arange(4.0)[:, None], (1, 5))])
    places = np.array([[0.5, 0.5], [4.5, 3.5], [2.0, 1.25], [3.37, 2.9]])
    np.testing.assert_allclose(sample_picture(ramp, places), places - 0.5, atol=1e-12)


def test_pictures_are_zero_outside():
    places = np.array([[-3.0, 1], [2, 99]])
    assert (sample_picture(np.ones((4, 5, 2), np.float32), places) == 0).all()
    assert sample_picture(np.ones((4, 5, 1)), np.array([[0.0, 2.0]]))[0, 0] == pytest.approx(0.5)


def test_pictures_are_read_as_exactly_as_an_independent_implementation_does():
    rng = np.random.default_rng(0)
    picture, places = rng.random((30, 40, 3)).astype(np.float32), rng.uniform(1, 29, (200, 2))
    x, y = (places - 0.5).astype(np.float32).T
    expected = cv2.remap(picture, x[None], y[None], cv2.INTER_LINEAR)[0]
    # OpenCV rounds places to 1/32 pixel.
    np.testing.assert_allclose(sample_picture(picture, places), expected, atol=0.05)
