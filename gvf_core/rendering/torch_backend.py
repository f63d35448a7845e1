"""Compositing in plain torch over a list of (pixel, Gaussian) pairs.

The reference for the fast backends: any device, float32 or float64, gradients by autograd. It takes about 0.5 kB
of memory per pair (1.9 GB for 20 000 Gaussians over 512 x 512 pixels) and is several times slower than numba.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gvf_core.gaussians import Splats
from gvf_core.rendering.camera import Camera
from gvf_core.rendering.limits import LIMITS
from gvf_core.rendering.projection import Footprints, project


def render(
    splats: Splats, camera: Camera, *, filter_2d: float, antialiased: bool
) -> tuple[Float[Tensor, "height width 3"], Float[Tensor, "height width"]]:
    """Premultiplied colour and alpha of Gaussians of one frame; see `gvf_core.rendering.rasterize`."""
    footprints = project(splats, camera, filter_2d=filter_2d, antialiased=antialiased)
    with torch.no_grad():
        pairs = _contributing(footprints, _candidates(footprints, camera.width, camera.height), camera.width)
    alpha = _alphas(footprints, pairs, camera.width)[1]
    # The sum of logarithms runs over the whole image, so float32 would lose the last pixels' digits.
    optical_depth = torch.log1p(-alpha).double()
    in_front = _sum_within_pixel(optical_depth, pairs.pixels) - optical_depth
    weight = alpha * torch.exp(in_front).to(alpha.dtype)
    values = torch.cat([footprints.colors[pairs.gaussians] * weight[:, None], weight[:, None]], dim=-1)
    image = values.new_zeros(camera.height * camera.width, 4).index_add(0, pairs.pixels, values)
    image = image.view(camera.height, camera.width, 4)
    return image[..., :3], image[..., 3]


class _Pairs(NamedTuple):
    """Which Gaussian may add to which pixel.

    Attributes:
        gaussians: Positions in the footprints.
        pixels: Row * width + column.
    """

    gaussians: Int[Tensor, " pairs"]
    pixels: Int[Tensor, " pairs"]


def _candidates(footprints: Footprints, width: int, height: int) -> _Pairs:
    """All pixels inside the ellipse outside of which a Gaussian's alpha is too small, and a few around it."""
    center_y, radius_y = footprints.centers[:, 1], footprints.radii[:, 1]
    first_row = (center_y - radius_y - 0.5).floor().clamp(0, height).long()
    end_row = (center_y + radius_y + 0.5).ceil().clamp(0, height).long()
    gaussian, row = _ranges(first_row, end_row)

    a, b, c = footprints.conics[gaussian].unbind(-1)
    # Twice the sigma at which alpha falls below the limit, with a margin for rounding.
    reach = 2 * torch.log(footprints.opacities[gaussian] / LIMITS.min_alpha) + 1e-3
    dy = row + 0.5 - center_y[gaussian]
    discriminant = (b * dy).square() - a * (c * dy * dy - reach)
    half_width = discriminant.clamp_min(0).sqrt() / a
    middle = footprints.centers[gaussian, 0] - b * dy / a - 0.5
    first_column = (middle - half_width).floor().clamp(0, width).long()
    end_column = ((middle + half_width).ceil() + 1).clamp(0, width).long()
    end_column = torch.where(discriminant > 0, end_column, first_column)
    line, column = _ranges(first_column, end_column)
    return _Pairs(gaussian[line], row[line] * width + column)


def _contributing(footprints: Footprints, pairs: _Pairs, width: int) -> _Pairs:
    """The candidates that do add to their pixel, sorted by pixel and, within a pixel, nearest first."""
    sigma, alpha = _alphas(footprints, pairs, width)
    kept = ((sigma >= 0) & (alpha >= LIMITS.min_alpha)).nonzero()[:, 0]
    # Footprints are nearest first already, and a stable sort by pixel keeps that.
    pixels, order = torch.sort(pairs.pixels[kept], stable=True)
    kept = kept[order]
    left_behind = _sum_within_pixel(torch.log1p(-alpha[kept]).double(), pixels)
    # Transmittance only falls, so what is kept is the nearest part of each pixel's list.
    unfinished = (left_behind > math.log(LIMITS.min_transmittance)).nonzero()[:, 0]
    return _Pairs(pairs.gaussians[kept[unfinished]], pixels[unfinished])


def _alphas(
    footprints: Footprints, pairs: _Pairs, width: int
) -> tuple[Float[Tensor, " pairs"], Float[Tensor, " pairs"]]:
    """Sigma (the exponent) and clamped alpha of every pair."""
    dtype = footprints.centers.dtype
    pixels = torch.stack([pairs.pixels % width, pairs.pixels // width], dim=-1).to(dtype) + 0.5
    dx, dy = (footprints.centers[pairs.gaussians] - pixels).unbind(-1)
    a, b, c = footprints.conics[pairs.gaussians].unbind(-1)
    sigma = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
    alpha = footprints.opacities[pairs.gaussians] * torch.exp(-sigma)
    return sigma, alpha.clamp_max(LIMITS.max_alpha)


def _ranges(first: Int[Tensor, " n"], end: Int[Tensor, " n"]) -> tuple[Int[Tensor, " sum"], Int[Tensor, " sum"]]:
    """Concatenate the integer ranges [first, end): which range each number is from, and the numbers."""
    count = (end - first).clamp_min(0)
    source = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    offset = torch.arange(len(source), device=count.device) - (count.cumsum(0) - count)[source]
    return source, first[source] + offset


def _sum_within_pixel(values: Float[Tensor, " pairs"], pixels: Int[Tensor, " pairs"]) -> Float[Tensor, " pairs"]:
    """Running sum, each value included, that starts anew at every pixel of the sorted list."""
    starts: Bool[Tensor, " pairs"] = torch.ones_like(pixels, dtype=torch.bool)
    starts[1:] = pixels[1:] != pixels[:-1]
    total = values.cumsum(0)
    before = (total - values)[starts]
    return total - before[starts.cumsum(0) - 1]
