"""DINOv2 features of voxels, gathered from the captured views (supplement A.1)."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gvf_core.rendering.camera import Camera


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


def mean_features(
    tokens: Sequence[Float[Tensor, "patches channels"]], cameras: Sequence[Camera], positions: Float[Tensor, "points 3"]
) -> Float[Tensor, "points channels"]:
    """The plain mean over all views, hidden points or not, as TRELLIS gathers its features."""
    total = sum(gather_features(view, camera, positions) for view, camera in zip(tokens, cameras, strict=True))
    return torch.as_tensor(total) / len(cameras)
