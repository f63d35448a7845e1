"""What the artist holds still stays exactly where it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_assets import painted_body
from test_pipeline import AMOUNTS, BODY, SETTINGS, film

from gvf_core.canonical import gaussians_on_surface
from gvf_core.gaussians import VariationField
from gvf_core.pipeline import animate
from gvf_core.transfer import held, movable_at


def held_on_the_left(capture):
    """Nothing left of x = -0.1 moves, everything right of 0.1; weights rise between."""
    return replace(capture, movable=np.clip((capture.vertices[:, 0] + 0.1) / 0.2, 0, 1).astype(np.float32))


def test_points_move_as_far_as_the_vertices_around_them():
    body = held_on_the_left(painted_body(views=1, size=8))
    found = movable_at(body, body.vertices.astype(np.float64))
    np.testing.assert_allclose(found, body.movable, atol=0.01)
    assert (movable_at(painted_body(views=1, size=8), np.zeros((4, 3))) == 1).all()


def test_a_variation_is_held_where_it_must_not_move_and_keeps_its_colours():
    body = held_on_the_left(painted_body(views=4, size=32))
    gaussians = gaussians_on_surface(body, 300, np.random.default_rng(0)).gaussians
    variation = VariationField(torch.ones(2, 300, 14))
    result = held(variation, gaussians, body).deltas
    left, right = gaussians.means[:, 0] < -0.15, gaussians.means[:, 0] > 0.15
    assert not result[:, left, : VariationField.COLORS.start].any()
    assert (result[:, right] == 1).all()
    assert (result[..., VariationField.COLORS.start :] == 1).all()


def test_the_fit_bends_only_what_may_bend(tmp_path):
    body = held_on_the_left(BODY)
    animation = animate(body, film(tmp_path / "bend.mov", AMOUNTS[:2]), replace(SETTINGS, preset="fast"))
    moved = np.linalg.norm(animation.vertices[1] - body.vertices, axis=1)
    assert moved[body.movable == 0].max() == 0
    assert moved[body.vertices[:, 0] > 0.3].mean() > 0.02


def test_a_weight_of_one_half_lets_half_of_the_motion_through(tmp_path):
    video, fast = film(tmp_path / "bend.mov", AMOUNTS[:2]), replace(SETTINGS, preset="fast")
    half = replace(BODY, movable=np.full(len(BODY.vertices), 0.5, np.float32))
    free, partly = (animate(body, video, fast).vertices[1] - BODY.vertices for body in (BODY, half))
    np.testing.assert_allclose(partly, free / 2, atol=1e-6)
    assert np.linalg.norm(free, axis=1).max() > 0.05


@pytest.mark.parametrize("wrong", [np.full(5, 0.5, np.float32), None])
def test_weights_that_do_not_fit_are_refused(tmp_path, wrong):
    from test_files import png

    from gvf_blender.core.capture_file import write_capture
    from gvf_core.capture import load_capture
    from gvf_core.errors import CaptureError
    from gvf_core.rendering import orbit_camera

    camera = orbit_camera(0, 0)
    parts = {
        "vertices": np.array([[0, 0, 0], [0.5, 0, 0], [0, 0.5, 0]]),
        "triangles": np.array([[0, 1, 2]]),
        "object_id": np.zeros(3),
        "objects": ["Leaf"],
        "world_from_unit": np.eye(4),
        "world_to_camera": camera.world_to_camera[None],
        "intrinsics": np.array([camera.intrinsics]),
        "pngs": [png()],
    }
    path = tmp_path / "leaf.safetensors"
    if wrong is not None:
        with pytest.raises(ValueError, match="5 weights for 3 vertices"):
            write_capture(path, **parts, movable=wrong)
        return
    write_capture(path, **parts, movable=np.array([0, 0.5, 1.0]))
    assert load_capture(path).movable.tolist() == [0, 0.5, 1]
    write_capture(path, **parts, movable=np.array([0, 0.5, 1.5]))
    with pytest.raises(CaptureError, match="not one number from 0 to 1 per vertex"):
        load_capture(path)
