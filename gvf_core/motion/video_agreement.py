"""How well animated Gaussians agree with the clip that they follow."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from gvf_core.gaussians import Gaussians, VariationField
from gvf_core.progress import OnPreview
from gvf_core.rendering import Camera, rasterize

_SIZE = 128
"""Side in pixels of the pictures that are compared."""
_BLUR = 2.0
"""Pixels: what is about at the right place counts as right."""
_DEPTH_TOLERANCE = 0.02
"""A point counts as seen when it lies at most this far behind the visible surface."""
_ENDS = 0.1
"""Part of the clip at its beginning and at its end whose overlaps the drift is the difference of."""


def agreement_at(
    drawn: Float32[np.ndarray, "height width 4"],
    frame: Float32[np.ndarray, "height width 4"],
    surface: Float32[np.ndarray, "height width"],
    pixel: Float[np.ndarray, "points 2"],
    depth: Float[np.ndarray, " points"],
) -> tuple[Float[np.ndarray, " points"], Bool[np.ndarray, " points"]]:
    """How much a drawn picture differs from a frame around each point (0..1), and which points it shows.

    Args:
        drawn: Premultiplied colour and alpha.
        frame: The same of the video.
        surface: Depth of the visible surface, infinite where there is none.
        pixel: Where the points are in the picture.
        depth: Their depths.
    """
    height, width = surface.shape
    difference = cv2.GaussianBlur(np.abs(drawn - frame).mean(axis=-1), (0, 0), _BLUR)
    # The farthest of the neighbouring depths: beside a contour, a pixel more or less decides what is seen.
    surface = cv2.dilate(np.where(np.isfinite(surface), surface, 0), np.ones((3, 3), np.uint8))
    column, row = np.floor(pixel.T).astype(int)
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height) & (depth > 0)
    place = row.clip(0, height - 1), column.clip(0, width - 1)
    return difference[place], inside & (depth <= surface[place] + _DEPTH_TOLERANCE)


def picture_difference(
    gaussians: Gaussians,
    variation: VariationField,
    frames: Float32[np.ndarray, "frames height width 4"],
    camera: Camera,
    indices: Sequence[int],
    on_picture: OnPreview | None = None,
) -> float:
    """Mean absolute difference between rendered and given frames, premultiplied colour and alpha, 0..1.

    Args:
        gaussians: Canonical Gaussians.
        variation: Their deltas.
        frames: The clip.
        camera: Of the clip.
        indices: Which frames are compared.
        on_picture: Takes what is rendered.
    """
    pairs = _pairs(gaussians, variation, frames, camera, indices, on_picture)
    return float(np.mean([np.abs(drawn - given).mean() for drawn, given in pairs]))


def overlap_figures(
    gaussians: Gaussians,
    variation: VariationField,
    frames: Float32[np.ndarray, "frames height width 4"],
    camera: Camera,
    on_progress: Callable[[float], None] = lambda fraction: None,
    on_picture: OnPreview | None = None,
) -> dict[str, Any]:
    """Overlap of silhouettes (intersection over union) with the clip: on the whole, at both ends, and the drift.

    The drift is how much overlap is lost from the beginning of the clip to its end.

    Args:
        gaussians: Canonical Gaussians.
        variation: Their deltas.
        frames: The clip.
        camera: Of the clip.
        on_progress: Called with the fraction done; may raise to stop.
        on_picture: Takes what is rendered.
    """
    overlaps = []
    pairs = _pairs(gaussians, variation, frames, camera, range(len(frames)), on_picture)
    for index, (drawn, given) in enumerate(pairs):
        on_progress(index / len(frames))
        ours, theirs = drawn[..., 3] > 0.5, given[..., 3] > 0.5
        union = (ours | theirs).sum()
        overlaps.append(float((ours & theirs).sum() / union) if union else 1.0)
    end = max(1, round(_ENDS * len(overlaps)))
    first, last = float(np.mean(overlaps[:end])), float(np.mean(overlaps[-end:]))
    return {
        "video_overlap": round(float(np.mean(overlaps)), 4),
        "video_overlap_first": round(first, 4),
        "video_overlap_last": round(last, 4),
        "drift": round(first - last, 4),
    }


def _pairs(
    gaussians: Gaussians,
    variation: VariationField,
    frames: np.ndarray,
    camera: Camera,
    indices: Sequence[int],
    on_picture: OnPreview | None,
):
    small = camera.resized(_SIZE, _SIZE)
    with torch.inference_mode():
        for index in indices:
            drawn = rasterize(gaussians.activate(variation.deltas[index]), small)
            picture = drawn.premultiplied.cpu().numpy()
            if on_picture is not None:
                on_picture(index, picture)
            yield picture, cv2.resize(frames[index], (_SIZE, _SIZE), interpolation=cv2.INTER_AREA)
