"""The drawn asset is laid on the first frame: camera and sizes of Gaussians."""

from dataclasses import replace

import numpy as np
import pytest
from small_assets import painted_body

from gvf_core.canonical import gaussians_on_surface
from gvf_core.motion.body import Body
from gvf_core.motion.calibration import calibrate, calibrate_size
from gvf_core.motion.engine import DrivingView
from gvf_core.rendering import orbit_camera

CAPTURE = painted_body(size=192, axes=(0.5, 0.12, 0.1))
CAMERA = orbit_camera(30, 10, radius=1.8, size=192)


def body() -> Body:
    return Body(CAPTURE, gaussians_on_surface(CAPTURE, 2500, np.random.default_rng(0)), node_count=12)


def view(drawn: Body) -> DrivingView:
    """What the camera sees of it."""
    return DrivingView(drawn.draw(drawn.rest, CAMERA)[None], CAMERA)


def test_a_camera_that_is_off_and_gaussians_of_another_size_are_put_right():
    film = view(body())
    wrong = np.array(CAMERA.world_to_camera)
    wrong[:3, 3] *= 0.93
    fx, fy, cx, cy = CAMERA.intrinsics
    off = replace(film, camera=replace(CAMERA, world_to_camera=wrong, intrinsics=(fx, fy, cx + 0.01, cy - 0.008)))
    ours = body()
    ours.size = 1.3
    (found,) = calibrate(ours, [off])
    assert np.linalg.norm(found.camera.position) == pytest.approx(1.8, rel=0.01)
    np.testing.assert_allclose(found.camera.intrinsics, CAMERA.intrinsics, atol=0.002)
    assert ours.size == pytest.approx(1, abs=0.06)
    np.testing.assert_array_equal(found.frames, film.frames)


def test_the_size_alone_is_found_again():
    small = body()
    small.size = 0.7
    ours = body()
    calibrate_size(ours, [view(small)])
    assert ours.size == pytest.approx(0.7, abs=0.05)


def test_a_thinned_body_looks_about_the_same_and_moves_the_same():
    whole = body()
    thin = whole.thinned(900, np.random.default_rng(1))
    assert len(thin.colors) == 900 and len(whole.colors) == 2500
    pictures = [one.draw(whole.rest, CAMERA)[..., 3] for one in (whole, thin)]
    covered = [(picture > 0.5).sum() for picture in pictures]
    assert covered[1] == pytest.approx(covered[0], rel=0.1)
    assert thin.size == pytest.approx((2500 / 900) ** 0.5)
    pose = replace(whole.rest, positions=whole.rest.positions + np.array([0.1, 0, 0.05]))
    means = thin.splats(pose).means
    assert np.abs((means - thin.splats(thin.rest).means).numpy() - [0.1, 0, 0.05]).max() < 1e-5


def test_thinning_to_more_than_there_are_keeps_all_and_leaves_the_original_alone():
    whole = body()
    copied = whole.thinned(9000, np.random.default_rng(1))
    assert len(copied.colors) == 2500 and copied.size == 1
    copied.size = 0.5
    assert whole.size == 1


def test_a_first_frame_without_the_asset_does_not_drive_the_camera_away():
    film = view(body())
    other = replace(film, frames=np.roll(film.frames, 60, axis=1))
    ours = body()
    (found,) = calibrate(ours, [other])
    assert np.linalg.norm(found.camera.position) == pytest.approx(1.8, rel=0.17)
    np.testing.assert_allclose(found.camera.intrinsics, CAMERA.intrinsics, atol=0.0501)
    assert 0.4 < ours.size < 1.3


def test_links_bend_unless_the_body_moves_rigidly():
    whole = body()
    assert whole.bend(whole.rest) == 0
    shifted = replace(whole.rest, positions=whole.rest.positions + np.array([0.3, 0, 0]))
    assert whole.bend(shifted) == pytest.approx(0, abs=1e-12)
    stretched = replace(whole.rest, positions=1.1 * whole.rest.positions)
    source, target = whole.graph.links.T
    lengths = np.linalg.norm(whole.graph.nodes[target] - whole.graph.nodes[source], axis=1)
    assert whole.bend(stretched) == pytest.approx(0.1 * lengths.mean())
