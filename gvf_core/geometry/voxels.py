"""The voxels that a surface passes through."""

import numpy as np
from jaxtyping import Float, Int32

from gvf_core.numba_compile import kernel

RESOLUTION = 64
"""Voxels along an edge of the unit cube, as TRELLIS and GVF have it."""
_INSIDE = 0.5 - 1e-6
"""Vertices are moved into the unit cube by this much, as in the official data (dataset_toolkits/voxelize.py)."""


def active_voxels(
    vertices: Float[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    resolution: int = RESOLUTION,
) -> Int32[np.ndarray, "voxels 3"]:
    """Voxels that any triangle touches, sorted by x, y, z.

    The test is exact (separating axes: Akenine-Moller 2001, "Fast 3D Triangle-Box Overlap Testing"), so thin and open
    meshes leave no gaps, and triangles without area count as the line or point that they are. Voxels are closed: a
    face that lies just between two layers is in both.

    Args:
        vertices: In the unit frame; those outside the unit cube are moved to its side.
        triangles: Vertex indices.
        resolution: Voxels along an edge of the cube.
    """
    corners = (np.clip(vertices.astype(np.float64), -_INSIDE, _INSIDE) + 0.5) * resolution
    grid = np.zeros((resolution, resolution, resolution), np.bool_)
    _mark(np.ascontiguousarray(corners), np.ascontiguousarray(triangles), grid)
    return np.argwhere(grid).astype(np.int32)


@kernel
def _mark(corners, triangles, grid):
    """Set the cells of the grid that triangles touch; one cell is one unit wide."""
    size = grid.shape[0]
    triangle = np.empty((3, 3))
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for t in range(triangles.shape[0]):
        for corner in range(3):
            for axis in range(3):
                triangle[corner, axis] = corners[triangles[t, corner], axis]
        for axis in range(3):
            smallest = min(triangle[0, axis], triangle[1, axis], triangle[2, axis])
            largest = max(triangle[0, axis], triangle[1, axis], triangle[2, axis])
            low[axis] = max(0, int(np.ceil(smallest - 1.0)))
            high[axis] = min(size - 1, int(np.floor(largest)))
        for x in range(low[0], high[0] + 1):
            for y in range(low[1], high[1] + 1):
                for z in range(low[2], high[2] + 1):
                    if not grid[x, y, z] and _touches(triangle, x + 0.5, y + 0.5, z + 0.5):
                        grid[x, y, z] = True


@kernel
def _touches(triangle, x, y, z):
    """Whether a triangle touches the unit cube around a centre, given that their bounding boxes touch."""
    v = np.empty((3, 3))
    for corner in range(3):
        v[corner, 0] = triangle[corner, 0] - x
        v[corner, 1] = triangle[corner, 1] - y
        v[corner, 2] = triangle[corner, 2] - z
    for edge in range(3):
        following = (edge + 1) % 3
        ex = v[following, 0] - v[edge, 0]
        ey = v[following, 1] - v[edge, 1]
        ez = v[following, 2] - v[edge, 2]
        # The cross products of the edge with the three axes of the cube.
        if (
            _apart(v, 0.0, -ez, ey, 0.5 * (abs(ez) + abs(ey)))
            or _apart(v, ez, 0.0, -ex, 0.5 * (abs(ez) + abs(ex)))
            or _apart(v, -ey, ex, 0.0, 0.5 * (abs(ey) + abs(ex)))
        ):
            return False
    ax, ay, az = v[1, 0] - v[0, 0], v[1, 1] - v[0, 1], v[1, 2] - v[0, 2]
    bx, by, bz = v[2, 0] - v[0, 0], v[2, 1] - v[0, 1], v[2, 2] - v[0, 2]
    nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    return not _apart(v, nx, ny, nz, 0.5 * (abs(nx) + abs(ny) + abs(nz)))


@kernel
def _apart(v, x, y, z, reach):
    """Whether all three corners lie beyond the cube's reach on one side of it, along an axis of any length."""
    a = v[0, 0] * x + v[0, 1] * y + v[0, 2] * z
    b = v[1, 0] * x + v[1, 1] * y + v[1, 2] * z
    c = v[2, 0] * x + v[2, 1] * y + v[2, 2] * z
    return min(a, b, c) > reach or max(a, b, c) < -reach
