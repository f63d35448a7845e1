"""Which surface point each pixel sees."""

import numpy as np
import pytest
import trimesh

from gvf_core.geometry.rotations import matrix_from_rotation_vector
from gvf_core.rendering import Camera, orbit_camera
from gvf_core.rendering.mesh import NEAR, rasterize_mesh

FRONT = Camera(np.eye(4), (1.0, 1.0, 0.5, 0.5), width=40, height=40)
"""At the origin, looking along z; one unit at distance 1 spans the picture."""
ONE = np.array([[0, 1, 2]], np.int32)


def square(depth: float, low: float, high: float) -> np.ndarray:
    return np.array([[low, low, depth], [high, low, depth], [high, high, depth], [low, high, depth]])


TWO = np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def test_a_square_covers_the_pixels_whose_centres_lie_inside_it():
    # From pixel 12.2 to 28.2 in both directions.
    low, high = (12.2 - 20) / 40, (28.2 - 20) / 40
    covered = rasterize_mesh(square(1.0, low, high), TWO, FRONT).triangle >= 0
    expected = np.zeros((40, 40), bool)
    expected[12:28, 12:28] = True
    np.testing.assert_array_equal(covered, expected)


def test_neighbouring_triangles_leave_no_gap():
    sphere = trimesh.creation.icosphere(4, radius=0.5)
    camera = orbit_camera(31, 17, size=200)
    covered = rasterize_mesh(np.asarray(sphere.vertices), np.asarray(sphere.faces, np.int32), camera).triangle >= 0
    rows, columns = np.nonzero(covered)
    distance = np.hypot(columns + 0.5 - 100, rows + 0.5 - 100)
    inside = np.hypot(*(np.indices((200, 200)) + 0.5 - 100)) < distance.max() - 1.5
    assert covered[inside].all()


@pytest.mark.parametrize("winding", [TWO, TWO[:, ::-1]])
def test_surfaces_are_seen_from_both_sides(winding):
    assert (rasterize_mesh(square(1, -0.2, 0.2), winding, FRONT).triangle >= 0).sum() == 16 * 16


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearest_surface_wins_whatever_the_order(order):
    both = [square(1.0, -0.2, 0.2), square(2.0, -0.8, 0.8)]
    vertices = np.concatenate([both[i] for i in order])
    triangles = np.concatenate([TWO, TWO + 4])
    seen = rasterize_mesh(vertices, triangles, FRONT)
    near = order.index(0)
    assert seen.depth[20, 20] == pytest.approx(1)
    assert seen.triangle[20, 20] // 2 == near
    assert seen.depth[20, 9] == pytest.approx(2)
    assert seen.triangle[20, 9] // 2 == 1 - near


def test_nothing_seen_is_triangle_minus_one_at_infinite_depth():
    seen = rasterize_mesh(square(1, -0.1, 0.1), TWO, FRONT)
    assert seen.triangle[0, 0] == -1
    assert seen.depth[0, 0] == np.inf
    assert seen.barycentric[0, 0].tolist() == [0, 0, 0]


def test_barycentric_weights_give_the_point_that_projects_to_the_pixels_centre():
    rng = np.random.default_rng(3)
    camera = Camera(orbit_camera(40, 25).world_to_camera, (0.9, 1.4, 0.62, 0.41), width=90, height=60)
    vertices = rng.uniform(-0.5, 0.5, (60, 3))
    triangles = rng.permuted(np.tile(np.arange(60), (40, 1)), axis=1)[:, :3].astype(np.int32)
    seen = rasterize_mesh(vertices, triangles, camera)
    rows, columns = np.nonzero(seen.triangle >= 0)
    assert len(rows) > 500
    corners = vertices[triangles[seen.triangle[rows, columns]]]
    weights = seen.barycentric[rows, columns]
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)
    pixel, depth = camera.project((corners * weights[..., None]).sum(axis=1))
    np.testing.assert_allclose(pixel, np.stack([columns, rows], axis=1) + 0.5, atol=2e-3)
    np.testing.assert_allclose(depth, seen.depth[rows, columns], rtol=1e-5)


def test_depth_is_that_of_the_exact_plane_under_perspective():
    turn = matrix_from_rotation_vector(np.array([0.9, 0.4, 0]))
    vertices = square(0, -0.4, 0.4) @ turn.T + [0, 0, 1.5]
    seen = rasterize_mesh(vertices, TWO, FRONT)
    rows, columns = np.nonzero(seen.triangle >= 0)
    ray = np.stack([(columns + 0.5 - 20) / 40, (rows + 0.5 - 20) / 40, np.ones(len(rows))], axis=1)
    normal = turn[:, 2]
    np.testing.assert_allclose(seen.depth[rows, columns], (vertices[0] @ normal) / (ray @ normal), rtol=1e-5)


@pytest.mark.parametrize("depth", [-1.0, 0.0, NEAR / 2])
def test_a_triangle_that_reaches_behind_the_camera_is_not_drawn(depth):
    vertices = np.array([[-0.2, -0.2, 1], [0.2, -0.2, 1], [0.0, 0.2, depth]])
    with np.errstate(divide="ignore", invalid="ignore"):
        assert (rasterize_mesh(vertices, ONE, FRONT).triangle == -1).all()


def test_triangles_without_area_and_triangles_outside_the_picture_are_not_drawn():
    vertices = np.concatenate([np.tile([[0.1, 0.1, 1.0]], (3, 1)), square(1, 3, 4)])
    assert (rasterize_mesh(vertices, np.concatenate([ONE, TWO + 3]), FRONT).triangle == -1).all()


def test_a_triangle_much_larger_than_the_picture_fills_it():
    assert (rasterize_mesh(square(1, -1e6, 1e6), TWO, FRONT).triangle >= 0).all()


def test_single_precision_vertices_are_taken_as_they_are():
    assert (rasterize_mesh(square(1, -0.2, 0.2).astype(np.float32), TWO, FRONT).triangle >= 0).sum() == 16 * 16
