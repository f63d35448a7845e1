"""Poses of control nodes that follow points around them."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree

from gvf_core.geometry import interpolation_weights
from gvf_core.geometry.rotations import nearest_rotations
from gvf_core.motion.body import Pose

_NEIGHBOURS = 48
"""Points around a node that tell how it turns."""


def poses_from_points(
    nodes: Float[np.ndarray, "nodes 3"],
    points: Float[np.ndarray, "points 3"],
    shifts: Float[np.ndarray, "frames points 3"],
) -> list[Pose]:
    """Nodes moved as the points around them (equations 3 and 4) and turned as these turn.

    Args:
        nodes: Rest positions.
        points: Rest positions of points on or near the surface.
        shifts: How far each point is from there in every frame.
    """
    weights = interpolation_weights(torch.from_numpy(nodes), torch.from_numpy(np.ascontiguousarray(points)))
    positions = nodes + weights.apply(torch.from_numpy(np.ascontiguousarray(shifts, np.float64))).numpy()
    _, near = cKDTree(points).query(nodes, k=[*range(1, min(_NEIGHBOURS, len(points)) + 1)])
    rest = points[near] - nodes[:, None]
    poses = []
    for moved, position in zip(points + shifts, positions, strict=True):
        arms = moved[near] - position[:, None]
        poses.append(Pose(nearest_rotations(np.einsum("nki,nkj->nij", arms, rest)), position))
    return poses
