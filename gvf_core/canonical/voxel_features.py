"""DINOv2 features of voxels, gathered from the captured views (supplement A.1)."""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gvf_core.capture import Capture
from gvf_core.rendering.camera import Camera
from gvf_core.rendering.mesh import rasterize_mesh


def voxel_centers(indices: Int[Tensor, "voxels 3"], resolution: int = 64) -> Float[Tensor, "voxels 3"]:
    """Centres of voxels in the unit frame: (i + 0.5) / resolution - 0.5."""
    return (indices.float() + 0.5) / resolution - 0.5


def gather_features(
    tokens: Float[Tensor, "patches channels"], camera: Camera, positions: Float[Tensor, "points 3"]
) -> Float[Tensor, "points channels"]:
    """What one view shows at the points: its patch tokens, bilinear between them, zero outside the picture.

    Args:
        tokens: Patch tokens before the final norm, row by row, of a square picture.
        camera: The view's camera.
        positions: Points in the unit frame.
    """
    side = round(len(tokens) ** 0.5)
    pixels, _ = camera.project(positions.cpu().numpy().astype(np.float64))
    place = torch.from_numpy(2 * pixels / [camera.width, camera.height] - 1).float().to(tokens.device)
    grid = tokens.T.unflatten(1, (side, side))[None].float()
    return F.grid_sample(grid, place[None, None], mode="bilinear", align_corners=False)[0, :, 0].T


class FeatureMean:
    """The mean of features over views, taken view by view, so that only one view's tokens are held.

    Args:
        positions: Points in the unit frame.
    """

    def __init__(self, positions: Float[Tensor, "points 3"]) -> None:
        self._positions = positions
        self._total: Tensor | None = None
        self._weight = torch.zeros(len(positions), 1, device=positions.device)

    def add(
        self,
        tokens: Float[Tensor, "patches channels"],
        camera: Camera,
        weight: Float[Tensor, " points"] | None = None,
    ) -> None:
        """Take one view in; each point counts with its weight, 1 if not given."""
        seen = gather_features(tokens, camera, self._positions)
        factor = torch.ones_like(self._weight) if weight is None else weight[:, None].to(self._weight)
        self._total = factor * seen if self._total is None else self._total + factor * seen
        self._weight += factor

    def result(self) -> Float[Tensor, "points channels"]:
        """The weighted mean of everything taken in."""
        assert self._total is not None
        return self._total / self._weight


HIDDEN_WEIGHT = 0.02
"""Of a view that does not see a voxel, beside 1 of one that does: voxels that no view sees keep the plain mean."""


def visibility(capture: Capture, camera: Camera, positions: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """Weights of one view for the visibility-weighted mean: 1 where it sees the point, a little elsewhere.

    A point counts as seen when the surface in front of it is at most a voxel's diagonal away.

    Args:
        capture: The asset.
        camera: The view's camera.
        positions: Centres of voxels in the unit frame.
    """
    depth = rasterize_mesh(capture.vertices, capture.triangles, camera).depth
    pixels, distance = camera.project(positions.cpu().numpy().astype(np.float64))
    column, row = np.floor(pixels.T).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < camera.width) & (row < camera.height)
    surface = depth[row.clip(0, camera.height - 1), column.clip(0, camera.width - 1)]
    seen = inside & (distance <= surface + 3**0.5 / 64)
    return torch.from_numpy(np.where(seen, 1.0, HIDDEN_WEIGHT)).float().to(positions.device)
