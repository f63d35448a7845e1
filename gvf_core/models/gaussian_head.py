"""From what D_GS says of a voxel to Gaussians."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gvf_core.gaussians import Gaussians
from gvf_core.geometry.low_discrepancy import hammersley
from gvf_core.models.voxels import item_slices


@dataclass(frozen=True)
class GaussianHeadParams:
    """How a row of numbers per voxel becomes Gaussians (`representation_config` of the official configurations).

    Attributes:
        per_voxel: Gaussians per voxel.
        resolution: Voxels along an edge of the unit cube.
        reach: Edge of the cube around a voxel's centre that its Gaussians stay in, in voxels.
        position_rate: Factor on raw positions; these rates scale learning in the official code.
        color_rate: Factor on raw colours.
        scale_rate: Factor on raw scales.
        rotation_rate: Factor on raw rotations.
        opacity_rate: Factor on raw opacities.
    """

    per_voxel: int = 8
    resolution: int = 64
    reach: float = 1.5
    position_rate: float = 1.0
    color_rate: float = 1.0
    scale_rate: float = 1.0
    rotation_rate: float = 0.1
    opacity_rate: float = 1.0

    @property
    def channels(self) -> int:
        """Numbers per voxel."""
        return 14 * self.per_voxel

    def perturbation(self) -> Float[Tensor, "per_voxel 3"]:
        """Offsets, before tanh, that spread the Gaussians of a voxel: three-dimensional Hammersley points."""
        # Not from_numpy, which ignores the device that a network is built on.
        points = torch.tensor(hammersley(self.per_voxel, 3).tolist())
        return torch.atanh((2 * points - 1) / self.reach)


def gaussians_from_rows(
    rows: Float[Tensor, "voxels channels"],
    coordinates: Int[Tensor, "voxels 4"],
    perturbation: Float[Tensor, "per_voxel 3"],
    params: GaussianHeadParams,
) -> list[Gaussians]:
    """Gaussians of each batch item in the unit frame, voxel by voxel.

    A row holds positions, colours, scales, rotations and opacities of all Gaussians of the voxel, attribute by
    attribute. A Gaussian stays within half the reach of the voxel's centre, so it may leave the voxel by a quarter.

    Args:
        rows: Output of D_GS.
        coordinates: Batch item, x, y, z.
        perturbation: Offsets before tanh; stored with the weights.
        params: Of the head.
    """
    count, size = params.per_voxel, params.resolution
    sizes = [3 * count, 3 * count, 3 * count, 4 * count, count]
    position, color, scale, rotation, opacity = (
        part.unflatten(1, (count, -1)) for part in rows.float().split(sizes, dim=1)
    )
    center = (coordinates[:, None, 1:].float() + 0.5) / size - 0.5
    offset = torch.tanh(params.position_rate * position + perturbation) / size * 0.5 * params.reach
    attributes = (
        center + offset,
        params.scale_rate * scale,
        params.rotation_rate * rotation,
        params.color_rate * color,
        params.opacity_rate * opacity,
    )
    items = item_slices(coordinates)
    of_items = ([part[item].flatten(0, 1) for part in attributes] for item in items)
    return [
        Gaussians(means, scales, rotations, colors, opacities[:, 0])
        for means, scales, rotations, colors, opacities in of_items
    ]
