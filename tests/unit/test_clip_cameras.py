"""Cameras of the pictures to train on are those of the official scripts."""

import numpy as np
import pytest

from gvf_blender.capture.viewpoints import sphere_cameras
from gvf_core.training.clip_cameras import augmented_camera, canonical_cameras, clip_viewpoints, target_camera
from gvf_core.training.clip_record import ViewRole


def angles(camera) -> tuple[float, float]:
    """Azimuth from the front and elevation, degrees."""
    x, y, z = camera.position
    return np.degrees(np.arctan2(x, -y)), np.degrees(np.arcsin(z / np.linalg.norm(camera.position)))


def test_canonical_cameras_are_those_of_a_capture():
    expected = sphere_cameras(24)
    positions = -np.einsum("nji,nj->ni", expected[:, :3, :3], expected[:, :3, 3])
    cameras = canonical_cameras(24, 32)
    heights = [camera.position[2] for camera in cameras]
    np.testing.assert_allclose(sorted(heights), sorted(positions[:, 2]), atol=1e-6)
    for camera in cameras:
        assert np.linalg.norm(camera.position) == pytest.approx(2)
        assert np.degrees(2 * np.arctan(0.5 / camera.intrinsics[0])) == pytest.approx(40)
        np.testing.assert_allclose(camera.project(np.zeros(3))[0], [16, 16], atol=1e-4)


def test_random_views_look_mostly_from_a_little_above():
    found = np.array([angles(target_camera(32, 40, np.random.default_rng(seed))) for seed in range(200)])
    assert found[:, 1].min() > -15 and found[:, 1].max() < 45
    assert np.ptp(found[:, 0]) > 330


def test_augmented_cameras_look_from_the_front_and_see_the_unit_cube_whole():
    corners = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3), axis=-1).reshape(-1, 3)
    distances = []
    for seed in range(100):
        camera = augmented_camera(64, np.random.default_rng(seed))
        azimuth, elevation = angles(camera)
        assert abs(azimuth) <= 25.001 and abs(elevation) <= 15.001
        pixels, depth = camera.project(corners)
        assert depth.min() > 0 and pixels.min() >= 0 and pixels.max() <= 64
        distances.append(np.linalg.norm(camera.position))
    assert min(distances) < 2 < max(distances)


def test_every_frame_has_its_driving_view_and_its_own_random_views():
    views = clip_viewpoints(5, 7, 2, 32, "augment", 40.0, np.random.default_rng(0))
    assert len(views.cameras) == len(views.frame) == len(views.role) == 7 + 5 + 10
    assert (views.frame[views.role == ViewRole.CANONICAL] == 0).all()
    assert views.frame[views.role == ViewRole.CONDITION].tolist() == [0, 1, 2, 3, 4]
    assert views.frame[views.role == ViewRole.TARGET].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    driving = [camera for camera, role in zip(views.cameras, views.role, strict=True) if role == ViewRole.CONDITION]
    assert len({camera.position.tobytes() for camera in driving}) == 1
    random = [camera for camera, role in zip(views.cameras, views.role, strict=True) if role == ViewRole.TARGET]
    assert len({camera.position.tobytes() for camera in random}) == 10


def test_the_front_view_is_the_default_of_the_official_data():
    views = clip_viewpoints(1, 1, 0, 32, "front", 40.0, np.random.default_rng(0))
    np.testing.assert_allclose(views.cameras[1].position, [0, -2, 0], atol=1e-9)
