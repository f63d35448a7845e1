"""Mesh-guided interpolation of displacements (equations 3 and 4 of the paper)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gvf_core.geometry.neighbors import nearest_neighbors

NEIGHBORS = 8
"""K of equation 3."""
DECAY = 7.0
"""beta of equation 3."""


@dataclass(frozen=True)
class InterpolationWeights:
    """Where each query takes its displacement from.

    Attributes:
        index: Indices of the source points.
        weight: Their weights, summing to 1 for each query; 0 outside the adaptive radius. float64.
    """

    index: Int[Tensor, "queries neighbors"]
    weight: Float[Tensor, "queries neighbors"]

    def apply(self, displacement: Float[Tensor, "*frames points 3"]) -> Float[Tensor, "*frames queries 3"]:
        """Displacements of the queries (equation 4)."""
        result = displacement.new_zeros(*displacement.shape[:-2], len(self.index), displacement.shape[-1])
        weight = self.weight.to(displacement.dtype)
        # One neighbour at a time: the full gather would hold K copies of every frame.
        for neighbor in range(self.index.shape[1]):
            result += weight[:, neighbor, None] * displacement[..., self.index[:, neighbor], :]
        return result


@torch.no_grad()
def interpolation_weights(
    queries: Float[Tensor, "queries 3"],
    points: Float[Tensor, "points 3"],
    neighbors: int = NEIGHBORS,
    decay: float = DECAY,
) -> InterpolationWeights:
    """Weights of equation 3 with the radius rule of the official code.

    The official `compute_delta_interp` computes the radius r as the root mean square distance to
    the K nearest points plus 1e-6, ignores neighbours beyond r, weighs the others by
    exp(-beta d^2 / r^2) and normalises with 1e-8 in the denominator. No gradients reach the positions, as there.

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
    squared, index = nearest_neighbors(queries, points, min(neighbors, len(points)))
    radius = squared.mean(dim=1, keepdim=True).sqrt() + 1e-6
    weight = torch.exp(-decay * squared / radius**2) * (squared <= radius**2)
    weight /= weight.sum(dim=1, keepdim=True) + 1e-8
    return InterpolationWeights(index, weight)
