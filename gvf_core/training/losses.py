"""Losses of the paper's training (section 3.1, CONVENTIONS of the official code in the docstrings)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gvf_core.gaussians import Splats, VariationField
from gvf_core.geometry import interpolation_weights
from gvf_core.geometry.interpolation import DECAY, NEIGHBORS

_SSIM_WINDOW, _SSIM_SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def mesh_guided_loss(
    deltas: list[Float[Tensor, "frames gaussians 14"]],
    positions: list[Float[Tensor, "gaussians 3"]],
    points: Float[Tensor, "batch points 3"],
    displacements: Float[Tensor, "batch frames points 3"],
    neighbors: int = NEIGHBORS,
    decay: float = DECAY,
) -> Float[Tensor, ""]:
    """Mean absolute difference between predicted displacements and those of the surface around (equation 9).

    The paper writes the sum of squares; the released code, with which its weights were trained, takes this mean.

    Args:
        deltas: Predicted raw deltas of each object, in the order of `VariationField`.
        positions: Canonical positions of its Gaussians.
        points: Surface points in the canonical frame.
        displacements: Their displacements.
        neighbors: K of equation 3.
        decay: beta of equation 3.
    """
    total, count = deltas[0].new_zeros(()), 0
    for predicted, xyz, own_points, own_displacements in zip(deltas, positions, points, displacements, strict=True):
        target = interpolation_weights(xyz, own_points, neighbors, decay).apply(own_displacements)
        total = total + (predicted[..., VariationField.MEANS] - target).abs().sum()
        count += target.numel()
    return total / count


def structural_similarity(
    pictures: Float[Tensor, "batch channels height width"], references: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, ""]:
    """Mean SSIM (Wang et al. 2004) with a Gaussian window of 11 and sigma 1.5, zeros beyond the border.

    The border counts and values lie in 0..1, as in the official losses; for evaluation use a library's.
    """
    channels = pictures.shape[1]
    offset = torch.arange(_SSIM_WINDOW, dtype=pictures.dtype, device=pictures.device) - _SSIM_WINDOW // 2
    profile = torch.exp(-offset.square() / (2 * _SSIM_SIGMA**2))
    window = torch.outer(profile, profile) / profile.sum() ** 2

    def blur(x: Tensor) -> Tensor:
        return F.conv2d(x, window.expand(channels, 1, -1, -1), padding=_SSIM_WINDOW // 2, groups=channels)

    mean_a, mean_b = blur(pictures), blur(references)
    var_a = blur(pictures.square()) - mean_a.square()
    var_b = blur(references.square()) - mean_b.square()
    covariance = blur(pictures * references) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a.square() + mean_b.square() + _C1)
    return (luminance * (2 * covariance + _C2) / (var_a + var_b + _C2)).mean()


def volume_regulariser(splats: Splats) -> Float[Tensor, ""]:
    """Mean product of the three scales, as TRELLIS keeps Gaussians from growing."""
    return splats.scales.float().prod(dim=-1).mean()


def opacity_regulariser(splats: Splats) -> Float[Tensor, ""]:
    """Mean squared distance of the opacities from 1, as TRELLIS keeps Gaussians from fading."""
    return (1 - splats.opacities.float()).square().mean()
