"""The voxels that a surface passes through, against clipping of triangles and sampling."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from gvf_core.geometry.voxels import active_voxels

coordinate = st.floats(-0.5, 0.5, width=32)
triangle_corners = st.lists(coordinate, min_size=9, max_size=9).map(lambda values: np.array(values).reshape(3, 3))
ONE = np.array([[0, 1, 2]], np.int32)


def touched_by_clipping(corners: np.ndarray, resolution: int) -> set[tuple[int, int, int]]:
    """Voxels in which something of the triangle is left after it is clipped by their six planes."""
    scaled = (np.clip(corners, -0.499999, 0.499999) + 0.5) * resolution
    cells = np.ndindex(resolution, resolution, resolution)
    return {cell for cell in cells if len(clipped(scaled, np.array(cell, float)))}


def clipped(polygon: np.ndarray, low: np.ndarray, slack: float = 0.0) -> list[np.ndarray]:
    """Sutherland and Hodgman's clipping of a polygon by a unit cube."""
    points = list(polygon)
    for axis in range(3):
        for sign, bound in ((1, low[axis] - slack), (-1, -(low[axis] + 1 + slack))):
            kept = []
            for a, b in zip(points, points[1:] + points[:1], strict=True):
                inside_a, inside_b = sign * a[axis] >= bound, sign * b[axis] >= bound
                if inside_a:
                    kept.append(a)
                if inside_a != inside_b:
                    share = (bound - sign * a[axis]) / (sign * b[axis] - sign * a[axis])
                    kept.append(a + share * (b - a))
            points = kept
            if not points:
                return []
    return points


@settings(deadline=None, max_examples=60)
@given(triangle_corners)
def test_a_voxel_is_active_when_clipping_leaves_something_in_it(corners):
    resolution = 5
    found = {tuple(cell) for cell in active_voxels(corners, ONE, resolution).tolist()}
    expected = touched_by_clipping(corners, resolution)
    scaled = (np.clip(corners, -0.499999, 0.499999) + 0.5) * resolution
    for cell in found ^ expected:
        # What only touches a voxel's side may fall either way by rounding: a little larger, it is in; smaller, out.
        low = np.array(cell, float)
        assert clipped(scaled, low, 1e-6) and not clipped(scaled, low, -1e-6)


@pytest.mark.parametrize(
    ("corners", "count"),
    [
        ([[0.01, 0.01, 0.01]] * 3, 1),
        ([[-0.4, 0.01, 0.01], [0.4, 0.01, 0.01], [0.4, 0.01, 0.01]], 52),
        ([[-0.49, -0.49, 0.01], [0.49, -0.49, 0.01], [0.49, 0.487, 0.01]], 64 * 65 // 2),
    ],
    ids=["point", "line", "thin sheet"],
)
def test_what_has_no_area_and_what_is_thin_leaves_no_gaps(corners, count):
    cells = active_voxels(np.array(corners), ONE)
    assert len(cells) == count
    on_grid = {tuple(cell) for cell in cells.tolist()}
    if count > 1:
        neighbours = [tuple(np.add(cell, step)) for cell in on_grid for step in ((1, 0, 0), (-1, 0, 0))]
        assert sum(neighbour in on_grid for neighbour in neighbours) > len(on_grid)


def test_every_point_of_a_surface_lies_in_an_active_voxel():
    mesh = trimesh.creation.torus(0.35, 0.1)
    points = trimesh.sample.sample_surface(mesh, 20_000, seed=0)[0]
    cells = {tuple(cell) for cell in active_voxels(mesh.vertices, np.asarray(mesh.faces, np.int32)).tolist()}
    assert {tuple(cell) for cell in np.floor((points + 0.5) * 64).astype(int).tolist()} <= cells


def test_the_unit_cube_fills_its_outermost_layer():
    box = trimesh.creation.box()
    cells = active_voxels(box.vertices, np.asarray(box.faces, np.int32))
    assert len(cells) == 64**3 - 62**3
    assert cells.min() == 0 and cells.max() == 63


def test_what_leaves_the_cube_is_moved_to_its_side():
    cells = active_voxels(np.array([[0.9, 0, 0], [0.9, 0.1, 0], [0.9, 0, 0.1]]), ONE)
    assert (cells[:, 0] == 63).all()


def test_voxels_come_sorted():
    cells = active_voxels(
        trimesh.creation.icosphere(2).vertices * 0.4, trimesh.creation.icosphere(2).faces.astype(np.int32)
    )
    codes = cells @ [64 * 64, 64, 1]
    assert (np.diff(codes) > 0).all()
