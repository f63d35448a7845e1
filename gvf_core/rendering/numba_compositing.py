"""Compositing of footprints and its derivative, as numba kernels.

The image is cut into bands of rows and each band walks all footprints, nearest first. Within a row the pixels of
a footprint are consecutive, and the loop over them has no branches, so that it vectorises. There are no tile
lists and no atomic additions: a band writes its own rows and its own rows of gradients, and the result does not
depend on the number of threads.
Everything is float32: an unmarked Python number would turn the arithmetic into float64.
"""

import math

import numpy as np
from numba import float32

from gvf_core.numba_compile import inline, kernel

MOST_SIGMA = float32(6)
"""Beyond ln(255) = 5.5, from where on no alpha counts. Columns reach farther where a footprint is far thinner than a
pixel."""


@inline
def _exp_minus(sigma):
    """exp(-sigma) from 0 to MOST_SIGMA, relative error 6e-6; a polynomial vectorises where a call of exp does not."""
    t = sigma * float32(-1 / 16)
    p = float32(1 / 24) + t * (float32(1 / 120) + t * float32(1 / 720))
    p = float32(1) + t * (float32(1) + t * (float32(0.5) + t * (float32(1 / 6) + t * p)))
    p = p * p
    p = p * p
    p = p * p
    return p * p


@inline
def _columns(center_x, dy, a, b, c, reach, width):
    """Columns of one row that a footprint may touch, as [first, end).

    Args:
        center_x: Of the footprint, in pixels.
        dy: Centre of the footprint minus centre of the row.
        a: Of the conic.
        b: Of the conic.
        c: Of the conic.
        reach: Twice the largest sigma that counts.
        width: Of the image.
    """
    discriminant = b * b * dy * dy - a * (c * dy * dy - reach)
    if not discriminant > float32(0):
        return 0, 0
    half_width = math.sqrt(discriminant) / a
    middle = center_x + b * dy / a - float32(0.5)
    first = min(max(math.floor(middle - half_width), float32(0)), float32(width))
    end = min(max(math.ceil(middle + half_width) + float32(1), float32(0)), float32(width))
    return np.int64(first), np.int64(end)


@kernel
def composite(first_row, end_row, footprints, limits, color, transmittance, last):
    """Blend the footprints into the rows [first_row, end_row), nearest first.

    Args:
        first_row: First row of the band.
        end_row: One past the last row of the band.
        footprints: `gvf_core.rendering.numba_backend.Footprints`.
        limits: `gvf_core.rendering.limits.Limits`.
        color: [3, H, W] zeros, receives the premultiplied colour.
        transmittance: [H, W] ones, receives the light that passes everything; negative where a pixel is finished.
        last: [H, W] of -1, receives the last footprint that each pixel has blended; None where no gradients
            are wanted, which compiles a kernel without it.
    """
    width = transmittance.shape[1]
    min_alpha, max_alpha = float32(limits.min_alpha), float32(limits.max_alpha)
    min_transmittance = float32(limits.min_transmittance)
    weights = np.empty(width, np.float32)
    for k in range(footprints.rows.shape[0]):
        top, bottom = max(first_row, footprints.rows[k, 0]), min(end_row, footprints.rows[k, 1])
        if top >= bottom:
            continue
        mx, my = footprints.centers[k, 0], footprints.centers[k, 1]
        a, b, c = footprints.conics[k, 0], footprints.conics[k, 1], footprints.conics[k, 2]
        red, green, blue = footprints.colors[k, 0], footprints.colors[k, 1], footprints.colors[k, 2]
        opacity, reach, number = footprints.opacities[k], footprints.reaches[k], np.int32(k)
        for row in range(top, bottom):
            dy = my - (float32(row) + float32(0.5))
            first, end = _columns(mx, dy, a, b, c, reach, width)
            to_first = mx - (float32(first) + float32(0.5))
            sigma_y = float32(0.5) * c * dy * dy
            light = transmittance[row, first:end]
            # About half of the footprints of a closed surface lie behind finished pixels.
            brightest = float32(0)
            for j in range(len(light)):
                brightest = max(brightest, light[j])
            if not brightest > float32(0):
                continue
            if last is not None:
                last_here = last[row, first:end]
            for j in range(len(light)):
                dx = to_first - float32(j)
                sigma = float32(0.5) * a * dx * dx + sigma_y + b * dx * dy
                alpha = min(max_alpha, opacity * _exp_minus(sigma))
                before = light[j]
                after = before * (float32(1) - alpha)
                within = (sigma >= float32(0)) & (sigma < MOST_SIGMA)
                counts = within & (alpha >= min_alpha) & (before > float32(0))
                blends = counts & (after > min_transmittance)
                weights[j] = alpha * before if blends else float32(0)
                finished = -before if counts else before
                light[j] = after if blends else finished
                if last is not None:
                    last_here[j] = number if blends else last_here[j]
            reds, greens, blues = color[0, row, first:end], color[1, row, first:end], color[2, row, first:end]
            for j in range(len(reds)):
                reds[j] += weights[j] * red
                greens[j] += weights[j] * green
                blues[j] += weights[j] * blue


