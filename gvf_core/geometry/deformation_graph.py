"""Embedded deformation: control nodes on the surface whose influence follows geodesic distance.

Distance along the surface, not through the air, decides which nodes move a vertex: parts that merely
touch do not stick to each other. Sumner et al., "Embedded Deformation for Shape Manipulation" (2007).
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import scipy.sparse as sparse
import trimesh
from jaxtyping import Float, Int, Int32
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

WELD_DISTANCE = 1e-4
"""Vertices closer than this are one (importers split them at seams); the asset is 1 wide."""
MAX_EDGE = 0.04
"""Edges are subdivided to this length, so that shortest paths along edges approach geodesics."""
BRIDGE_SLACK = 0.015
"""Separate parts are bridged wherever they are at most this much farther apart than at their closest."""
NODE_LINKS = 5
"""Every node is linked to this many nearest ones at least."""


@dataclass(frozen=True)
class DeformationGraph:
    """Control nodes, their links, and the weights by which they move the mesh's vertices.

    Attributes:
        nodes: Rest positions.
        links: Pairs of nodes that should move alike, each in both directions.
        skin_index: The nodes that move each vertex.
        skin_weight: Their weights, summing to 1 for each vertex.
    """

    nodes: Float[np.ndarray, "nodes 3"]
    links: Int32[np.ndarray, "links 2"]
    skin_index: Int32[np.ndarray, "vertices influences"]
    skin_weight: Float[np.ndarray, "vertices influences"]

    def pose_matrix(self, vertices: Float[np.ndarray, "vertices 3"]) -> sparse.csr_matrix:
        """The linear map from stacked node poses (`stack_poses`) to deformed vertices.

        A vertex v moves to sum_k w_k (R_k (v - g_k) + x_k), which is linear in the entries of the
        rotations R_k and positions x_k. Each node owns four columns: w_k (v - g_k) and w_k.

        Args:
            vertices: Rest positions, in the order the graph was built from.

        Returns:
            Matrix of shape [vertices, 4 nodes].
        """
        arm = self.skin_weight[..., None] * (vertices[:, None] - self.nodes[self.skin_index])
        values = np.concatenate([arm, self.skin_weight[..., None]], axis=-1)
        columns = 4 * self.skin_index[..., None] + np.arange(4)
        rows = np.repeat(np.arange(len(vertices)), values[0].size)
        shape = (len(vertices), 4 * len(self.nodes))
        return sparse.coo_matrix((values.ravel(), (rows, columns.ravel())), shape).tocsr()


def stack_poses(
    rotations: Float[np.ndarray, "nodes 3 3"], positions: Float[np.ndarray, "nodes 3"]
) -> Float[np.ndarray, "stacked 3"]:
    """What `DeformationGraph.pose_matrix` multiplies: per node the transposed rotation, then the position."""
    return np.concatenate([rotations.transpose(0, 2, 1), positions[:, None]], axis=1).reshape(-1, 3)


def build_deformation_graph(
    vertices: Float[np.ndarray, "vertices 3"],
    triangles: Int32[np.ndarray, "triangles 3"],
    node_count: int,
    influences: int = 4,
) -> DeformationGraph:
    """Place nodes evenly over the surface and bind every vertex to its nearest ones along it.

    Args:
        vertices: Rest positions in the unit frame.
        triangles: Vertex indices.
        node_count: Number of nodes; fewer where the mesh has fewer distinct vertices.
        influences: Nodes that move one vertex.
    """
    fine, fine_triangles = trimesh.remesh.subdivide_to_size(vertices, triangles, MAX_EDGE, max_iter=12)
    # Rest vertices first, so that vertices that no triangle uses have a place as well.
    points, inverse = weld(np.concatenate([vertices.astype(np.float64), fine]))
    corners = inverse[fine_triangles + len(vertices)]
    edges = _joined(points, np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]]))
    node = _spread_nodes(edges, node_count)

    count = min(influences + 1, len(node))
    distance = _node_distances(edges, node, min(max(count, NODE_LINKS + 1), len(node)))
    nearest = np.argsort(distance, axis=0, kind="stable")[:count]
    reach = np.take_along_axis(distance, nearest, axis=0)
    # The farthest of the candidates gets weight 0: weights stay continuous where candidates change.
    weight = np.clip(1 - reach[:-1] / np.maximum(reach[-1:], 1e-9), 1e-4, 1) ** 2 if count > 1 else np.ones_like(reach)
    index = nearest[: len(weight)].T
    weight = (weight / weight.sum(axis=0)).T
    return DeformationGraph(
        nodes=points[node],
        links=_links(points[node], index, weight, distance[:, node]),
        skin_index=np.ascontiguousarray(index[inverse[: len(vertices)]], np.int32),
        skin_weight=np.ascontiguousarray(weight[inverse[: len(vertices)]]),
    )


def weld(
    vertices: Float[np.ndarray, "vertices 3"],
) -> tuple[Float[np.ndarray, "positions 3"], Int[np.ndarray, " vertices"]]:
    """Distinct positions, and for every vertex the index of its position."""
    cells = np.round(vertices / WELD_DISTANCE).astype(np.int64)
    _, first, inverse = np.unique(cells, axis=0, return_index=True, return_inverse=True)
    return vertices[first], inverse.ravel()


def _joined(points: np.ndarray, pairs: np.ndarray) -> sparse.csr_matrix:
    """Distances between the pairs, with separate parts joined where they come closest."""
    edges = _adjacency(points, pairs)
    while True:
        parts, part = csgraph.connected_components(edges, directed=False)
        if parts == 1:
            return edges
        edges = edges.maximum(_adjacency(points, _bridges(points, part, parts)))


def _bridges(points: np.ndarray, part: np.ndarray, parts: int) -> np.ndarray:
    """Pairs of points that join every part to the part closest to it."""
    distance, target = _nearest_foreign(points, part, parts)
    # Sorted by part, then by distance: the first of each part is its closest.
    order = np.lexsort((distance, part))
    closest = order[np.searchsorted(part[order], np.arange(parts))]
    joined = (distance <= distance[closest][part] + BRIDGE_SLACK) & (part[target] == part[target[closest]][part])
    return np.stack([np.flatnonzero(joined), target[joined]], axis=1)


def _nearest_foreign(points: np.ndarray, part: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Distance from every point to the nearest point of any other part, and that point's index.

    The numbers of two parts differ in at least one bit, so that a search between the points with and the points
    without a bit, for each bit, finds every pair: a few searches, however many parts there are.
    """
    distance, target = np.full(len(points), np.inf), np.zeros(len(points), np.int64)
    for bit in range((parts - 1).bit_length()):
        has_bit = (part >> bit) & 1 == 1
        with_bit, without = np.flatnonzero(has_bit), np.flatnonzero(~has_bit)
        for here, there in ((with_bit, without), (without, with_bit)):
            reach, found = cKDTree(points[there]).query(points[here])
            nearer = reach < distance[here]
            distance[here[nearer]], target[here[nearer]] = reach[nearer], there[found[nearer]]
    return distance, target


