"""Gaussians, their raw parameters and activations, and variation fields.

Conventions follow the official GVFDiffusion and TRELLIS code, so that released checkpoints mean
the same here: the asset lives in the cube [-0.5, 0.5]^3 with z up; quaternions are (w, x, y, z).
"""

import math
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

SCALE_BIAS = math.log(math.expm1(0.004))
"""Added to raw scales before softplus, so that raw 0 means 0.004."""
MIN_SCALE = 0.0009
"""3D filter of the Gaussians: added to every scale in quadrature."""
OPACITY_BIAS = math.log(0.1 / 0.9)
"""Added to raw opacities before the sigmoid, so that raw 0 means 0.1."""
SH_DC = 0.28209479177387814
"""Value of the constant spherical harmonic."""


class Splats(NamedTuple):
    """Activated Gaussians: what a rasterizer or a viewer needs.

    Attributes:
        means: Centres in world units.
        quaternions: Unit quaternions (w, x, y, z) that rotate the Gaussian's axes into the world.
        scales: Standard deviations along the Gaussian's axes, in world units.
        opacities: 0..1.
        colors: sRGB-encoded colour, 0..1, as the captured pictures hold it.
    """

    means: Float[Tensor, "*frames gaussians 3"]
    quaternions: Float[Tensor, "*frames gaussians 4"]
    scales: Float[Tensor, "*frames gaussians 3"]
    opacities: Float[Tensor, "*frames gaussians"]
    colors: Float[Tensor, "*frames gaussians 3"]


@dataclass(frozen=True)
class Gaussians:
    """Canonical Gaussians in raw parameters, before activation.

    Attributes:
        means: Positions in the unit frame.
        scales: Raw scales; scale = sqrt(softplus(raw + SCALE_BIAS)^2 + MIN_SCALE^2).
        rotations: Raw quaternions minus the identity; rotation = normalise(raw + (1, 0, 0, 0)).
        colors: Spherical-harmonic DC coefficients; rgb = max(0, SH_DC * raw + 0.5).
        opacities: Raw opacities; opacity = sigmoid(raw + OPACITY_BIAS).
    """

    means: Float[Tensor, "gaussians 3"]
    scales: Float[Tensor, "gaussians 3"]
    rotations: Float[Tensor, "gaussians 4"]
    colors: Float[Tensor, "gaussians 3"]
    opacities: Float[Tensor, " gaussians"]

    def __len__(self) -> int:
        """Number of Gaussians."""
        return self.means.shape[0]

    def to(self, device: str | torch.device) -> "Gaussians":
        """The same on a device."""
        return Gaussians(*(getattr(self, field.name).to(device) for field in fields(self)))

    @classmethod
    def from_splats(cls, splats: Splats) -> "Gaussians":
        """Invert the activations.

        Scales at or below MIN_SCALE, opacities of exactly 0 or 1 and negative colours have no raw
        value and come back as the nearest one that has.
        """
        filtered = (splats.scales.square() - MIN_SCALE**2).clamp_min(1e-14).sqrt()
        return cls(
            means=splats.means,
            scales=torch.log(torch.expm1(filtered)) - SCALE_BIAS,
            rotations=F.normalize(splats.quaternions, dim=-1) - _identity(splats.quaternions),
            colors=(splats.colors - 0.5) / SH_DC,
            opacities=torch.logit(splats.opacities.clamp(1e-6, 1 - 1e-6)) - OPACITY_BIAS,
        )

    def activate(self, variation: Float[Tensor, "*frames gaussians 14"] | None = None) -> Splats:
        """Apply the activations, with a variation added to the raw parameters first.

        Scale deltas are added before softplus, rotation deltas to the unnormalised quaternion,
        opacity deltas before the sigmoid (official `gaussian_model.py`, lines 98-115).

        Args:
            variation: Raw deltas of one frame or of many, in the order of `VariationField`.
        """
        means, scales, rotations = self.means, self.scales, self.rotations
        colors, opacities = self.colors, self.opacities
        if variation is not None:
            means = means + variation[..., VariationField.MEANS]
            scales = scales + variation[..., VariationField.SCALES]
            rotations = rotations + variation[..., VariationField.ROTATIONS]
            colors = colors + variation[..., VariationField.COLORS]
            opacities = opacities + variation[..., VariationField.OPACITY]
        soft = F.softplus(scales + SCALE_BIAS)
        return Splats(
            means=means,
            quaternions=F.normalize(rotations + _identity(rotations), dim=-1),
            scales=(soft.square() + MIN_SCALE**2).sqrt(),
            opacities=torch.sigmoid(opacities + OPACITY_BIAS),
            colors=(SH_DC * colors + 0.5).clamp_min(0),
        )

    def rotated(self, quaternion: Float[Tensor, "4"]) -> "Gaussians":
        """The Gaussians turned about the origin by a unit quaternion (w, x, y, z).

        Rotations come back normalised, as after the official alignment; colours have no direction to turn.
        """
        own = F.normalize(self.rotations + _identity(self.rotations), dim=-1)
        product = _quaternion_product(quaternion, own)
        return replace(self, means=turned(quaternion, self.means), rotations=product - _identity(product))

    def to_vector(self) -> Float[Tensor, "gaussians 14"]:
        """The activated 14-vector that the networks see: xyz, raw DC colour, opacity, scale, quaternion.

        Its order differs from the order of `VariationField`, as in the official code.
        """
        splats = self.activate()
        return torch.cat(
            [splats.means, self.colors, splats.opacities[:, None], splats.scales, splats.quaternions], dim=-1
        )

    @classmethod
    def from_vector(cls, vector: Float[Tensor, "gaussians 14"]) -> "Gaussians":
        """Invert `to_vector`, as far as `from_splats` can."""
        means, colors, opacities, scales, quaternions = vector.split([3, 3, 1, 3, 4], dim=-1)
        return cls.from_splats(Splats(means, quaternions, scales, opacities[:, 0], SH_DC * colors + 0.5))


