"""Mesh-guided interpolation of displacements (equations 3 and 4 of the paper)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

NEIGHBORS = 8
"""K of equation 3."""
DECAY = 7.0
"""beta of equation 3."""


@dataclass(frozen=True)
class InterpolationWeights:
    """Where each query takes its displacement from.

    Attributes:
        index: Indices of the source points.
        weight: Their weights, summing to 1 for each query; 0 outside the adaptive radius.
    """

    index: Int[np.ndarray, "queries neighbors"]
    weight: Float[np.ndarray, "queries neighbors"]

    def apply(self, displacement: Float[np.ndarray, "*frames points 3"]) -> Float[np.ndarray, "*frames queries 3"]:
        """Displacements of the queries (equation 4)."""
        result = np.zeros((*displacement.shape[:-2], *self.index.shape[:1], displacement.shape[-1]), displacement.dtype)
        weight = self.weight.astype(displacement.dtype)
        # One neighbour at a time: the full gather would hold K copies of every frame.
        for neighbor in range(self.index.shape[1]):
            result += weight[:, neighbor, None] * displacement[..., self.index[:, neighbor], :]
        return result


def interpolation_weights(
    queries: Float[np.ndarray, "queries 3"],
    points: Float[np.ndarray, "points 3"],
    neighbors: int = NEIGHBORS,
    decay: float = DECAY,
) -> InterpolationWeights:
    """Weights of equation 3 with the radius rule of the official code.

    The official `compute_delta_interp` computes the radius r as the root mean square distance to
    the K nearest points plus 1e-6, ignores neighbours beyond r, weighs the others by
    exp(-beta d^2 / r^2) and normalises with 1e-8 in the denominator.

    Args:
        queries: Positions that need a displacement.
        points: Positions whose displacement is known, in the same frame.
        neighbors: K; fewer are used when there are fewer points.
        decay: beta.

    Raises:
        ValueError: There are no points.
    """
    if len(points) == 0:
        raise ValueError("Interpolation needs at least one point with a known displacement.")
    count = min(neighbors, len(points))
    distance, index = cKDTree(points).query(queries, k=count)
    squared = np.asarray(distance, np.float64).reshape(len(queries), count) ** 2
    radius = np.sqrt(squared.mean(axis=1, keepdims=True)) + 1e-6
    weight = np.exp(-decay * squared / radius**2) * (squared <= radius**2)
    weight /= weight.sum(axis=1, keepdims=True) + 1e-8
    return InterpolationWeights(np.asarray(index).reshape(len(queries), count), weight)
