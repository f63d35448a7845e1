"""The asset as something that can be posed and drawn: mesh, Gaussians and control nodes together."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32

from gvf_core.canonical.surface import SurfaceGaussians
from gvf_core.capture import Capture
from gvf_core.gaussians import Splats
from gvf_core.geometry import SurfacePoints
from gvf_core.geometry.deformation_graph import build_deformation_graph, stack_poses
from gvf_core.geometry.rotations import (
    quaternion_from_matrix,
)
from gvf_core.rendering import Camera, rasterize
from gvf_core.transfer.held import movable_at

NODES = 160
"""Control nodes: the number that the strengths of tracking were found with. 960 unknowns are solved for densely."""

ON_SURFACE = 1e-6
"""Gaussians this close to their surface points need no arm to them."""


@dataclass(frozen=True)
class Pose:
    """Where the control nodes are at one frame.

    Attributes:
        rotations: World rotation of every node, identity at rest.
        positions: Position of every node.
    """

    rotations: Float[np.ndarray, "nodes 3 3"]
    positions: Float[np.ndarray, "nodes 3"]


class Body:
    """A posable asset.

    Attributes:
        vertices: Rest vertices.
        triangles: Vertex indices.
        graph: Control nodes and their influence on the vertices.
        points: Surface points of the Gaussians, or those nearest to them.
        vertex_matrix: From stacked node poses to vertices.
        point_matrix: From stacked node poses to the means of the Gaussians.
        colors: Colours of the Gaussians (sRGB, 0..1) when drawn.
        size: Factor of the Gaussians' sizes when drawn; it lets contours agree with those of the video.
        movable: How far each node may move, 0..1.
    """

    def __init__(self, capture: Capture, canonical: SurfaceGaussians, node_count: int = NODES) -> None:
        self.vertices = capture.vertices.astype(np.float64)
        self.triangles = capture.triangles
        self.graph = build_deformation_graph(self.vertices, self.triangles, node_count)
        self.points = canonical.points
        self.movable = movable_at(capture, self.graph.nodes)
        self.vertex_matrix = self.graph.pose_matrix(self.vertices)
        self.point_matrix = (self._barycentric_matrix() @ self.vertex_matrix).tocsr()
        self._skin = self.point_matrix[:, 3::4]
        with torch.no_grad():
            self._rest = canonical.gaussians.activate()
        surface = self.points.positions(self.vertices, self.triangles)
        offset = self._rest.means.double().numpy() - surface
        if np.abs(offset).max() > ON_SURFACE:
            self.point_matrix = (self.point_matrix + _arms(self._skin, offset)).tocsr()
        self.colors = self._rest.colors.numpy()
        self.size = 1.0

    @property
    def rest(self) -> Pose:
        """The pose of the canonical frame."""
        nodes = self.graph.nodes
        return Pose(np.tile(np.eye(3), (len(nodes), 1, 1)), nodes.copy())

    def thinned(self, count: int, rng: np.random.Generator) -> "Body":
        """The same asset drawn with fewer and larger Gaussians: faster, and about as closed.

        Args:
            count: Number of Gaussians; all of them if there are fewer.
            rng: Chooses them.
        """
        total = len(self.points.triangle)
        kept = np.sort(rng.permutation(total)[:count])
        thin = copy.copy(self)
        thin.points = SurfacePoints(self.points.triangle[kept], self.points.barycentric[kept])
        thin.point_matrix, thin._skin = self.point_matrix[kept], self._skin[kept]
        thin._rest = Splats(*(values[kept] for values in self._rest))
        thin.colors = self.colors[kept]
        thin.size = self.size * math.sqrt(total / len(kept))
        return thin

    def bend(self, pose: Pose) -> float:
        """Mean deviation of the links between nodes from rigid motion, in the unit frame."""
        source, target = self.graph.links.T
        nodes, positions = self.graph.nodes, pose.positions
        rotated = np.einsum("lij,lj->li", pose.rotations[source], nodes[target] - nodes[source])
        return float(np.linalg.norm(positions[target] - positions[source] - rotated, axis=1).mean())

    def held(self, pose: Pose) -> Pose:
        """The pose with nodes that may not move at rest. Those that may in part are held back once, in the result."""
        still = self.movable == 0
        if not still.any():
            return pose
        rotations = np.where(still[:, None, None], np.eye(3), pose.rotations)
        return Pose(rotations, np.where(still[:, None], self.graph.nodes, pose.positions))

    def deform(self, pose: Pose) -> Float[np.ndarray, "vertices 3"]:
        """Vertices in a pose."""
        return self.vertex_matrix @ stack_poses(pose.rotations, pose.positions)

    def blend(self, of_nodes: Float[np.ndarray, "frames nodes"]) -> Float[np.ndarray, "frames gaussians"]:
        """Values of the nodes at the Gaussians that follow them."""
        return (self._skin @ of_nodes.T).T

    def splats(self, pose: Pose) -> Splats:
        """Gaussians in a pose."""
        means = self.point_matrix @ stack_poses(pose.rotations, pose.positions)
        nodes = quaternion_from_matrix(pose.rotations)
        # Both signs mean the same rotation; the blend needs all of them on one side.
        nodes = np.where(nodes[:, :1] < 0, -nodes, nodes)
        turn = F.normalize(torch.from_numpy(self._skin @ nodes).float(), dim=-1)
        return self._rest._replace(
            means=torch.from_numpy(means).float(),
            quaternions=_multiply_quaternions(turn, self._rest.quaternions),
            scales=self._rest.scales * self.size,
            colors=torch.from_numpy(self.colors),
        )

    def draw(self, pose: Pose, camera: Camera) -> Float32[np.ndarray, "height width 4"]:
        """Premultiplied colour and alpha as the camera sees the pose."""
        with torch.no_grad():
            return rasterize(self.splats(pose), camera).premultiplied.numpy()

    def _barycentric_matrix(self) -> sparse.csr_matrix:
        """From vertices to the surface points of the Gaussians."""
        count = len(self.points.triangle)
        corners = self.triangles[self.points.triangle]
        entries = (self.points.barycentric.ravel(), (np.repeat(np.arange(count), 3), corners.ravel()))
        return sparse.coo_matrix(entries, (count, len(self.vertices))).tocsr()


def _arms(skin: sparse.csr_matrix, offset: Float[np.ndarray, "points 3"]) -> sparse.csr_matrix:
    """What turning the nodes adds to points that lie off the surface, in the columns of `pose_matrix`."""
    entries = skin.tocoo()
    values = entries.data[:, None] * offset[entries.row]
    columns = 4 * entries.col[:, None] + np.arange(3)
    shape = (skin.shape[0], 4 * skin.shape[1])
    return sparse.coo_matrix((values.ravel(), (np.repeat(entries.row, 3), columns.ravel())), shape).tocsr()


def _multiply_quaternions(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Hamilton product: rotate by b, then by a."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        dim=-1,
    )
