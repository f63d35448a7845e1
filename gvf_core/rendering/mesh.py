"""Which surface point each pixel of a camera sees: a z-buffer of triangles on the CPU."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int32

from gvf_core.numba_compile import kernel
from gvf_core.rendering.camera import Camera

NEAR = 0.05
"""Triangles with a vertex closer than this to the camera plane are not drawn; the asset is 1 wide."""


class MeshPixels(NamedTuple):
    """What each pixel sees.

    Attributes:
        triangle: Index of the nearest triangle, -1 where there is none.
        barycentric: Perspective-correct weights of its vertices.
        depth: Distance along the camera's z axis, infinite where there is nothing.
    """

    triangle: Int32[np.ndarray, "height width"]
    barycentric: Float32[np.ndarray, "height width 3"]
    depth: Float32[np.ndarray, "height width"]


def rasterize_mesh(
    vertices: Float[np.ndarray, "vertices 3"], triangles: Int32[np.ndarray, "triangles 3"], camera: Camera
) -> MeshPixels:
    """The visible surface, two-sided, sampled at pixel centres."""
    pixels, depth = camera.project(vertices)
    triangle = np.full((camera.height, camera.width), -1, np.int32)
    barycentric = np.zeros((camera.height, camera.width, 3), np.float32)
    zbuffer = np.full((camera.height, camera.width), np.inf, np.float32)
    _draw(np.ascontiguousarray(pixels, np.float64), depth.astype(np.float64), triangles, triangle, barycentric, zbuffer)
    return MeshPixels(triangle, barycentric, zbuffer)


@kernel
def _draw(pixels, depth, triangles, out_triangle, out_barycentric, zbuffer):
    height, width = zbuffer.shape
    for t in range(triangles.shape[0]):
        i, j, k = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        if depth[i] < NEAR or depth[j] < NEAR or depth[k] < NEAR:
            continue
        x0, y0, x1, y1, x2, y2 = pixels[i, 0], pixels[i, 1], pixels[j, 0], pixels[j, 1], pixels[k, 0], pixels[k, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if abs(area) < 1e-9:
            continue
        left = max(0, int(np.ceil(min(x0, x1, x2) - 0.5)))
        right = min(width - 1, int(np.floor(max(x0, x1, x2) - 0.5)))
        top = max(0, int(np.ceil(min(y0, y1, y2) - 0.5)))
        bottom = min(height - 1, int(np.floor(max(y0, y1, y2) - 0.5)))
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                b1 = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
                b2 = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
                b0 = 1.0 - b1 - b2
                if b0 < 0.0 or b1 < 0.0 or b2 < 0.0:
                    continue
                # Perspective: barycentric weights are linear in the image after division by depth.
                q0, q1, q2 = b0 / depth[i], b1 / depth[j], b2 / depth[k]
                z = 1.0 / (q0 + q1 + q2)
                if z < zbuffer[row, column]:
                    zbuffer[row, column] = z
                    out_triangle[row, column] = t
                    out_barycentric[row, column, 0] = q0 * z
                    out_barycentric[row, column, 1] = q1 * z
                    out_barycentric[row, column, 2] = q2 * z
