"""Surface samples cover the surface evenly and follow it."""

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from gvf_core.geometry.mesh import local_spacing, sample_surface, triangle_normals
from gvf_core.geometry.rotations import matrix_from_rotation_vector

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.0]])
TWO = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def sphere() -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(3, radius=0.5)
    return np.asarray(mesh.vertices), np.asarray(mesh.faces, np.int32)


def test_normals_follow_the_winding_and_areas_are_in_square_units():
    normals, areas = triangle_normals(SQUARE, TWO)
    assert normals.tolist() == [[0, 0, 1], [0, 0, 1]]
    assert areas.tolist() == [0.5, 0.5]
    assert triangle_normals(SQUARE, TWO[:, ::-1])[0].tolist() == [[0, 0, -1], [0, 0, -1]]


def test_a_triangle_without_area_has_a_unit_normal_and_no_samples():
    triangles = np.array([[0, 0, 1], [1, 1, 1], [0, 1, 2], [0, 2, 3]], np.int32)
    normals, areas = triangle_normals(SQUARE, triangles)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert areas[:2].tolist() == [0, 0]
    assert set(sample_surface(SQUARE, triangles, 200, generator()).triangle) == {2, 3}


def test_a_surface_without_area_is_refused():
    with pytest.raises(ValueError, match="no area"):
        sample_surface(SQUARE, np.array([[0, 0, 1]], np.int32), 10, generator())


@pytest.mark.parametrize("count", [1, 2, 17, 300])
def test_as_many_samples_as_asked_for_lie_inside_their_triangles(count):
    vertices, triangles = sphere()
    points = sample_surface(vertices, triangles, count, generator())
    assert points.triangle.shape == (count,) and points.barycentric.shape == (count, 3)
    assert points.barycentric.min() >= 0
    np.testing.assert_allclose(points.barycentric.sum(axis=1), 1)


def test_large_triangles_get_their_share_of_samples():
    vertices = np.array([[0, 0, 0], [3, 0, 0], [0, 3, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1.0]])
    triangles = np.array([[0, 1, 2], [3, 4, 5]], np.int32)
    points = sample_surface(vertices, triangles, 1000, generator())
    assert (points.triangle == 0).mean() == pytest.approx(0.9, abs=0.03)


def test_samples_keep_their_distance_unlike_random_ones():
    vertices, triangles = sphere()
    position = sample_surface(vertices, triangles, 500, generator()).positions(vertices, triangles)
    nearest = cKDTree(position).query(position, k=2)[0][:, 1]
    spacing = np.sqrt(np.pi / 500)
    # Of 500 uniformly random points the closest two would be about 0.03 spacings apart.
    assert nearest.min() > 0.5 * spacing
    assert nearest.max() < 1.5 * spacing


def test_both_sides_of_a_thin_plate_are_covered():
    plate = trimesh.creation.box(extents=(1, 1, 0.002))
    vertices, triangles = np.asarray(plate.vertices), np.asarray(plate.faces, np.int32)
    points = sample_surface(vertices, triangles, 600, generator())
    side = np.sign(triangle_normals(vertices, triangles)[0][points.triangle, 2])
    position = points.positions(vertices, triangles)
    for upper in (-1, 1):
        gaps = cKDTree(position[side == upper][:, :2]).query(np.random.default_rng(1).uniform(-0.5, 0.5, (2000, 2)))[0]
        assert gaps.max() < 2.5 * np.sqrt(2 / 600)


def test_the_same_generator_state_gives_the_same_samples_whatever_the_global_one_does():
    vertices, triangles = sphere()
    np.random.seed(1)  # noqa: NPY002
    first = sample_surface(vertices, triangles, 200, generator())
    np.random.seed(2)  # noqa: NPY002
    second = sample_surface(vertices, triangles, 200, generator())
    np.testing.assert_array_equal(first.triangle, second.triangle)
    np.testing.assert_array_equal(first.barycentric, second.barycentric)


def test_samples_follow_the_moving_mesh_in_every_frame():
    vertices, triangles = sphere()
    points = sample_surface(vertices, triangles, 50, generator())
    turn = matrix_from_rotation_vector(np.array([0.3, -0.2, 0.9]))
    frames = np.stack([vertices, vertices @ turn.T + [0.1, 0, 0]])
    moved = points.positions(frames, triangles)
    assert moved.shape == (2, 50, 3)
    np.testing.assert_allclose(moved[1], moved[0] @ turn.T + [0.1, 0, 0], atol=1e-12)


def test_local_spacing_does_not_count_points_on_the_other_side_as_neighbours():
    x, y = np.meshgrid(np.arange(12.0), np.arange(12.0))
    front = np.stack([x.ravel(), y.ravel(), np.zeros(144)], axis=1)
    positions = np.concatenate([front, front + np.array([0.5, 0.5, -0.01])])
    normals = np.repeat([[0, 0, 1.0], [0, 0, -1.0]], 144, axis=0)
    alone = local_spacing(front, normals[:144], 1.0)
    together = local_spacing(positions, normals, 1.0)[:144]
    inner = (front[:, :2] > 2).all(axis=1) & (front[:, :2] < 9).all(axis=1)
    np.testing.assert_allclose(together[inner], alone[inner], rtol=0.2)


def test_a_single_point_has_the_mean_spacing():
    assert local_spacing(np.zeros((1, 3)), np.array([[0, 0, 1.0]]), 0.7).tolist() == [0.7]
