"""Parts of the asset that the artist holds still."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from gvf_core.capture import Capture
from gvf_core.gaussians import Gaussians, VariationField

_NEAREST = 3


def movable_at(capture: Capture, positions: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
    """How far points near the surface may move, 0..1: as the vertices around them, nearer ones counting more."""
    if capture.movable is None:
        return np.ones(len(positions))
    count = min(_NEAREST, len(capture.vertices))
    distance, index = cKDTree(capture.vertices).query(positions, k=[*range(1, count + 1)])
    weight = 1 / (distance + 1e-6)
    return (weight * capture.movable[index]).sum(axis=1) / weight.sum(axis=1)


def held(variation: VariationField, gaussians: Gaussians, capture: Capture) -> VariationField:
    """The variation field with as much of each Gaussian's motion as the artist lets it; colours vary as they do."""
    movable = torch.from_numpy(movable_at(capture, gaussians.means.numpy())).to(variation.deltas)
    motion = variation.deltas[..., : VariationField.COLORS.start] * movable[:, None]
    return VariationField(torch.cat([motion, _appearance(variation)], dim=-1))


def _appearance(variation: VariationField) -> Float[Tensor, "frames gaussians 4"]:
    return variation.deltas[..., VariationField.COLORS.start :]