@kernel
def composite_backward(
    first_row, end_row, band, footprints, limits, transmittance, last, grad_color, grad_light, partial_offsets, partials
):
    """Gradients of the footprints from the rows [first_row, end_row), farthest first.

    The transmittance in front of a footprint is found by dividing the final one; `hidden` holds, for each pixel,
    the gradient's product with the colour already walked through, and with the light that passes.

    Args:
        first_row: First row of the band.
        end_row: One past the last row of the band.
        band: Number of the band.
        footprints: As in `composite`.
        limits: As in `composite`.
        transmittance: [H, W] as `composite` left it, but positive.
        last: [H, W] as `composite` left it.
        grad_color: [3, H, W].
        grad_light: [H, W], the gradient of the transmittance.
        partial_offsets: [M]; the gradients of footprint k from this band belong into row partial_offsets[k] + band.
        partials: [P, 9], receives gradients of centre (2), conic (3), opacity and colour (3).
    """
    width = transmittance.shape[1]
    min_alpha, max_alpha = float32(limits.min_alpha), float32(limits.max_alpha)
    light = transmittance[first_row:end_row].copy()
    hidden = light * grad_light[first_row:end_row]
    alphas, movable = np.empty(width, np.float32), np.empty(width, np.float32)
    for k in range(footprints.rows.shape[0] - 1, -1, -1):
        top, bottom = max(first_row, footprints.rows[k, 0]), min(end_row, footprints.rows[k, 1])
        if top >= bottom:
            continue
        mx, my = footprints.centers[k, 0], footprints.centers[k, 1]
        a, b, c = footprints.conics[k, 0], footprints.conics[k, 1], footprints.conics[k, 2]
        red, green, blue = footprints.colors[k, 0], footprints.colors[k, 1], footprints.colors[k, 2]
        opacity, reach, number = footprints.opacities[k], footprints.reaches[k], np.int32(k)
        g_mx = g_my = g_a = g_b = g_c = g_opacity = g_red = g_green = g_blue = float32(0)
        for row in range(top, bottom):
            dy = my - (float32(row) + float32(0.5))
            first, end = _columns(mx, dy, a, b, c, reach, width)
            to_first = mx - (float32(first) + float32(0.5))
            sigma_y = float32(0.5) * c * dy * dy
            before, last_here = light[row - first_row, first:end], last[row, first:end]
            for j in range(len(before)):
                dx = to_first - float32(j)
                sigma = float32(0.5) * a * dx * dx + sigma_y + b * dx * dy
                unclamped = opacity * _exp_minus(sigma)
                clamped = min(max_alpha, unclamped)
                within = (sigma >= float32(0)) & (sigma < MOST_SIGMA)
                blends = within & (clamped >= min_alpha) & (number <= last_here[j])
                alpha = clamped if blends else float32(0)
                alphas[j] = alpha
                # No gradient flows through the clamp.
                movable[j] = unclamped if blends & (unclamped <= max_alpha) else float32(0)
                before[j] /= float32(1) - alpha

            behind = hidden[row - first_row, first:end]
            reds, greens = grad_color[0, row, first:end], grad_color[1, row, first:end]
            blues = grad_color[2, row, first:end]
            # Sums over the row of the gradient of sigma, and of it times dx and dx^2.
            sum_0 = sum_1 = sum_2 = float32(0)
            for j in range(len(behind)):
                dx = to_first - float32(j)
                alpha = alphas[j]
                weight = alpha * before[j]
                own = red * reds[j] + green * greens[j] + blue * blues[j]
                g_alpha = before[j] * own - behind[j] / (float32(1) - alpha)
                g_red += weight * reds[j]
                g_green += weight * greens[j]
                g_blue += weight * blues[j]
                behind[j] += weight * own
                g_sigma = -movable[j] * g_alpha
                sum_0 += g_sigma
                sum_1 += g_sigma * dx
                sum_2 += g_sigma * dx * dx
            g_a += float32(0.5) * sum_2
            g_b += sum_1 * dy
            g_c += float32(0.5) * sum_0 * dy * dy
            g_mx += a * sum_1 + b * dy * sum_0
            g_my += b * sum_1 + c * dy * sum_0
            g_opacity -= sum_0 / opacity
        j = partial_offsets[k] + band
        partials[j, 0], partials[j, 1] = g_mx, g_my
        partials[j, 2], partials[j, 3], partials[j, 4] = g_a, g_b, g_c
        partials[j, 5] = g_opacity
        partials[j, 6], partials[j, 7], partials[j, 8] = g_red, g_green, g_blue