def _adjacency(points: np.ndarray, pairs: np.ndarray) -> sparse.csr_matrix:
    """Symmetric matrix of distances between the pairs."""
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    length = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1) + 1e-9
    half = sparse.coo_matrix((length, (pairs[:, 0], pairs[:, 1])), (len(points), len(points)))
    return (half + half.T).tocsr()


def _spread_nodes(edges: sparse.csr_matrix, count: int) -> Int[np.ndarray, " nodes"]:
    """Farthest-point sampling by distance along edges."""
    # Any point will do to start from; the one farthest from it is an extremity.
    nodes = [int(csgraph.dijkstra(edges, directed=False, indices=0).argmax())]
    nearest = csgraph.dijkstra(edges, directed=False, indices=nodes[0])
    while len(nodes) < count and nearest.max() > WELD_DISTANCE:
        nodes.append(int(nearest.argmax()))
        # Nothing beyond the limit can come nearer; searches get shorter with every node.
        found = csgraph.dijkstra(edges, directed=False, indices=nodes[-1], limit=nearest.max())
        np.minimum(nearest, found, out=nearest)
    return np.array(nodes)


def _node_distances(edges: sparse.csr_matrix, node: Int[np.ndarray, " nodes"], nearest: int) -> np.ndarray:
    """Distances along edges from every node to every point; infinite beyond the nearest ones of each point."""
    limit = max(MAX_EDGE, 4 * float(csgraph.dijkstra(edges, directed=False, indices=node, min_only=True).max()))
    while True:
        distance = csgraph.dijkstra(edges, directed=False, indices=node, limit=limit)
        if np.isfinite(distance).sum(axis=0).min() >= nearest:
            return distance
        limit *= 2


def _links(
    nodes: np.ndarray, index: np.ndarray, weight: np.ndarray, node_distance: np.ndarray
) -> Int32[np.ndarray, "links 2"]:
    """Nodes that move a common point noticeably, and every node's nearest ones, in both directions.

    Parts that lie farther apart than their nodes are joined like parts of the mesh: none drifts away on its own.
    """
    pairs = []
    for a, b in combinations(range(index.shape[1]), 2):
        noticed = np.minimum(weight[:, a], weight[:, b]) > 0.02
        pairs.append(np.stack([index[noticed, a], index[noticed, b]], axis=1))
    nearest = np.argsort(node_distance, axis=1, kind="stable")[:, 1 : NODE_LINKS + 1]
    pairs.append(np.stack([np.repeat(np.arange(len(nearest)), nearest.shape[1]), nearest.ravel()], axis=1))
    links = np.stack(sparse.triu(_joined(nodes, np.concatenate(pairs))).nonzero(), axis=1)
    return np.concatenate([links, links[:, ::-1]]).astype(np.int32)
