"""One Gauss-Newton step on the poses of control nodes: image observations against rigidity.

Unknowns are, per node, a small rotation vector (applied from the left) and a translation. The normal
equations are dense: with 160 nodes, 960 unknowns factor in about 10 ms. They are symmetric, and only their upper
triangle is filled.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import cho_factor, cho_solve

from gvf_core.geometry.deformation_graph import DeformationGraph
from gvf_core.geometry.rotations import matrix_from_rotation_vector, rotation_vector_from_matrix
from gvf_core.motion.body import Pose
from gvf_core.numba_compile import kernel
from gvf_core.side_by_side import side_by_side, thread_count

MAX_TURN = 0.6
"""Largest rotation of a node in one step, radians per axis; beyond it the linearisation is meaningless."""
MIN_INFLUENCE = 1e-3


class Observations(NamedTuple):
    """Surface points and where the image wants them to go.

    A point p on the surface should move by d with jacobian @ d = residual.

    Attributes:
        corners: The three vertices of each point's triangle.
        barycentric: Their weights.
        jacobian: Two rows per point; from world displacement to residual units (pixels).
        residual: Pixels.
        weight: Non-negative.
    """

    corners: Int[np.ndarray, "points 3"]
    barycentric: Float[np.ndarray, "points 3"]
    jacobian: Float[np.ndarray, "points 2 3"]
    residual: Float[np.ndarray, "points 2"]
    weight: Float[np.ndarray, " points"]


@dataclass(frozen=True)
class Prior:
    """What the step should respect besides the image; all strengths are squared inverse distances.

    Attributes:
        rigidity: Weight of each link's deviation from rigid motion.
        rigidity_scale: Deviation (unit frame) beyond which a link counts as bending and yields.
        turn_smoothness: Weight of rotation differences along links.
        expected: Node positions that motion so far predicts.
        expected_weight: Pull towards them.
        ray: Unit vectors from the camera through the nodes.
        depth_weight: Pull of every node to its rest depth along its ray; one view cannot see depth.
    """

    rigidity: float
    rigidity_scale: float
    turn_smoothness: float
    expected: Float[np.ndarray, "nodes 3"]
    expected_weight: float
    ray: Float[np.ndarray, "nodes 3"]
    depth_weight: float


def step(
    graph: DeformationGraph,
    vertices: Float[np.ndarray, "vertices 3"],
    pose: Pose,
    observations: Observations,
    prior: Prior,
) -> Pose:
    """The pose after one step."""
    nodes, links = graph.nodes, graph.links
    size = 6 * len(nodes)
    normal, gradient = np.zeros((size, size)), np.zeros(size)
    parts = thread_count()
    skin = vertices, graph.skin_index, graph.skin_weight, nodes, pose.rotations
    for _ in side_by_side(
        lambda part: _add_observations(normal, gradient, part, parts, observations, *skin), range(parts)
    ):
        pass
    source, target = links.T
    bend = np.einsum("lij,lj->li", pose.rotations[source], nodes[target] - nodes[source])
    bend = np.linalg.norm(pose.positions[target] - pose.positions[source] - bend, axis=1)
    # Cauchy weights: joints may bend, everything else stays rigid.
    rigidity = prior.rigidity / (1 + (bend / prior.rigidity_scale) ** 2)
    between = rotation_vector_from_matrix(pose.rotations[source] @ pose.rotations[target].transpose(0, 2, 1))
    smoothness = np.full(len(links), prior.turn_smoothness)
    _add_links(normal, gradient, links, rigidity, smoothness, nodes, pose.rotations, pose.positions, between)

    turn = 6 * np.arange(len(nodes))
    move = turn[:, None] + [3, 4, 5]
    normal[move, move] += prior.expected_weight
    gradient[move] += prior.expected_weight * (prior.expected - pose.positions)
    depth = ((nodes - pose.positions) * prior.ray).sum(axis=1)
    gradient[move] += prior.depth_weight * depth[:, None] * prior.ray
    normal[move[:, :, None], move[:, None, :]] += prior.depth_weight * prior.ray[:, :, None] * prior.ray[:, None, :]
    normal[turn[:, None] + [0, 1, 2], turn[:, None] + [0, 1, 2]] += 1e-2
    normal[np.arange(size), np.arange(size)] += 1e-6

    # Transposed, it has the order of Fortran and is not copied.
    factor = cho_factor(normal.T, lower=True, overwrite_a=True, check_finite=False)
    update = cho_solve(factor, gradient, check_finite=False).reshape(-1, 6)
    rotation = matrix_from_rotation_vector(np.clip(update[:, :3], -MAX_TURN, MAX_TURN))
    return Pose(rotation @ pose.rotations, pose.positions + update[:, 3:])


@kernel
def _add_observations(
    normal,
    gradient,
    part,
    parts,
    observations,
    vertices,
    skin_index,
    skin_weight,
    nodes,
    rotations,
):
    """The rows of every `parts`-th node from `part` on, so that parts can be added side by side."""
    corners, barycentric, jacobian, residual, weight = observations
    influences = skin_weight.shape[1]
    involved = np.empty(3 * influences, np.int64)
    total = np.empty(3 * influences)
    arm = np.empty((3 * influences, 3))
    row = np.empty((2, 18 * influences))
    for p in range(corners.shape[0]):
        if weight[p] <= 0:
            continue
        count = 0
        for a in range(3):
            vertex = corners[p, a]
            for k in range(influences):
                share = barycentric[p, a] * skin_weight[vertex, k]
                if share < MIN_INFLUENCE:
                    continue
                node = skin_index[vertex, k]
                slot = -1
                for q in range(count):
                    if involved[q] == node:
                        slot = q
                if slot < 0:
                    slot = count
                    count += 1
                    involved[slot] = node
                    total[slot] = 0.0
                    arm[slot, 0] = arm[slot, 1] = arm[slot, 2] = 0.0
                total[slot] += share
                for i in range(3):
                    arm[slot, i] += share * (vertices[vertex, i] - nodes[node, i])
        for q in range(count):
            node = involved[q]
            x = (
                rotations[node, 0, 0] * arm[q, 0]
                + rotations[node, 0, 1] * arm[q, 1]
                + rotations[node, 0, 2] * arm[q, 2]
            )
            y = (
                rotations[node, 1, 0] * arm[q, 0]
                + rotations[node, 1, 1] * arm[q, 1]
                + rotations[node, 1, 2] * arm[q, 2]
            )
            z = (
                rotations[node, 2, 0] * arm[q, 0]
                + rotations[node, 2, 1] * arm[q, 1]
                + rotations[node, 2, 2] * arm[q, 2]
            )
            for r in range(2):
                j0, j1, j2 = jacobian[p, r, 0], jacobian[p, r, 1], jacobian[p, r, 2]
                # j . (w x a) = w . (a x j)
                row[r, 6 * q] = y * j2 - z * j1
                row[r, 6 * q + 1] = z * j0 - x * j2
                row[r, 6 * q + 2] = x * j1 - y * j0
                row[r, 6 * q + 3] = j0 * total[q]
                row[r, 6 * q + 4] = j1 * total[q]
                row[r, 6 * q + 5] = j2 * total[q]
        for q in range(count):
            if involved[q] % parts != part:
                continue
            for i in range(6):
                unknown = 6 * involved[q] + i
                u0, u1 = weight[p] * row[0, 6 * q + i], weight[p] * row[1, 6 * q + i]
                gradient[unknown] += u0 * residual[p, 0] + u1 * residual[p, 1]
                for s in range(count):
                    if involved[s] < involved[q]:
                        continue
                    for j in range(6):
                        normal[unknown, 6 * involved[s] + j] += u0 * row[0, 6 * s + j] + u1 * row[1, 6 * s + j]


@kernel
def _add_links(normal, gradient, links, rigidity, smoothness, nodes, rotations, positions, between):
    block = np.empty(12, np.int64)
    jacobian = np.zeros((3, 12))
    for link in range(links.shape[0]):
        i, j = links[link, 0], links[link, 1]
        for c in range(6):
            block[c], block[6 + c] = 6 * i + c, 6 * j + c
        x = y = z = 0.0
        for k in range(3):
            rest = nodes[j, k] - nodes[i, k]
            x += rotations[i, 0, k] * rest
            y += rotations[i, 1, k] * rest
            z += rotations[i, 2, k] * rest
        # Rotated rest link + w x link + move_i - move_j = actual link.
        jacobian[:] = 0.0
        jacobian[0, 1], jacobian[0, 2] = z, -y
        jacobian[1, 0], jacobian[1, 2] = -z, x
        jacobian[2, 0], jacobian[2, 1] = y, -x
        for c in range(3):
            jacobian[c, 3 + c], jacobian[c, 9 + c] = 1.0, -1.0
            arm = x if c == 0 else (y if c == 1 else z)
            residual = positions[j, c] - positions[i, c] - arm
            for p in range(12):
                if jacobian[c, p] == 0.0:
                    continue
                scaled = rigidity[link] * jacobian[c, p]
                gradient[block[p]] += scaled * residual
                for q in range(12):
                    if block[q] >= block[p]:
                        normal[block[p], block[q]] += scaled * jacobian[c, q]
            normal[block[c], block[c]] += smoothness[link]
            normal[block[6 + c], block[6 + c]] += smoothness[link]
            normal[min(block[c], block[6 + c]), max(block[c], block[6 + c])] -= smoothness[link]
            gradient[block[c]] -= smoothness[link] * between[link, c]
            gradient[block[6 + c]] += smoothness[link] * between[link, c]
