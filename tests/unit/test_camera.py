"""Where cameras stand, what they see, and which are refused."""

import numpy as np
import pytest

from gvf_core.errors import RenderError
from gvf_core.rendering import Camera, orbit_camera


def test_azimuth_0_looks_along_y_with_x_to_the_right_and_z_up():
    camera = orbit_camera(0, 0, radius=2, size=100)
    assert camera.position == pytest.approx([0, -2, 0])
    (origin, right, up), depth = camera.project(np.array([[0, 0, 0], [0.1, 0, 0], [0, 0, 0.1]]))
    assert origin == pytest.approx([50, 50])
    assert right[0] > 50 and right[1] == pytest.approx(50)
    assert up[1] < 50 and up[0] == pytest.approx(50)
    assert depth == pytest.approx([2, 2, 2])


def test_azimuth_90_looks_from_positive_x():
    assert orbit_camera(90, 0, radius=2).position == pytest.approx([2, 0, 0])


def test_positive_elevation_looks_from_above():
    assert orbit_camera(0, 30, radius=2).position[2] == pytest.approx(1)


def test_field_of_view_spans_the_image():
    camera = orbit_camera(0, 0, radius=2, fov=60, size=80)
    edge = 2 * np.tan(np.radians(30))
    assert camera.project(np.array([edge, 0, 0]))[0] == pytest.approx([80, 40])


def test_rotation_is_proper():
    rotation = orbit_camera(37, -20).world_to_camera[:3, :3]
    assert rotation @ rotation.T == pytest.approx(np.eye(3))
    assert np.linalg.det(rotation) == pytest.approx(1)


def test_resizing_keeps_the_view():
    camera = orbit_camera(10, 20, size=64)
    point = np.array([0.2, 0.1, -0.3])
    small, large = camera.project(point)[0], camera.resized(128, 256).project(point)[0]
    assert large == pytest.approx(small * [2, 4])


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"height": -1},
        {"intrinsics": (0.0, 1.0, 0.5, 0.5)},
        {"intrinsics": (1.0, 1.0, float("nan"), 0.5)},
        {"world_to_camera": np.eye(3)},
        {"world_to_camera": np.full((4, 4), np.inf)},
    ],
)
def test_a_camera_that_cannot_see_is_refused(change):
    good = {"world_to_camera": np.eye(4), "intrinsics": (1.0, 1.0, 0.5, 0.5), "width": 4, "height": 4}
    with pytest.raises(RenderError):
        Camera(**(good | change))
