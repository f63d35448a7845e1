"""Gaussians in space to Gaussians on the image plane, in plain differentiable torch.

EWA splatting as gsplat 1.5.3 does it: the perspective projection is linearised at the centre of each Gaussian,
and a small isotropic filter is added to the 2D covariance (the 2D part of Mip-Splatting, as TRELLIS uses it).
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gvf_core.gaussians import Splats
from gvf_core.rendering.camera import Camera
from gvf_core.rendering.limits import LIMITS


class Footprints(NamedTuple):
    """The visible Gaussians on the image plane, nearest first.

    Attributes:
        indices: Which of the splats each one is.
        centers: Pixels; the centre of the top left pixel is (0.5, 0.5).
        conics: (a, b, c) of the inverse covariance: sigma = (a dx^2 + c dy^2) / 2 + b dx dy.
        opacities: With the compensation of the filter.
        colors: As in the splats.
        radii: Pixels around the centre, in x and y, outside of which the Gaussian adds nothing. No gradient.
    """

    indices: Int[Tensor, " visible"]
    centers: Float[Tensor, "visible 2"]
    conics: Float[Tensor, "visible 3"]
    opacities: Float[Tensor, " visible"]
    colors: Float[Tensor, "visible 3"]
    radii: Float[Tensor, "visible 2"]


def project(splats: Splats, camera: Camera, *, filter_2d: float, antialiased: bool) -> Footprints:
    """Project and cull Gaussians and sort them by depth.

    Differentiable in everything but the order and the culling. Gaussians that are not visible, not finite ones
    among them, get zero gradients: they are taken out before the projection that autograd sees, because zero
    times an infinite derivative would be NaN.

    Args:
        splats: Gaussians of one frame.
        camera: The view.
        filter_2d: Variance in square pixels that is added to every footprint.
        antialiased: Scale opacities so that the filter does not make small Gaussians brighter.
    """
    with torch.no_grad():
        plane = _image_plane(splats, camera, filter_2d, antialiased)
        radii = _radii(plane)
        visible = _is_visible(plane, radii, camera).nonzero()[:, 0]
        indices = visible[torch.argsort(plane.depths[visible], stable=True)]
    selected = Splats(*(field[indices] for field in splats))
    plane = _image_plane(selected, camera, filter_2d, antialiased)
    return Footprints(indices, plane.centers, plane.conics, plane.opacities, selected.colors, radii[indices])


class _ImagePlane(NamedTuple):
    """Every Gaussian on the image plane, the invisible ones with meaningless numbers."""

    centers: Float[Tensor, "gaussians 2"]
    depths: Float[Tensor, " gaussians"]
    covariances: Float[Tensor, "gaussians 3"]
    determinants: Float[Tensor, " gaussians"]
    conics: Float[Tensor, "gaussians 3"]
    opacities: Float[Tensor, " gaussians"]


def _image_plane(splats: Splats, camera: Camera, filter_2d: float, antialiased: bool) -> _ImagePlane:
    view = torch.as_tensor(camera.world_to_camera, dtype=splats.means.dtype, device=splats.means.device)
    fx, fy, cx, cy = camera.pixel_intrinsics
    rotation, translation = view[:3, :3], view[:3, 3]
    x, y, z = (splats.means @ rotation.T + translation).unbind(-1)
    u, v = x / z, y / z

    # Outside the image the linearisation explodes; gsplat clamps the point at which it is taken.
    margin_x, margin_y = (
        LIMITS.frustum_margin * 0.5 * camera.width / fx,
        LIMITS.frustum_margin * 0.5 * camera.height / fy,
    )
    u_linear = u.clamp(-cx / fx - margin_x, (camera.width - cx) / fx + margin_x)
    v_linear = v.clamp(-cy / fy - margin_y, (camera.height - cy) / fy + margin_y)

    # The two rows of Jacobian @ rotation @ axes: the 2D covariance is their Gram matrix.
    axes = rotation @ (_rotation_matrices(splats.quaternions) * splats.scales[:, None, :])
    row_x = (fx / z)[:, None] * (axes[:, 0] - u_linear[:, None] * axes[:, 2])
    row_y = (fy / z)[:, None] * (axes[:, 1] - v_linear[:, None] * axes[:, 2])
    a, b, c = (row_x * row_x).sum(-1), (row_x * row_y).sum(-1), (row_y * row_y).sum(-1)

    # a c - b^2 loses all digits of a flat Gaussian seen edge-on; the cross product (Lagrange's identity) does not.
    unfiltered = torch.linalg.cross(row_x, row_y).square().sum(-1)
    determinant = unfiltered + filter_2d * (a + c + filter_2d)
    a, c = a + filter_2d, c + filter_2d
    opacities = splats.opacities * (unfiltered / determinant).sqrt() if antialiased else splats.opacities
    return _ImagePlane(
        centers=torch.stack([fx * u + cx, fy * v + cy], dim=-1),
        depths=z,
        covariances=torch.stack([a, b, c], dim=-1),
        determinants=determinant,
        conics=torch.stack([c, -b, a], dim=-1) / determinant[:, None],
        opacities=opacities,
    )


def _rotation_matrices(quaternions: Float[Tensor, "gaussians 4"]) -> Float[Tensor, "gaussians 3 3"]:
    """Rotation matrices of quaternions (w, x, y, z) of any length; the zero quaternion is the identity."""
    w, x, y, z = F.normalize(quaternions, dim=-1).unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, dim=-1).view(-1, 3, 3)


def _radii(plane: _ImagePlane) -> Float[Tensor, "gaussians 2"]:
    """How far a Gaussian of this opacity reaches above `min_alpha` (StopThePop, arXiv 2402.00525, B.2)."""
    extent = (2 * torch.log((plane.opacities / LIMITS.min_alpha).clamp_min(1))).sqrt().clamp_max(LIMITS.max_extent)
    return torch.ceil(extent[:, None] * plane.covariances[:, ::2].sqrt())


def _is_visible(plane: _ImagePlane, radii: Float[Tensor, "gaussians 2"], camera: Camera) -> Bool[Tensor, " gaussians"]:
    """Which Gaussians can add to the image; comparisons with NaN are false, so NaN is not visible."""
    size = torch.tensor([camera.width, camera.height], dtype=radii.dtype, device=radii.device)
    return (
        (plane.depths >= LIMITS.near)
        & (plane.depths <= LIMITS.far)
        & (plane.opacities >= LIMITS.min_alpha)
        & (plane.determinants > 0)
        & (plane.conics[:, ::2] > 0).all(-1)
        & (radii > 0).any(-1)
        & (plane.centers + radii > 0).all(-1)
        & (plane.centers - radii < size).all(-1)
    )
