"""Nearest neighbours and farthest-point sampling, exact on every device."""

import torch
from jaxtyping import Float, Int
from scipy.spatial import cKDTree
from torch import Tensor

from gvf_core.geometry.farthest import farthest_point_indices

_CHUNK = 1 << 25
"""Distances held at once on a GPU: 256 MB in float64."""


def nearest_neighbors(
    queries: Float[Tensor, "queries 3"], points: Float[Tensor, "points 3"], count: int
) -> tuple[Float[Tensor, "queries count"], Int[Tensor, "queries count"]]:
    """Squared distances (float64) to the nearest points, nearest first, and their indices.

    On the CPU by a k-d tree (40 times faster than distances to all points, measured with 200k queries and 8192
    points), on a GPU by all distances in chunks. Neither takes the shortcut through the scalar product, whose
    distances are off by 2e-4.

    Raises:
        ValueError: There are fewer points than neighbours asked for.
    """
    if len(points) < count:
        raise ValueError(f"{count} neighbours of each query were asked for, but there are {len(points)} points.")
    if queries.is_cuda:
        rows = max(1, _CHUNK // len(points))
        found = [_nearest_of_all(chunk, points, count) for chunk in queries.split(rows)]
        squared, index = (torch.cat(parts) for parts in zip(*found, strict=True))
        return squared, index
    distance, position = cKDTree(points.detach().numpy()).query(queries.detach().numpy(), k=[*range(1, count + 1)])
    return torch.from_numpy(distance).square(), torch.from_numpy(position)


def farthest_points(xyz: Float[Tensor, "points 3"], count: int, start: int = 0) -> Int[Tensor, " count"]:
    """Indices of points each farthest from those before it, in order of selection.

    Runs on the host: the same bytes on every device, and 512 of 200k points take about 0.2 s there.

    Args:
        xyz: Positions.
        count: How many to select.
        start: The first one; the official code draws it at random.

    Raises:
        ValueError: There are fewer points than asked for, or the start is none of them.
    """
    if not count <= len(xyz) or not 0 <= start < len(xyz):
        raise ValueError(f"{count} points, beginning with number {start}, cannot be selected from {len(xyz)}.")
    selected = farthest_point_indices(xyz.detach().float().cpu().numpy(), count, start)
    return torch.from_numpy(selected).to(xyz.device)


def _nearest_of_all(queries: Tensor, points: Tensor, count: int) -> tuple[Tensor, Tensor]:
    distance = torch.cdist(queries.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist")
    nearest, index = distance.topk(count, largest=False)
    return nearest.square(), index
