"""What about a mesh makes a good result unlikely, said in sentences."""

import numpy as np
from jaxtyping import Float, Int32
from scipy import sparse
from scipy.sparse import csgraph

from gvf_core.geometry.deformation_graph import weld
from gvf_core.geometry.mesh import triangle_normals

MANY_TRIANGLES = 1_000_000
FEW = 0.01
"""Part of the faces or edges that may be odd without a word."""
LOOSE = 0.05
"""The same for triangles that hang together with at most one other."""


def mesh_doubts(
    vertices: Float[np.ndarray, "vertices 3"], triangles: Int32[np.ndarray, "triangles 3"]
) -> tuple[str, ...]:
    """Warnings for the artist."""
    doubts = []
    count = len(triangles)
    if count > MANY_TRIANGLES:
        doubts.append(f"The mesh has {count:,} triangles; a decimated copy would be as good and much faster.")
    _, areas = triangle_normals(vertices, triangles)
    empty = int((areas <= 1e-12).sum())
    if empty > FEW * count:
        doubts.append(f"{empty:,} of {count:,} faces have no area. Mesh > Clean Up > Degenerate Dissolve removes them.")
    _, place = weld(vertices.astype(np.float64))
    corners = place[triangles]
    corners = corners[(corners != np.roll(corners, 1, axis=1)).all(axis=1)]
    edges = np.sort(np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]), axis=1)
    edges, used = np.unique(edges, axis=0, return_counts=True)
    crowded = int((used > 2).sum())
    if crowded > FEW * len(edges):
        doubts.append(
            f"{crowded:,} of {len(edges):,} edges belong to more than two faces; parts that touch may move together."
        )
    loose = _loose(corners, edges, int(place.max()) + 1)
    if loose > LOOSE * count:
        doubts.append(
            f"{loose:,} of {count:,} triangles hang together with at most one other; they move like what is nearest."
        )
    return tuple(doubts)


def _loose(corners: np.ndarray, edges: np.ndarray, points: int) -> int:
    """Triangles in pieces of at most two."""
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T), (points, points))
    _, part = csgraph.connected_components(graph, directed=False)
    pieces = np.bincount(part[corners[:, 0]]) if len(corners) else np.zeros(1, int)
    return int(pieces[pieces <= 2].sum())
