"""Triangle meshes: areas, normals, blue-noise surface samples."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int32
from scipy.spatial import cKDTree

from gvf_core.geometry.farthest import farthest_point_indices

CANDIDATES_PER_SAMPLE = 5
NORMAL_WEIGHT = 0.5
"""Distance between opposite normals, in units of twice the mean spacing, that is added to distances in space."""


@dataclass(frozen=True)
class SurfacePoints:
    """Points bound to a mesh surface, so that they follow when its vertices move.

    Attributes:
        triangle: The triangle each point lies on.
        barycentric: Weights of the triangle's three vertices.
    """

    triangle: Int[np.ndarray, " points"]
    barycentric: Float[np.ndarray, "points 3"]

    def positions(
        self, vertices: Float[np.ndarray, "*frames vertices 3"], triangles: Int32[np.ndarray, "triangles 3"]
    ) -> Float[np.ndarray, "*frames points 3"]:
        """Positions on the mesh with the given vertices."""
        corners = vertices[..., triangles[self.triangle], :]
        return (corners * self.barycentric[:, :, None]).sum(axis=-2)


def triangle_normals(
    vertices: Float[np.ndarray, "vertices 3"], triangles: Int32[np.ndarray, "triangles 3"]
) -> tuple[Float[np.ndarray, "triangles 3"], Float[np.ndarray, " triangles"]]:
    """Unit normals and areas; a triangle without area gets the normal (0, 0, 1)."""
    a, b, c = np.moveaxis(vertices[triangles].astype(np.float64), 1, 0)
    cross = np.cross(b - a, c - a)
    length = np.linalg.norm(cross, axis=1)
    normals = np.where(length[:, None] > 1e-20, cross / np.maximum(length, 1e-20)[:, None], [0.0, 0.0, 1.0])
    return normals, length / 2


def sample_surface(
    vertices: Float[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    count: int,
    rng: np.random.Generator,
) -> SurfacePoints:
    """Blue-noise samples whose density follows the area.

    Stratified random candidates are thinned by farthest-point sampling in positions and normals
    together: a pure distance in space would leave one side of a fin or wing without samples.

    Raises:
        ValueError: The surface has no area.
    """
    normals, areas = triangle_normals(vertices, triangles)
    total = areas.sum()
    if not total > 0:
        raise ValueError("The surface has no area.")
    candidates = CANDIDATES_PER_SAMPLE * count
    strata = (np.arange(candidates) + rng.random(candidates)) / candidates * total
    triangle = np.searchsorted(np.cumsum(areas), strata).clip(0, len(triangles) - 1)
    u, v = np.sqrt(rng.random(candidates)), rng.random(candidates)
    barycentric = np.stack([1 - u, u * (1 - v), u * v], axis=1)
    points = SurfacePoints(triangle, barycentric)
    features = _features(points.positions(vertices, triangles), normals[triangle], np.sqrt(total / count))
    kept = np.sort(farthest_point_indices(features.astype(np.float32), count))
    return SurfacePoints(triangle[kept], barycentric[kept])


def local_spacing(
    positions: Float[np.ndarray, "points 3"], normals: Float[np.ndarray, "points 3"], mean_spacing: float
) -> Float[np.ndarray, " points"]:
    """Mean distance of every surface point to its six nearest ones on the same side of the surface."""
    features = _features(positions, normals, mean_spacing)
    neighbors = min(7, len(positions))
    distance, _ = cKDTree(features).query(features, k=[*range(1, neighbors + 1)])
    return distance[:, 1:].mean(axis=1) if neighbors > 1 else np.full(len(positions), mean_spacing)


def _features(positions: np.ndarray, normals: np.ndarray, spacing: float) -> np.ndarray:
    """Coordinates in which the two sides of a thin wing lie apart."""
    return np.concatenate([positions, NORMAL_WEIGHT * spacing * normals], axis=1)