@dataclass(frozen=True)
class VariationField:
    """Per-Gaussian deltas over time, added to the raw parameters of the canonical Gaussians.

    Attributes:
        deltas: Raw deltas; the channels are named by the slices below.
    """

    deltas: Float[Tensor, "frames gaussians 14"]

    MEANS = slice(0, 3)
    SCALES = slice(3, 6)
    ROTATIONS = slice(6, 10)
    COLORS = slice(10, 13)
    OPACITY = 13

    def rotated(self, quaternion: Float[Tensor, "4"]) -> "VariationField":
        """The same variation of Gaussians that are turned about the origin (`Gaussians.rotated`).

        The product with a quaternion is linear, so raw deltas of normalised rotations turn like the rotations.
        """
        return VariationField(
            torch.cat(
                [
                    turned(quaternion, self.deltas[..., self.MEANS]),
                    self.deltas[..., self.SCALES],
                    _quaternion_product(quaternion, self.deltas[..., self.ROTATIONS]),
                    self.deltas[..., self.COLORS.start :],
                ],
                dim=-1,
            )
        )


def about_vertical(angle: float) -> Float[Tensor, "4"]:
    """The quaternion of a turn around z in radians."""
    return torch.tensor([math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)])


def turned(quaternion: Float[Tensor, "4"], vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Vectors turned by a unit quaternion."""
    w, axis = quaternion[0], quaternion[1:].expand_as(vectors)
    turn = 2 * torch.linalg.cross(axis, vectors)
    return vectors + w * turn + torch.linalg.cross(axis, turn)


def _quaternion_product(left: Float[Tensor, "4"], right: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    w, axis = left[0], left[1:]
    right_w, right_axis = right[..., :1], right[..., 1:]
    product_w = w * right_w - (right_axis * axis).sum(dim=-1, keepdim=True)
    product_axis = w * right_axis + right_w * axis + torch.linalg.cross(axis.expand_as(right_axis), right_axis)
    return torch.cat([product_w, product_axis], dim=-1)


def _identity(like: Tensor) -> Tensor:
    """The identity quaternion with the dtype and device of `like`."""
    return torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=like.dtype, device=like.device)
